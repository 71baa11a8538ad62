//! What the coordinators know: transactions, groups and their positions; and who they are.

use bytes::Bytes;
use kafka_mock::{CoordinatorKey, SharePartition, ShareSession, ShareState};
use perl_xs::{Av, Croak, Frame, Hv, Perl, Sv, XsubDef};

use super::server::Server;
use super::values::{croak, int32, text};

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Mock::_coordinator",
        body: coordinator,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_set_coordinator",
        body: set_coordinator,
    },
    XsubDef {
        name: "EV::Kafka::Mock::group",
        body: group,
    },
    XsubDef {
        name: "EV::Kafka::Mock::offsets",
        body: offsets,
    },
    XsubDef {
        name: "EV::Kafka::Mock::share_group",
        body: share_group,
    },
    XsubDef {
        name: "EV::Kafka::Mock::transactions",
        body: transactions,
    },
];

/// `_coordinator($kind, $key)`: its node id.
fn coordinator(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let of = kind(frame)?;
    let key = frame.bytes(2)?.unwrap_or_default();
    let server = frame.object::<Server>()?;
    frame.ret_int(server.look(|cluster| cluster.coordinator(of, &key)).into());
    Ok(())
}

/// `_set_coordinator($kind, $key, $node_id)`
fn set_coordinator(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let of = kind(frame)?;
    let key = frame.bytes(2)?.unwrap_or_default();
    let broker = int32(frame, 3)?;
    let server = frame.object::<Server>()?;
    server
        .change(|cluster| cluster.set_coordinator(of, &key, broker))
        .map_err(croak)
}

fn kind(frame: &Frame<'_>) -> Result<CoordinatorKey, Croak> {
    match text(frame, 1)?.as_str() {
        "group" => Ok(CoordinatorKey::Group),
        "transaction" => Ok(CoordinatorKey::Transaction),
        other => Err(format!("coordinator of '{other}': neither group nor transaction").into()),
    }
}

/// `transactions()`
fn transactions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let server = frame.object::<Server>()?;
    let all: Vec<_> = server.look(|cluster| {
        let all = cluster.transactions();
        all.map(|(id, transaction)| (id.clone(), transaction.clone()))
            .collect()
    });
    for (id, transaction) in all {
        let mut hash = Hv::new(perl);
        hash.store_bytes(perl, "transactional_id", &id);
        hash.store_bytes(perl, "state", transaction.state.name().as_bytes());
        hash.store_int(perl, "producer_id", transaction.producer_id);
        hash.store_int(perl, "producer_epoch", transaction.producer_epoch.into());
        hash.store(perl, "timeout_ms", Sv::uint(perl, transaction.timeout_ms));
        hash.store(perl, "partitions", keys(perl, &transaction.partitions));
        let mut groups = Av::new(perl);
        for group in &transaction.groups {
            groups.push(perl, Sv::bytes(perl, group));
        }
        hash.store(perl, "groups", groups.into_ref(perl));
        frame.ret(hash.into_ref(perl));
    }
    Ok(())
}

/// `group($group)`: a hash, or undef for one that was never heard of.
fn group(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let id = frame.bytes(1)?.unwrap_or_default();
    let server = frame.object::<Server>()?;
    let Some(group) = server.look(|cluster| cluster.group(&id)) else {
        frame.ret_undef();
        return Ok(());
    };
    let mut members = Av::new(perl);
    for member in &group.members {
        let mut hash = Hv::new(perl);
        hash.store_bytes(perl, "member_id", &member.member_id);
        let name = member.instance_id.as_deref();
        hash.store(perl, "group_instance_id", Sv::bytes_or_undef(perl, name));
        hash.store_int(perl, "generation", member.epoch.into());
        hash.store(perl, "assigned", keys(perl, &member.assigned));
        members.push(perl, hash.into_ref(perl));
    }
    let mut hash = Hv::new(perl);
    hash.store_bytes(perl, "protocol", group.protocol_type.as_bytes());
    hash.store_bytes(perl, "state", group.state.as_bytes());
    hash.store_int(perl, "generation", group.generation.into());
    hash.store_bytes(perl, "assignor", &group.assignor);
    hash.store_bytes(perl, "leader", &group.leader);
    hash.store(perl, "members", members.into_ref(perl));
    frame.ret(hash.into_ref(perl));
    Ok(())
}

/// `share_group($group)`: `{ partitions, sessions }`.
fn share_group(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let id = frame.bytes(1)?.unwrap_or_default();
    let server = frame.object::<Server>()?;
    let (shared, sessions) = server.look(|cluster| {
        let shared = cluster.shared(&id);
        let shared: Vec<_> = shared
            .map(|(topic, partition, shared)| (partition_key(topic, partition), shared.clone()))
            .collect();
        let sessions: Vec<ShareSession> = cluster.share_sessions(&id).cloned().collect();
        (shared, sessions)
    });
    let mut partitions = Hv::new(perl);
    for (key, partition) in &shared {
        partitions.store(perl, key, shared_partition(perl, partition));
    }
    let mut list = Av::new(perl);
    for session in &sessions {
        let mut hash = Hv::new(perl);
        hash.store_bytes(perl, "member_id", &session.member);
        hash.store_int(perl, "node_id", session.broker.into());
        hash.store_int(perl, "epoch", session.epoch.into());
        list.push(perl, hash.into_ref(perl));
    }
    let mut hash = Hv::new(perl);
    hash.store(perl, "partitions", partitions.into_ref(perl));
    hash.store(perl, "sessions", list.into_ref(perl));
    frame.ret(hash.into_ref(perl));
    Ok(())
}

fn shared_partition(perl: Perl, partition: &SharePartition) -> Sv {
    let mut records = Hv::new(perl);
    for (offset, record) in &partition.records {
        let state = match record.state {
            ShareState::Available => "Available",
            ShareState::Acquired => "Acquired",
            ShareState::Acknowledged => "Acknowledged",
            ShareState::Archived => "Archived",
        };
        let mut hash = Hv::new(perl);
        hash.store_bytes(perl, "state", state.as_bytes());
        hash.store_int(perl, "delivery_count", record.delivery_count.into());
        records.store(perl, offset.to_string(), hash.into_ref(perl));
    }
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "start_offset", partition.start_offset);
    hash.store_int(perl, "end_offset", partition.end_offset);
    hash.store(perl, "records", records.into_ref(perl));
    hash.into_ref(perl)
}

/// `offsets($group)`: a hash from "topic:partition" to a hash.
fn offsets(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let group = frame.bytes(1)?.unwrap_or_default();
    let server = frame.object::<Server>()?;
    let all: Vec<_> = server.look(|cluster| {
        let all = cluster.committed_offsets(&group);
        all.map(|(of, stored)| (of.clone(), stored.clone()))
            .collect()
    });
    let mut hash = Hv::new(perl);
    for ((topic, partition), stored) in all {
        let mut entry = Hv::new(perl);
        entry.store_int(perl, "offset", stored.offset);
        entry.store_int(perl, "leader_epoch", stored.leader_epoch.into());
        entry.store_bytes(perl, "metadata", &stored.metadata);
        let key = partition_key(&topic, partition);
        hash.store(perl, &key, entry.into_ref(perl));
    }
    frame.ret(hash.into_ref(perl));
    Ok(())
}

/// The names of partitions, `["topic:0", …]`.
fn keys<'a>(perl: Perl, partitions: impl IntoIterator<Item = &'a (Bytes, i32)>) -> Sv {
    let mut list = Av::new(perl);
    for (topic, partition) in partitions {
        list.push(perl, Sv::bytes(perl, &partition_key(topic, *partition)));
    }
    list.into_ref(perl)
}

fn partition_key(topic: &[u8], partition: i32) -> Vec<u8> {
    [topic, format!(":{partition}").as_bytes()].concat()
}
