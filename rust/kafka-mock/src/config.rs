//! What a cluster is made of.

use crate::login::SaslConfig;
use bytes::Bytes;

/// Broker default of `message.max.bytes`: 1 MiB of records and the 12 bytes before them.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1024 * 1024 + 12;

/// Broker default of `group.min.session.timeout.ms`.
pub const DEFAULT_MIN_SESSION_TIMEOUT_MS: i32 = 6_000;

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Number of brokers; their node ids are 0, 1, 2, …
    pub brokers: i32,
    /// Partitions of a topic that is created without a count.
    pub default_partitions: i32,
    /// Replicas of a partition that is created without a count. Replicas share one log: the factor
    /// decides only who can take over when a broker is stopped.
    pub default_replication_factor: i16,
    /// Whether Metadata creates the unknown topics that it is asked about, if the client allows it.
    pub auto_create_topics: bool,
    /// Largest record batch that is taken, in bytes (`message.max.bytes`).
    pub max_message_bytes: usize,
    /// Shortest session timeout that a member of a group may ask for (`group.min.session.timeout.ms`).
    pub min_session_timeout_ms: i32,
    /// How long members of the new group protocol may be silent (`group.consumer.session.timeout.ms`).
    pub consumer_session_timeout_ms: u64,
    /// How often they are told to send heartbeats (`group.consumer.heartbeat.interval.ms`).
    pub consumer_heartbeat_interval_ms: i32,
    /// Most fetch sessions of a broker (`max.incremental.fetch.session.cache.slots`); who comes later has none.
    pub max_fetch_sessions: usize,
    /// Share groups begin with what is written after they were there (`share.auto.offset.reset`: latest).
    pub share_begins_late: bool,
    /// For how long records of a share group are locked (`group.share.record.lock.duration.ms`).
    pub share_lock_ms: u64,
    /// How often they are delivered at most (`group.share.delivery.count.limit`).
    pub share_delivery_limit: i16,
    /// How clients must authenticate themselves, if they must.
    pub sasl: Option<SaslConfig>,
    /// Told to clients in Metadata.
    pub cluster_id: Bytes,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            brokers: 1,
            default_partitions: 1,
            default_replication_factor: 1,
            auto_create_topics: true,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            min_session_timeout_ms: DEFAULT_MIN_SESSION_TIMEOUT_MS,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            max_fetch_sessions: 1000,
            share_begins_late: true,
            share_lock_ms: 30_000,
            share_delivery_limit: 5,
            sasl: None,
            cluster_id: Bytes::from_static(b"kafka-mock"),
        }
    }
}
