//! Topics and their partitions: who leads them, and their logs.

use crate::log::PartitionLog;
use kafka_wire::ErrorCode;

/// Longest topic name that Kafka takes (`Topic.MAX_NAME_LENGTH`).
const MAX_NAME_LENGTH: usize = 249;

/// The leader epoch of a client that does not check it.
const ANY_EPOCH: i32 = -1;

/// Stands for "no leader" on the wire.
pub const NO_LEADER: i32 = -1;

/// Most partitions that a topic can be created with. A real cluster has no such limit; it keeps a
/// few bytes of CreateTopics from taking all memory.
pub const MAX_PARTITIONS: i32 = 10_000;

/// A topic of the cluster.
#[derive(Debug)]
pub struct Topic {
    pub(crate) id: [u8; 16],
    pub(crate) partitions: Vec<Partition>,
}

/// One partition: its replicas, its leader and its log.
#[derive(Debug)]
pub struct Partition {
    /// Node ids; the first is the preferred leader.
    pub(crate) replicas: Vec<i32>,
    /// Node id, or [`NO_LEADER`].
    pub(crate) leader: i32,
    /// Grows with every change of leader (KIP-320).
    pub(crate) leader_epoch: i32,
    pub(crate) log: PartitionLog,
}

impl Topic {
    /// The partition of that index; `None` for a negative index too.
    pub(crate) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }
}

impl Partition {
    pub(crate) fn new(replicas: Vec<i32>) -> Self {
        let leader = replicas.first().copied().unwrap_or(NO_LEADER);
        Self {
            replicas,
            leader,
            leader_epoch: 0,
            log: PartitionLog::default(),
        }
    }

    /// Hands the partition to another leader, or to none.
    pub(crate) fn set_leader(&mut self, leader: i32) {
        if self.leader != leader {
            self.leader = leader;
            self.leader_epoch += 1;
        }
    }

    /// Whether a broker leads the partition, in the epoch that a client knows (KIP-320; -1 for one that does not
    /// check it): the error to answer if not.
    pub(crate) fn check_leader(&self, broker: i32, known_epoch: i32) -> Result<(), i16> {
        match known_epoch {
            ANY_EPOCH => {}
            epoch if epoch < self.leader_epoch => return Err(ErrorCode::FencedLeaderEpoch.code()),
            epoch if epoch > self.leader_epoch => return Err(ErrorCode::UnknownLeaderEpoch.code()),
            _ => {}
        }
        match self.leader == broker {
            true => Ok(()),
            false => Err(ErrorCode::NotLeaderOrFollower.code()),
        }
    }

    /// A leader takes over that never had what was written from an offset on: an unclean election.
    pub(crate) fn lose_from(&mut self, offset: i64) {
        self.log.lose_from(offset);
        self.leader_epoch += 1;
    }

    /// Moves the leadership to a replica that is up, unless the leader itself is.
    pub(crate) fn elect(&mut self, is_up: impl Fn(i32) -> bool) {
        if !is_up(self.leader) {
            let successor = self.replicas.iter().copied().find(|&id| is_up(id));
            self.set_leader(successor.unwrap_or(NO_LEADER));
        }
    }
}

/// Whether Kafka would accept this name for a topic: `[A-Za-z0-9._-]{1,249}` but `.` and `..`.
pub(crate) fn is_valid_name(name: &[u8]) -> bool {
    (1..=MAX_NAME_LENGTH).contains(&name.len())
        && name
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name != b"."
        && name != b".."
}

/// A topic id that is unique within the cluster and the same in every run.
pub(crate) fn topic_id(serial: u64) -> [u8; 16] {
    let mut id = *b"mocktopc\0\0\0\0\0\0\0\0";
    id[8..].copy_from_slice(&serial.to_be_bytes());
    id
}

/// Name of a partition for error texts, as Kafka writes it.
pub(crate) fn partition_name(topic: &[u8], partition: i32) -> String {
    format!("{}-{partition}", String::from_utf8_lossy(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for good in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert!(is_valid_name(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "\u{e9}", &"x".repeat(250)] {
            assert!(!is_valid_name(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_partition_without_a_live_replica_has_no_leader_until_one_is_back() {
        let mut partition = Partition::new(vec![2, 0]);
        partition.elect(|id| id != 2);
        assert_eq!((partition.leader, partition.leader_epoch), (0, 1));
        partition.elect(|_| false);
        assert_eq!((partition.leader, partition.leader_epoch), (NO_LEADER, 2));
        partition.elect(|id| id == 2);
        assert_eq!((partition.leader, partition.leader_epoch), (2, 3));
    }
}
