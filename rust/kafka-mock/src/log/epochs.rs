//! Which leader wrote what, and logs that lose what a leader had written (KIP-101, KIP-320).

use super::PartitionLog;
use kafka_wire::records::batch_span;

/// Stands for an epoch or an offset that is not known.
pub(crate) const UNDEFINED: i32 = -1;

impl PartitionLog {
    /// The largest epoch up to the one asked for, and the offset after its last record; `UNDEFINED` both when the
    /// epoch is later than the leader's.
    pub fn end_of_epoch(&self, asked: i32, leader_epoch: i32) -> (i32, i64) {
        if asked > leader_epoch || asked < 0 {
            return (UNDEFINED, UNDEFINED.into());
        }
        let mut largest = asked;
        let mut end = self.high_watermark;
        if asked < leader_epoch {
            let epochs = || {
                self.batches.iter().filter_map(|batch| {
                    let header = batch_span(&batch.bytes).ok()?;
                    Some((header.partition_leader_epoch, batch.base_offset))
                })
            };
            let before = epochs()
                .map(|(epoch, _)| epoch)
                .filter(|&epoch| epoch <= asked);
            largest = before.max().unwrap_or(asked);
            let later = epochs().find(|&(epoch, _)| epoch > asked);
            end = later.map_or(end, |(_, base_offset)| base_offset);
        }
        (largest, end)
    }

    /// Drops the batches that reach to an offset or behind it.
    pub fn lose_from(&mut self, offset: i64) {
        self.batches.retain(|batch| batch.last_offset < offset);
        let end = self
            .batches
            .last()
            .map_or(self.start_offset, |batch| batch.last_offset + 1);
        self.high_watermark = self.high_watermark.min(end.max(self.start_offset));
        let end = self.high_watermark;
        self.producers.truncate(end);
        self.aborted.retain(|aborted| aborted.first_offset < end);
    }
}
