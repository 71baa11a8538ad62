//! Chunks: records that wait for their topic to be known lie in them, in the form in which they lie in batches.

use bytes::Bytes;
use kafka_wire::records::{
    BatchBuilder, EncodedBatch, Record, RecordBatches, MAX_DECOMPRESSED_LEN,
};

use crate::batch::{BatchId, Open, Origin, Sealed};
use crate::record::Appended;

/// Size in bytes at which a chunk is closed: what its records take twice while they get their partitions.
pub(crate) const CHUNK_SIZE: usize = 1 << 18;

/// Which partition a parked record goes to once its topic is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// The default partitioner's choice.
    #[default]
    ByKey,
    /// This one.
    Partition(u32),
    /// The caller will say, see [`crate::Accumulator::asked`].
    Asked {
        /// What the caller has to know of the key beside its bytes.
        is_text: bool,
    },
}

impl Destination {
    fn is_asked(self) -> bool {
        matches!(self, Destination::Asked { .. })
    }
}

/// A chunk that takes records. All of them are of one transaction and ask for the same acknowledgements.
pub(crate) struct Parking<C> {
    pub open: Open<C>,
    pub transaction: Option<u64>,
    pub destinations: Destinations,
}

impl<C> Parking<C> {
    pub fn origin(&mut self) -> &mut Origin {
        &mut self.open.origin
    }

    pub fn generation(&self) -> u64 {
        self.open.origin.generation
    }
}

/// A closed chunk.
pub(crate) struct Chunk<C> {
    pub batch: Sealed<C>,
    pub destinations: Destinations,
}

/// Those of a chunk's records up to the last that does not go by its key.
#[derive(Default)]
pub(crate) struct Destinations(Vec<Destination>);

impl Destinations {
    pub fn set(&mut self, index: usize, destination: Destination) {
        if destination != Destination::ByKey {
            self.0.resize(index, Destination::ByKey);
            self.0.push(destination);
        }
    }

    pub fn of(&self, index: usize) -> Destination {
        self.0.get(index).copied().unwrap_or_default()
    }

    pub fn ask(&self) -> bool {
        self.0.iter().any(|destination| destination.is_asked())
    }
}

/// Records whose partition only the caller can tell.
pub struct Question {
    /// Names them, for [`crate::Accumulator::unpark_answered`].
    pub id: BatchId,
    /// Their keys, and what was said of each.
    pub keys: Vec<(Option<Bytes>, bool)>,
}

/// What became of records that the caller had to tell the partition of.
pub struct Answered<C> {
    /// For the others of their chunk.
    pub appended: Appended,
    /// Which of them got none, and their callbacks.
    pub refused: Vec<(usize, Option<C>)>,
    /// They are part of the transaction that is open.
    pub is_transactional: bool,
}

/// Doubles its buffer as long as there are few records, and has about the size of a chunk then.
pub(crate) fn chunk_builder() -> BatchBuilder {
    BatchBuilder::new().up_to(CHUNK_SIZE + CHUNK_SIZE / 64)
}

/// Reads the records of a chunk, which no one has written but us.
pub(crate) fn for_each_record(chunk: EncodedBatch, mut visit: impl FnMut(usize, &Record<'_>)) {
    let batch = RecordBatches::new(chunk.into_bytes()).next();
    let records = batch
        .and_then(Result::ok)
        .and_then(|batch| batch.records(MAX_DECOMPRESSED_LEN).ok());
    for (index, record) in records
        .iter()
        .flat_map(|records| records.iter())
        .enumerate()
    {
        visit(index, &record);
    }
}
