//! A Fetch answer, of which the headers of batches are read, so that the next Fetch may leave, and the rest when it is
//! delivered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchResponse, PartitionData};
use kafka_wire::records::{Batch, BatchError, RecordBatches};
use perl_xs::{CallLoop, Calls, Flow, Native, Outcome, Perl, Rows, Sv};

use super::aborted::AbortedTransactions;
use super::delivery::{BatchCalls, MessageCalls, Pause, Progress};
use super::in_progress_xsubs::Records as InProgress;
use super::rest::{open, Rest};
use super::session::{Place, Session};
use crate::api::fetch::batches::{or_corrupt, Unpacking};
use crate::arguments::NO_LEADER_EPOCH;
use crate::strings::Form;

/// What the warning about an `on_message` that died starts with.
const ON_MESSAGE: &str = "on_message error";

/// The same for `on_batch`.
const ON_BATCH: &str = "on_batch error";

/// What a die in `on_message` or `on_batch` does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnDie {
    /// It is a warning; the next record comes.
    Warn,
    /// Nothing more is delivered of the answer's partition; the record counts as not delivered.
    Stop,
}

/// How delivering came back.
pub enum Delivered {
    /// Nothing is left, or it is time for the event loop to turn.
    Paused {
        /// Nothing is left.
        is_done: bool,
    },
    /// The next batch does not verify.
    Damaged,
    /// With [`OnDie::Stop`]: what the callback died of.
    Died(Sv),
    /// The process ends.
    Exit,
}

/// How the records of a partition are handed over.
pub struct Handing {
    /// For about so many milliseconds.
    pub budget_ms: i64,
    /// What a die does.
    pub on_die: OnDie,
    /// What the program is not done with, if it says so.
    pub in_progress: Option<Rc<InProgress>>,
}

/// Who is to get the records.
#[derive(Clone, Copy)]
pub struct Reader {
    /// Whether records of aborted transactions are to be withheld.
    pub read_committed: bool,
    /// What they are to the program.
    pub form: Form,
}

/// What a Fetch brought for one partition.
pub struct Partition {
    /// The topic's name.
    pub topic: Bytes,
    /// The partition's number.
    pub partition: i32,
    /// The broker's, or 2 (CORRUPT_MESSAGE) when there is something that is no batch.
    pub error_code: i16,
    /// The offset after the last record that all in-sync replicas have.
    pub high_watermark: i64,
    /// The offset before which every transaction has ended; -1 when the broker did not say.
    pub last_stable_offset: i64,
    /// Where to go on after what is here: behind the last whole batch, whatever compaction left of it. Nothing vouches for it
    /// until all of them have been delivered.
    pub next_offset: i64,
    /// The epoch of the leader that appended the last whole batch; -1 without one.
    pub last_epoch: i32,
    /// How many records there are to be delivered, or a few more.
    pub record_count: usize,
    /// Where the log that was read so far departs from the leader's (KIP-595): epoch and end offset.
    pub diverging_epoch: (i32, i64),
    progress: Rc<Progress>,
    /// Taken out while records are delivered.
    rest: Option<Rest>,
}

/// The state of an `EV::Kafka::Fetched`.
pub struct Fetched {
    /// In the order of the answer.
    pub partitions: RefCell<Vec<Partition>>,
    /// What the answer should have had, too.
    pub passed_over: Vec<Place>,
    /// Delivering is to pause after the record that is being delivered.
    interrupted: Rc<Cell<bool>>,
    call_loop: Cell<Option<CallLoop>>,
    form: Form,
}

impl Native for Fetched {
    const NAME: &'static str = "EV::Kafka::Fetched";
}

/// The state of an `EV::Kafka::Fetched::Pool`: arrays and scalars that one answer leaves to the next.
#[derive(Default)]
pub struct Pool {
    rows: Cell<Option<Rows>>,
}

impl Native for Pool {
    const NAME: &'static str = "EV::Kafka::Fetched::Pool";
}

impl Fetched {
    /// Finds the batches of an answer. Partitions that were not asked for are left out.
    pub fn new(
        mut response: FetchResponse,
        session: &Session,
        reader: Reader,
        unpacking: &Rc<Unpacking>,
    ) -> Fetched {
        let mut partitions = Vec::new();
        unpacking.borrow_mut().trim();
        session.name_topics(&mut response);
        let passed_over = session.passed_over(&response);
        for topic in response.responses {
            for data in topic.partitions {
                if let Some(from) =
                    session.offset(&topic.topic, &topic.topic_id, data.partition_index)
                {
                    let mut partition = Partition::new(topic.topic.clone(), &data, from);
                    partition.read(data, reader.read_committed, unpacking);
                    partitions.push(partition);
                }
            }
        }
        Fetched {
            partitions: RefCell::new(partitions),
            passed_over,
            interrupted: Rc::default(),
            call_loop: Cell::new(None),
            form: reader.form,
        }
    }

    /// Gives the records of a partition to `on_message`, each once in the life of the answer, until the time is over,
    /// until [`Fetched::interrupt`], or as long as there may be more in progress.
    pub fn deliver(&self, perl: Perl, index: usize, on_message: Sv, handing: Handing) -> Delivered {
        let Some((partition, rest)) = self.take(index) else {
            return Delivered::Paused { is_done: true };
        };
        self.interrupted.set(false);
        let mut calls = MessageCalls {
            perl,
            pause: Pause::after(handing.budget_ms, self.interrupted.clone()),
            progress: partition.progress,
            on_message,
            form: self.form,
            topic: Sv::shared(perl, &partition.topic),
            partition: i64::from(partition.number),
            in_progress: handing.in_progress,
            rest,
            headers: None,
        };
        let outcome = self.call(perl, &mut calls, ON_MESSAGE, handing.on_die);
        self.after_calls(index, calls.rest, partition.next_offset, outcome)
    }

    /// The same for `on_batch`.
    pub fn deliver_batches(
        &self,
        perl: Perl,
        index: usize,
        on_batch: Sv,
        pool: &Pool,
        handing: Handing,
    ) -> Delivered {
        let Some((partition, rest)) = self.take(index) else {
            return Delivered::Paused { is_done: true };
        };
        self.interrupted.set(false);
        let mut calls = BatchCalls {
            perl,
            pause: Pause::after(handing.budget_ms, self.interrupted.clone()),
            progress: partition.progress,
            on_batch,
            form: self.form,
            topic: Sv::shared(perl, &partition.topic),
            partition: i64::from(partition.number),
            in_progress: handing.in_progress,
            rest,
            rows: pool.rows.take().unwrap_or_default(),
        };
        let outcome = self.call(perl, &mut calls, ON_BATCH, handing.on_die);
        pool.rows.set(Some(calls.rows));
        self.after_calls(index, calls.rest, partition.next_offset, outcome)
    }

    /// The loop is kept for the next time, unless it runs already.
    fn call(&self, perl: Perl, calls: &mut impl Calls, label: &str, on_die: OnDie) -> Outcome {
        let mut call_loop = self.call_loop.take().unwrap_or_default();
        let outcome = match on_die {
            OnDie::Stop => call_loop.run_until_died(perl, calls),
            OnDie::Warn => match call_loop.run(perl, calls, label) {
                Flow::Continue => Outcome::Returned,
                Flow::Exit => Outcome::Exit,
            },
        };
        self.call_loop.set(Some(call_loop));
        outcome
    }

    fn after_calls(&self, index: usize, rest: Rest, next: i64, outcome: Outcome) -> Delivered {
        match outcome {
            Outcome::Returned => self.put_back(index, rest, next),
            Outcome::Died(error) => {
                if let Some(partition) = self.partitions.borrow().get(index) {
                    partition.progress.undo();
                }
                Delivered::Died(error)
            }
            Outcome::Exit => Delivered::Exit,
        }
    }

    /// Pauses the delivery after the record that is being delivered.
    pub fn interrupt(&self) {
        self.interrupted.set(true);
    }

    /// The position that delivering a partition has come to, and the epoch of the last record's leader. `None` if there
    /// is no such partition.
    pub fn position(&self, index: usize) -> Option<(i64, i32)> {
        let partitions = self.partitions.borrow();
        let progress = &partitions.get(index)?.progress;
        Some((progress.position.get(), progress.epoch.get()))
    }

    /// The same of the records whose callback has returned.
    pub fn handled(&self, index: usize) -> Option<(i64, i32)> {
        let partitions = self.partitions.borrow();
        Some(partitions.get(index)?.progress.handled.get())
    }

    /// Anything may happen while records are delivered: they are taken out first.
    fn take(&self, index: usize) -> Option<(Taken, Rest)> {
        let mut partitions = self.partitions.borrow_mut();
        let partition = partitions.get_mut(index)?;
        let taken = Taken {
            topic: partition.topic.clone(),
            number: partition.partition,
            next_offset: partition.next_offset,
            progress: partition.progress.clone(),
        };
        Some((taken, partition.rest.take()?))
    }

    /// What is left is kept.
    fn put_back(&self, index: usize, rest: Rest, next_offset: i64) -> Delivered {
        let mut partitions = self.partitions.borrow_mut();
        let Some(partition) = partitions.get_mut(index) else {
            return Delivered::Paused { is_done: true };
        };
        if rest.is_damaged() {
            if let Some((offset, epoch)) = rest.behind() {
                partition.progress.comes_to(offset, epoch);
            }
            partition.rest = Some(rest);
            return Delivered::Damaged;
        }
        if rest.has_more() {
            partition.rest = Some(rest);
            return Delivered::Paused { is_done: false };
        }
        partition
            .progress
            .comes_to(next_offset, partition.last_epoch);
        Delivered::Paused { is_done: true }
    }
}

/// A partition whose records are being delivered.
struct Taken {
    topic: Bytes,
    number: i32,
    next_offset: i64,
    progress: Rc<Progress>,
}

impl Partition {
    fn new(topic: Bytes, data: &PartitionData, from: i64) -> Partition {
        Partition {
            topic,
            partition: data.partition_index,
            error_code: data.error_code,
            high_watermark: data.high_watermark,
            last_stable_offset: data.last_stable_offset,
            next_offset: from,
            last_epoch: NO_LEADER_EPOCH,
            record_count: 0,
            diverging_epoch: (data.diverging_epoch.epoch, data.diverging_epoch.end_offset),
            progress: Rc::new(Progress::from(from, NO_LEADER_EPOCH)),
            rest: None,
        }
    }

    /// Up to what is no batch.
    fn read(&mut self, data: PartitionData, read_committed: bool, unpacking: &Rc<Unpacking>) {
        let from = self.next_offset;
        let aborted = data.aborted_transactions.filter(|_| read_committed);
        let mut aborted = AbortedTransactions::new(aborted.unwrap_or_default());
        let mut sealed = Vec::new();
        for batch in RecordBatches::of_log(data.records.unwrap_or_default()) {
            let kept = batch.and_then(|batch| self.take(batch, &mut aborted, unpacking));
            match kept {
                Ok(kept) => sealed.extend(kept),
                Err(_) => {
                    self.error_code = or_corrupt(self.error_code);
                    break;
                }
            }
        }
        self.rest = Some(Rest::new(from, sealed, unpacking.clone()));
    }

    /// Gives the batch if there is anything to deliver of it. Otherwise nobody looks at it any more, and it is checked here.
    fn take(
        &mut self,
        batch: Batch,
        aborted: &mut AbortedTransactions,
        unpacking: &Unpacking,
    ) -> Result<Option<Batch>, BatchError> {
        // A transaction's markers are the coordinator's, not the application's.
        let marker = match batch.is_control() {
            true => Some(open(&batch, unpacking)?),
            false => None,
        };
        let is_withheld = aborted.withholds(&batch, marker.as_ref());
        let (next_offset, count) = match batch.is_compressed_set() {
            true => {
                let records = open(&batch, unpacking)?;
                (records.next_offset(), records.len())
            }
            false => (
                batch.next_offset(),
                usize::try_from(batch.record_count).unwrap_or(0),
            ),
        };
        // A broker sends from the start of a batch, or of what compaction has put together; all of it may lie before
        // the position.
        let is_behind = next_offset > self.next_offset;
        let is_read = is_behind && !is_withheld && marker.is_none() && count > 0;
        if !is_read && marker.is_none() {
            open(&batch, unpacking)?;
        }
        if is_behind {
            self.next_offset = next_offset;
            self.last_epoch = batch.partition_leader_epoch;
        }
        if is_read {
            self.record_count += count;
        }
        Ok(is_read.then_some(batch))
    }
}
