//! What a callback gets for records of one partition, in the form in which it is used again and again.

use perl_xs::Node;

/// The leaves of the result's template.
pub const PARTITION: usize = 0;
pub const ERROR_CODE: usize = 1;
pub const BASE_OFFSET: usize = 2;
pub const THROTTLE: usize = 3;

/// The shape of the result: that of the general one, without what is seldom there.
pub fn shape(topic: &[u8]) -> Node {
    let partition = Node::Hash(vec![
        ("partition", Node::Int(PARTITION)),
        ("error_code", Node::Int(ERROR_CODE)),
        ("base_offset", Node::Int(BASE_OFFSET)),
    ]);
    let topic = Node::Hash(vec![
        ("topic", Node::Str(topic.to_vec())),
        ("partitions", Node::Array(vec![partition])),
    ]);
    Node::Hash(vec![
        ("topics", Node::Array(vec![topic])),
        ("throttle_time_ms", Node::Int(THROTTLE)),
    ])
}
