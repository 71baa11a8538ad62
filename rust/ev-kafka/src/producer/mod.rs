//! The producer's native half: `EV::Kafka::Client::produce`, and `EV::Kafka::Accumulator`, with which Perl code routes
//! topics, sends what is ready and hears what became of batches that failed.

mod brokers;
mod buffer_xsubs;
mod callback;
mod client;
mod delivery;
mod failure;
mod linger;
mod natives;
mod options;
mod pump;
mod request;
mod stats;
mod transaction_xsubs;
mod xsubs;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_producer::{Accumulator, Appended, BatchId, GivenUp, NewRecord, Place, Sealed, Settings};
use kafka_wire::error;
use perl_xs::{call_method, Arg, Flow, Freed, Native, Outcome, Perl, Sv};

use brokers::Brokers;
use callback::Callback;
use delivery::{Delivery, End, Pace, Settled};
use linger::Linger;
pub use natives::register;
use options::Options;

use crate::api::transaction_version::TransactionVersion;
use crate::ev::Loop;
use crate::home::Home;
use crate::problem::Problem;
use crate::strings::Strings;
use crate::wall::WallClock;

/// What `new` is told, and what a request is made by.
#[derive(Debug)]
struct Config {
    /// -1, 0 or 1.
    acks: Cell<i16>,
    /// How long the broker may wait for its replicas, in milliseconds.
    timeout_ms: i32,
    /// How much longer that is than the request timeout, in milliseconds; 0 when it is not.
    beyond_ms: u64,
    /// Bytes that one message may take.
    max_request_size: usize,
    /// Brokers look at it for transactional batches only.
    transactional_id: Option<Bytes>,
    /// The version of the transaction that is open.
    transactions: Cell<TransactionVersion>,
    /// Errors are objects for the program.
    tells_objects: bool,
}

/// What errors are said of.
const OPERATION: &str = "Produce";

/// The time since this was first asked; it never goes back.
fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The native state of an `EV::Kafka::Accumulator`.
pub struct Producer {
    accumulator: RefCell<Accumulator<Callback>>,
    config: Config,
    delivery: Delivery,
    brokers: Brokers,
    options: Options,
    linger: Linger,
    /// Some partition with something to send had no leader when that was looked at last.
    is_leaderless: Cell<bool>,
    /// Somebody beside a transaction waits for batches to be settled.
    is_watched: Cell<bool>,
    /// Every produce goes to Perl: the client is closed, or has nothing to produce with.
    is_diverted: Cell<bool>,
    /// What keys, values and headers are to the program.
    strings: Strings,
    /// When records come.
    wall_clock: WallClock,
    /// The scalar in which the program's partitioner lies, if it has one.
    partitioner: RefCell<Option<Sv>>,
    /// A forked child must not send the parent's records.
    home: Home,
    /// The scalar in which a weak reference to the Perl object lies that is told of what has to be done.
    listener: RefCell<Option<Sv>>,
}

/// What every message has.
struct Plain<'a, S, C> {
    topic: &'a [u8],
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// Whether key, value and headers go out as they are stored.
    is_stored_so: S,
    /// Borrows the value from Perl.
    lend: Option<&'a dyn Fn() -> Option<Bytes>>,
    callback: C,
}

/// What a message may have beside.
struct Said<H> {
    partition: Option<usize>,
    /// Milliseconds since the epoch.
    timestamp: Option<i64>,
    headers: H,
}

impl Native for Producer {
    const NAME: &'static str = "EV::Kafka::Accumulator";

    /// The client's `DESTROY` has settled everything already; a subclass that overrides it must not lose callbacks.
    fn on_free(&self, perl: Perl, how: Freed) {
        let (sent, unsent) = self.accumulator.borrow_mut().take_all();
        if how != Freed::GlobalDestruction && self.home.is_here() {
            let mut closed = Problem::without_code("client closed".to_owned(), false);
            closed.is_fatal = true;
            self.give_up(sent, |_, _| closed.clone());
            self.give_up(unsent, |_, _| closed.clone());
            let _ = self.delivery.deliver(perl, Pace::AtOnce);
        }
    }
}

impl Producer {
    fn new(on: &Loop, config: Config, settings: Settings, strings: Strings) -> Rc<Producer> {
        Rc::new_cyclic(|weak: &Weak<Producer>| Producer {
            accumulator: RefCell::new(Accumulator::new(settings)),
            delivery: Delivery::new(config.tells_objects),
            config,
            brokers: Brokers::default(),
            options: Options::default(),
            linger: Linger::new(on, weak.clone()),
            is_leaderless: Cell::new(false),
            is_watched: Cell::new(false),
            is_diverted: Cell::new(false),
            strings,
            wall_clock: WallClock::new(),
            partitioner: RefCell::default(),
            home: Home::new(),
            listener: RefCell::default(),
        })
    }

    /// Whether the program chooses partitions. It may begin, and cease, at any time.
    fn has_partitioner(&self) -> bool {
        let partitioner = self.partitioner.borrow();
        partitioner.as_ref().is_some_and(Sv::is_ref)
    }

    /// Puts the message into the batch of the partition that the default partitioner chooses, unless somebody else has to
    /// look at it first, or there is no room.
    #[inline]
    fn take<'a>(
        &self,
        message: Plain<'a, impl FnOnce() -> bool, impl FnOnce() -> Option<Callback>>,
    ) -> Option<Appended> {
        let said = Said {
            partition: None,
            timestamp: None,
            headers: std::iter::empty(),
        };
        self.take_with(message, said)
    }

    /// The same for one of which more is said.
    #[inline]
    fn take_with<'a>(
        &self,
        message: Plain<'a, impl FnOnce() -> bool, impl FnOnce() -> Option<Callback>>,
        said: Said<impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone>,
    ) -> Option<Appended> {
        if !self.takes() || !self.goes_as_stored(message.is_stored_so) {
            return None;
        }
        let mut accumulator = self.accumulator.borrow_mut();
        let topic = accumulator.routed_topic(message.topic)?;
        let partition = match said.partition {
            // A partition that the topic is not known to have is waited for.
            Some(partition) if partition >= accumulator.partitions(topic) => return None,
            Some(partition) => partition,
            None => accumulator.partition_for(topic, message.key),
        };
        let record = NewRecord {
            timestamp: said.timestamp.unwrap_or_else(|| self.wall_clock.now_ms()),
            key: message.key,
            value: message.value,
            headers: said.headers,
            lend: message.lend,
        };
        let appended = accumulator.append(topic, partition, record, (message.callback)());
        appended.ok()
    }

    /// How many partitions there are to choose from for a message that would be taken.
    fn partitions<C>(&self, message: Plain<'_, impl FnOnce() -> bool, C>) -> Option<usize> {
        if !self.takes() || !self.goes_as_stored(message.is_stored_so) {
            return None;
        }
        let mut accumulator = self.accumulator.borrow_mut();
        let topic = accumulator.routed_topic(message.topic)?;
        Some(accumulator.partitions(topic))
    }

    #[inline]
    fn takes(&self) -> bool {
        !self.is_diverted.get() && self.home.is_here()
    }

    #[inline]
    fn goes_as_stored(&self, is_stored_so: impl FnOnce() -> bool) -> bool {
        self.strings == Strings::AsStored || is_stored_so()
    }

    /// Calls a method of the Perl object that listens; `None` when it is gone.
    fn tell(&self, perl: Perl, method: &str, args: &[Arg]) -> Option<Outcome> {
        let object = self.listener.borrow().as_ref()?.referent()?;
        Some(call_method(perl, &Sv::new_ref(perl, &object), method, args))
    }

    /// The same for news that nobody waits for: a die becomes a warning.
    fn tell_or_warn(&self, perl: Perl, method: &str, args: &[Arg]) -> Flow {
        match self.tell(perl, method, args) {
            Some(outcome) => outcome.or_warn(perl, "EV::Kafka"),
            None => Flow::Continue,
        }
    }

    /// Calls back for batches that are done with, and sees to it that what takes long goes on in turns of the loop to come.
    fn deliver(&self, perl: Perl) -> Flow {
        let flow = self.delivery.deliver(perl, Pace::InTurns);
        if flow == Flow::Exit || !self.delivery.take_rest() {
            return flow;
        }
        match self.tell(perl, "rest", &[]) {
            Some(outcome) => outcome.or_warn(perl, "EV::Kafka"),
            None => self.delivery.deliver(perl, Pace::AtOnce),
        }
    }

    /// Batches that were taken for a request have not left.
    fn requeue(&self, batches: impl Iterator<Item = BatchId>) {
        let mut accumulator = self.accumulator.borrow_mut();
        batches.for_each(|id| accumulator.requeue(id));
    }

    /// Where records that were given up belong, as texts name it.
    fn place_name(&self, given_up: &GivenUp<Callback>) -> String {
        let accumulator = self.accumulator.borrow();
        let topic = String::from_utf8_lossy(accumulator.topic_name(given_up.topic));
        let Some(partition) = given_up.partition else {
            return topic.into_owned();
        };
        match given_up.batch.refusal {
            0 => format!("{topic}:{partition}"),
            code => {
                let name = error::name(code);
                format!("{topic}:{partition}, refused with {name} (code {code})")
            }
        }
    }

    /// Settles what the accumulator has given up; its problem is made of where that belongs and the code that it was
    /// last refused with.
    fn give_up(
        &self,
        batches: Vec<GivenUp<Callback>>,
        problem: impl Fn(&str, Option<i16>) -> Problem,
    ) {
        let accumulator = self.accumulator.borrow();
        self.delivery.queue(batches.into_iter().map(|given_up| {
            let end = End::Failed(self.problem_of(&given_up, &problem));
            let place = Place {
                topic: given_up.topic,
                partition: given_up.partition.unwrap_or_default(),
            };
            settled(&accumulator, place, given_up.batch, end)
        }));
    }

    /// What becomes of records that were given up.
    fn problem_of(
        &self,
        given_up: &GivenUp<Callback>,
        problem: impl Fn(&str, Option<i16>) -> Problem,
    ) -> Problem {
        let accumulator = self.accumulator.borrow();
        let refusal = given_up.batch.refusal;
        let problem = problem(
            &self.place_name(given_up),
            (refusal != 0).then_some(refusal),
        );
        Problem {
            operation: problem.operation.or(Some(OPERATION.to_owned())),
            topic: Some(accumulator.topic_name(given_up.topic).to_vec()),
            partition: given_up.partition.map(|partition| partition as i32),
            ..problem
        }
    }
}

/// Records of a batch that have no callback.
fn unheard(batch: &Sealed<Callback>) -> usize {
    batch.count - batch.callbacks.iter().flatten().count()
}

fn settled(
    accumulator: &Accumulator<Callback>,
    place: Place,
    batch: Sealed<Callback>,
    end: End,
) -> Settled {
    Settled {
        topic: accumulator.topic_name(place.topic).clone(),
        place,
        generation: batch.generation(),
        callbacks: batch.callbacks.into_iter(),
        end,
    }
}
