//! Groups as their cluster's owner sees them.

use super::{Assigned, Classic, Consumer, Group, Members, Share, ShareMember, TopicTable};
use bytes::Bytes;
use kafka_wire::messages::consumer_protocol::ConsumerProtocolAssignment;
use kafka_wire::{Message, Reader};

/// A group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// `classic`, `consumer` or `share`.
    pub protocol_type: &'static str,
    /// Kafka's name of the state.
    pub state: &'static str,
    /// The generation, or the group epoch (KIP-848).
    pub generation: i32,
    /// The protocol that the members have agreed on, or the coordinator's assignor.
    pub assignor: Bytes,
    /// The member id of the leader; empty for none.
    pub leader: Bytes,
    /// In the order in which they joined.
    pub members: Vec<MemberView>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Its id.
    pub member_id: Bytes,
    /// The static member's name.
    pub instance_id: Option<Bytes>,
    /// The generation it is in, or its member epoch (KIP-848).
    pub epoch: i32,
    /// Topics and partitions that it was given.
    pub assigned: Vec<(Bytes, i32)>,
}

impl GroupView {
    pub(crate) fn of(group: &Group, topics: &TopicTable) -> Self {
        match &group.members {
            Members::Classic(members) => of_classic(members),
            Members::Consumer(members) => of_consumer(members, topics),
            Members::Share(members) => of_share(members, topics),
        }
    }
}

fn of_consumer(group: &Consumer, topics: &TopicTable) -> GroupView {
    let member = |member: &super::consumer::Member| MemberView {
        member_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        epoch: member.epoch,
        assigned: named(&member.assigned, topics),
    };
    let is_empty = group.members.is_empty();
    GroupView {
        protocol_type: "consumer",
        state: match (is_empty, group.is_stable()) {
            (true, _) => "Empty",
            (false, true) => "Stable",
            (false, false) => "Reconciling",
        },
        generation: group.epoch,
        assignor: group.assignor.name().into(),
        leader: Bytes::new(),
        members: group.members.iter().map(member).collect(),
    }
}

fn of_share(group: &Share, topics: &TopicTable) -> GroupView {
    let member = |member: &ShareMember| MemberView {
        member_id: member.id.clone(),
        instance_id: None,
        epoch: member.epoch,
        assigned: named(&member.assigned, topics),
    };
    GroupView {
        protocol_type: "share",
        state: match group.members.is_empty() {
            true => "Empty",
            false => "Stable",
        },
        generation: group.epoch,
        assignor: Bytes::from_static(b"simple"),
        leader: Bytes::new(),
        members: group.members.iter().map(member).collect(),
    }
}

/// Partitions by the names of their topics.
fn named(assigned: &Assigned, topics: &TopicTable) -> Vec<(Bytes, i32)> {
    let name_of = |id: [u8; 16]| {
        let mut all = topics.iter();
        let found = all.find(|(_, topic)| topic.0 == id);
        // Deleted, but not given up yet.
        found.map_or_else(|| Bytes::from_static(b"?"), |(name, _)| name.clone())
    };
    let all = assigned.iter();
    all.map(|&(topic, partition)| (name_of(topic), partition))
        .collect()
}

fn of_classic(group: &Classic) -> GroupView {
    let member = |member: &super::classic::Member| MemberView {
        member_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        epoch: group.generation,
        assigned: assigned(&member.assignment).unwrap_or_default(),
    };
    GroupView {
        protocol_type: "classic",
        state: group.state.name(),
        generation: group.generation,
        assignor: group.protocol.clone().unwrap_or_default(),
        leader: group.leader.clone().unwrap_or_default(),
        members: group.members.iter().map(member).collect(),
    }
}

/// The partitions in what a leader assigned: bytes that only consumers understand, behind their version.
fn assigned(bytes: &Bytes) -> Option<Vec<(Bytes, i32)>> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.get_i16().ok()?;
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version).ok()?;
    let mut all = Vec::new();
    for topic in assignment.assigned_partitions {
        let of_topic = topic.partitions.iter();
        all.extend(of_topic.map(|&partition| (topic.topic.clone(), partition)));
    }
    Some(all)
}
