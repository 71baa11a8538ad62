//! What a partition knows of its idempotent producers (KIP-98): which batch may come next, and which has come
//! before.

use kafka_wire::ErrorCode;
use std::collections::{BTreeMap, VecDeque};

/// Batches of a producer that a partition remembers, so that each may be sent again (KAFKA-5494).
const REMEMBERED_BATCHES: usize = 5;

/// Stands for the sequence before the first.
const NO_SEQUENCE: i32 = -1;

/// How a batch says who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub producer_id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
    pub last_sequence: i32,
    pub transactional: bool,
}

impl Stamp {
    /// The sequence of the last of so many records behind the first; after the largest number comes 0.
    pub fn last_sequence(base_sequence: i32, last_offset_delta: i32) -> i32 {
        const COUNT: i64 = i32::MAX as i64 + 1;
        ((i64::from(base_sequence) + i64::from(last_offset_delta)) % COUNT) as i32
    }
}

/// A batch that a producer has written.
#[derive(Debug, Clone, Copy)]
struct Written {
    base_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// The last of this epoch.
    written: VecDeque<Written>,
    /// Where the transaction began that has not ended.
    open_since: Option<i64>,
}

/// The producers of a partition.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    by_id: BTreeMap<i64, Producer>,
}

impl Producers {
    /// The base offset of a batch that is here already; `None` for one that may be appended, or the error.
    ///
    /// As of Kafka 4: a batch equal to one of the last five is answered like the first time; an older duplicate is
    /// OUT_OF_ORDER_SEQUENCE_NUMBER like a gap (nothing sends DUPLICATE_SEQUENCE_NUMBER any more). A producer that
    /// the partition does not know may begin with any sequence, because retention makes partitions forget
    /// (UNKNOWN_PRODUCER_ID went with that, KIP-360). A new epoch of a known one begins with 0.
    /// `must_begin`: the transaction begins here under version 2 (KIP-890), and whoever has lost what came before it does
    /// not find that out too late.
    pub fn admit(&self, stamp: &Stamp, must_begin: bool) -> Result<Option<i64>, i16> {
        let Some(known) = self.by_id.get(&stamp.producer_id) else {
            return match must_begin && stamp.base_sequence != 0 {
                true => Err(ErrorCode::OutOfOrderSequenceNumber.code()),
                false => Ok(None),
            };
        };
        if stamp.epoch < known.epoch {
            return Err(ErrorCode::InvalidProducerEpoch.code());
        }
        if stamp.epoch == known.epoch {
            let again = known.written.iter().find(|written| {
                (written.base_sequence, written.last_sequence)
                    == (stamp.base_sequence, stamp.last_sequence)
            });
            if let Some(written) = again {
                return Ok(Some(written.base_offset));
            }
        }
        if stamp.base_sequence != known.next_sequence(stamp.epoch) {
            return Err(ErrorCode::OutOfOrderSequenceNumber.code());
        }
        if known.open_since.is_some() && !stamp.transactional {
            return Err(ErrorCode::InvalidTxnState.code());
        }
        Ok(None)
    }

    /// Remembers a batch that was appended.
    pub fn record(&mut self, stamp: &Stamp, base_offset: i64) {
        let producer = self.producer(stamp.producer_id, stamp.epoch);
        if producer.written.len() == REMEMBERED_BATCHES {
            producer.written.pop_front();
        }
        producer.written.push_back(Written {
            base_sequence: stamp.base_sequence,
            last_sequence: stamp.last_sequence,
            base_offset,
        });
        if stamp.transactional {
            producer.open_since.get_or_insert(base_offset);
        }
    }

    /// Whether a transaction of this producer and epoch is open here.
    pub fn is_open(&self, producer_id: i64, epoch: i16) -> bool {
        self.by_id
            .get(&producer_id)
            .is_some_and(|producer| producer.epoch == epoch && producer.open_since.is_some())
    }

    /// Ends a producer's transaction, by a marker of this epoch: where it began, if it wrote anything here.
    pub fn end(&mut self, producer_id: i64, epoch: i16) -> Option<i64> {
        self.producer(producer_id, epoch).open_since.take()
    }

    /// The log ends here now: what lay behind was never written.
    pub fn truncate(&mut self, end_offset: i64) {
        for producer in self.by_id.values_mut() {
            let written = &mut producer.written;
            written.retain(|written| written.base_offset < end_offset);
            producer.open_since = producer.open_since.filter(|&since| since < end_offset);
        }
    }

    /// Where the oldest transaction began that has not ended.
    pub fn first_open_offset(&self) -> Option<i64> {
        self.by_id
            .values()
            .filter_map(|producer| producer.open_since)
            .min()
    }

    /// The entry of a producer, moved to this epoch.
    fn producer(&mut self, id: i64, epoch: i16) -> &mut Producer {
        let producer = self.by_id.entry(id).or_insert(Producer {
            epoch,
            written: VecDeque::new(),
            open_since: None,
        });
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.written.clear();
        }
        producer
    }
}

impl Producer {
    fn next_sequence(&self, epoch: i16) -> i32 {
        let last = match self.written.back() {
            Some(written) if epoch == self.epoch => written.last_sequence,
            _ => NO_SEQUENCE,
        };
        Stamp::last_sequence(last, 1)
    }
}
