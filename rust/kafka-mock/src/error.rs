//! Why something cannot be done to a cluster.

/// Why something could not be done to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterError {
    /// No broker of that node id.
    UnknownBroker(i32),
    /// No such topic, or no such partition of it.
    UnknownPartition(String),
    /// A topic of that name exists.
    TopicExists(String),
    /// Not a name that Kafka accepts.
    InvalidTopicName(String),
    /// Zero, negative, or more than [`MAX_PARTITIONS`](crate::MAX_PARTITIONS) partitions.
    InvalidPartitionCount(i32),
    /// The bytes are not one record batch that a broker would take: Kafka's error code.
    InvalidBatch(i16),
}

impl std::fmt::Display for ClusterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownBroker(id) => write!(f, "no broker {id}"),
            Self::UnknownPartition(name) => write!(f, "no partition {name}"),
            Self::TopicExists(name) => write!(f, "topic '{name}' already exists"),
            Self::InvalidTopicName(name) => write!(f, "invalid topic name '{name}'"),
            Self::InvalidPartitionCount(count) => write!(f, "invalid partition count {count}"),
            Self::InvalidBatch(code) => {
                write!(
                    f,
                    "not a valid record batch: {}",
                    kafka_wire::error::name(*code)
                )
            }
        }
    }
}

impl std::error::Error for ClusterError {}
