//! What a program may change while its producer runs.

use kafka_wire::codec::Compression;

use super::Accumulator;
use crate::keyless::Keyless;

impl<C> Accumulator<C> {
    /// Compresses the batches that are sealed from now on so.
    pub fn set_compression(&mut self, compression: Compression) {
        self.settings.compression = compression;
    }

    /// Has batches due at another size from now on, and sealed at another limit; where a broker has found batches too
    /// large that still counts.
    pub fn set_batch_size(&mut self, size: usize, limit: usize) {
        self.settings.batch_size = size;
        let limit = limit.min(self.settings.max_request_size);
        let before = std::mem::replace(&mut self.settings.batch_limit, limit);
        for topic in &mut self.topics {
            let most = match topic.batch_limit < before {
                true => topic.batch_limit,
                false => limit,
            };
            topic.batch_limit = most.min(limit);
        }
    }

    /// Has records without a key go elsewhere from now on.
    pub fn set_keyless(&mut self, keyless: Keyless) {
        if keyless != self.settings.keyless {
            self.settings.keyless = keyless;
            self.topics.iter_mut().for_each(|t| t.set_keyless(keyless));
        }
    }
}
