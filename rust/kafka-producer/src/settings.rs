//! How a producer batches, encodes and gives up.

use std::time::Duration;

use kafka_wire::codec::Compression;

use crate::keyless::Keyless;

/// How the accumulator batches and encodes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A batch is due, however young, when its encoded size in bytes (before compression) reaches this.
    pub batch_size: usize,
    /// A batch that is due and cannot leave takes records up to this encoded size.
    pub batch_limit: usize,
    /// No record that is larger is taken, encoded and not compressed; a batch ends there, whatever its limit.
    pub max_request_size: usize,
    /// Compression of sealed batches.
    pub compression: Compression,
    /// Bytes that may be queued: what would go beyond is refused. `usize::MAX` for no limit.
    pub buffer_memory: usize,
    /// Where records without a key go.
    pub keyless: Keyless,
    /// How long records wait to be sent before [`crate::Accumulator::expire`] gives them up.
    pub patience: Duration,
    /// Batches carry an identity and sequence numbers (KIP-98), and none leaves before there is an identity.
    pub idempotent: bool,
    /// The producer has a transactional id.
    pub transactional: bool,
    /// The time that batches' ages are measured by; it never goes back.
    pub clock: fn() -> Duration,
}
