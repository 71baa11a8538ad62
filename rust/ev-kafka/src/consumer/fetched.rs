//! A Fetch answer, checked and ready to be delivered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchResponse, PartitionData};
use kafka_wire::records::{RecordBatches, RecordCursor, Records, MAX_DECOMPRESSED_LEN};
use kafka_wire::ErrorCode;
use perl_xs::{CallLoop, Callee, Calls, Flow, Native, Perl, Slots, Sv};

use crate::conn::fetched::headers_ref;

/// The class of the object that Perl code gets.
pub const CLASS: &str = "EV::Kafka::Fetched";

/// What the warning about an `on_message` that died starts with.
const WHAT: &str = "on_message error";

/// What was asked for: the offset of each topic and partition.
pub type Asked = HashMap<(Bytes, i32), i64>;

/// What a Fetch brought for one partition.
pub struct Partition {
    /// The topic's name.
    pub topic: Bytes,
    /// The partition's number.
    pub partition: i32,
    /// The broker's, or 2 (CORRUPT_MESSAGE) when a batch did not verify.
    pub error_code: i16,
    /// The offset after the last record that all in-sync replicas have.
    pub high_watermark: i64,
    /// The first offset that the partition still has; -1 when the broker did not say.
    pub log_start_offset: i64,
    /// Where to go on after what is here: behind the last whole batch, whatever compaction left of it.
    pub next_offset: i64,
    /// The size of the first batch when not even that one came whole; 0 otherwise.
    pub needed_bytes: usize,
    /// The offset asked for: the first batch may begin before it.
    from: i64,
    batches: Vec<Records>,
}

/// The state of an `EV::Kafka::Fetched`.
pub struct Fetched {
    /// In the order of the answer.
    pub partitions: RefCell<Vec<Partition>>,
    /// No further record is to be delivered.
    stopped: Rc<Cell<bool>>,
    call_loop: Cell<Option<CallLoop>>,
}

impl Native for Fetched {
    const NAME: &'static str = CLASS;
}

impl Fetched {
    /// Verifies and decompresses the batches of an answer. Partitions that were not asked for are left out.
    pub fn new(response: FetchResponse, asked: &Asked) -> Fetched {
        let mut partitions = Vec::new();
        for topic in response.responses {
            for data in topic.partitions {
                if let Some(&from) = asked.get(&(topic.topic.clone(), data.partition_index)) {
                    partitions.push(Partition::new(topic.topic.clone(), data, from));
                }
            }
        }
        Fetched {
            partitions: RefCell::new(partitions),
            stopped: Rc::default(),
            call_loop: Cell::new(None),
        }
    }

    /// Gives the records of a partition to `on_message`, each once in the life of the answer. The number of records
    /// given out, and whether the process goes on.
    pub fn deliver(&self, perl: Perl, index: usize, on_message: Sv) -> (usize, Flow) {
        let Some(mut calls) = self.take(perl, index, on_message) else {
            return (0, Flow::Continue);
        };
        let mut call_loop = self.call_loop.take().unwrap_or_default();
        let flow = call_loop.run(perl, &mut calls, WHAT);
        self.call_loop.set(Some(call_loop));
        (calls.delivered, flow)
    }

    /// Delivers no record after the one that is being delivered.
    pub fn stop(&self) {
        self.stopped.set(true);
    }

    /// Anything may happen while records are delivered: they are taken out first.
    fn take(&self, perl: Perl, index: usize, on_message: Sv) -> Option<PartitionCalls> {
        let mut partitions = self.partitions.borrow_mut();
        let partition = partitions.get_mut(index)?;
        Some(PartitionCalls {
            perl,
            stopped: self.stopped.clone(),
            on_message,
            topic: Sv::shared(perl, &partition.topic),
            partition: i64::from(partition.partition),
            from: partition.from,
            batches: std::mem::take(&mut partition.batches).into_iter(),
            current: None,
            cursor: RecordCursor::default(),
            headers: None,
            delivered: 0,
        })
    }
}

impl Partition {
    fn new(topic: Bytes, data: PartitionData, from: i64) -> Partition {
        let mut partition = Partition {
            topic,
            partition: data.partition_index,
            error_code: data.error_code,
            high_watermark: data.high_watermark,
            log_start_offset: data.log_start_offset,
            next_offset: from,
            needed_bytes: 0,
            from,
            batches: Vec::new(),
        };
        let mut batches = RecordBatches::new(data.records.unwrap_or_default());
        for batch in &mut batches {
            let records = batch.and_then(|batch| {
                let records = batch.records(MAX_DECOMPRESSED_LEN)?;
                Ok((batch.next_offset(), batch.is_control(), records))
            });
            match records {
                Ok((next_offset, is_control, records)) => {
                    partition.next_offset = partition.next_offset.max(next_offset);
                    // A transaction's markers are the coordinator's, not the application's.
                    if !is_control {
                        partition.batches.push(records);
                    }
                }
                Err(_) => {
                    if partition.error_code == 0 {
                        partition.error_code = ErrorCode::CorruptMessage.code();
                    }
                    return partition;
                }
            }
        }
        if let (true, Some(size)) = (partition.next_offset == from, batches.incomplete()) {
            partition.needed_bytes = size;
        }
        partition
    }
}

struct PartitionCalls {
    perl: Perl,
    stopped: Rc<Cell<bool>>,
    on_message: Sv,
    topic: Sv,
    partition: i64,
    from: i64,
    batches: std::vec::IntoIter<Records>,
    current: Option<Records>,
    cursor: RecordCursor,
    /// The headers of the record being delivered.
    headers: Option<Sv>,
    delivered: usize,
}

impl PartitionCalls {
    /// Moves to the batch that the next record comes from. False at the end.
    #[inline]
    fn advance(&mut self) -> bool {
        loop {
            match &self.current {
                Some(current) if current.has_next(&self.cursor) => return true,
                _ => {}
            }
            self.current = self.batches.next();
            self.cursor = RecordCursor::default();
            match &self.current {
                Some(current) => current.skip_to(&mut self.cursor, self.from),
                None => return false,
            }
        }
    }
}

impl Calls for PartitionCalls {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        if self.stopped.get() || !self.advance() {
            return None;
        }
        let record = self.current.as_ref()?.next_at(&mut self.cursor)?;
        self.delivered += 1;
        let headers = record.headers();
        self.headers = (headers.len() > 0).then(|| headers_ref(self.perl, headers));
        slots.shared(&self.topic);
        slots.int(self.partition);
        slots.int(record.offset);
        slots.bytes(record.key);
        slots.bytes(record.value);
        match &self.headers {
            Some(headers) => slots.sv(headers),
            None => slots.undef(),
        }
        slots.int(record.timestamp);
        Some(Callee::Keep(&self.on_message))
    }
}
