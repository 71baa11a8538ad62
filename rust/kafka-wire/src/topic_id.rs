//! Ids of topics (KIP-516).

/// What tells a topic from others that have had its name.
pub type TopicId = [u8; 16];

/// That of a topic which has none, or of which it is not known.
pub const NO_TOPIC_ID: TopicId = [0; 16];
