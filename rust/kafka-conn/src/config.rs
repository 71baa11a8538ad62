//! What a connection is told once, at its creation.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;

/// The settings of a [`Connection`](crate::Connection) that hold from its first moment.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sent with every request; brokers use it in quotas and logs.
    pub client_id: Bytes,
    /// Seeds the jitter of the reconnect delays. Two connections with the same seed wait equally
    /// long, which is what tests want and what a fleet of clients must not do.
    pub jitter_seed: u64,
}

impl Default for Config {
    /// The client id `ev-kafka` and a seed that differs from value to value.
    fn default() -> Self {
        Config {
            client_id: Bytes::from_static(b"ev-kafka"),
            jitter_seed: RandomState::new().build_hasher().finish(),
        }
    }
}
