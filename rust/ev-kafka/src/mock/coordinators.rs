//! What the coordinators know: transactions and the positions of groups; and who they are.

use kafka_mock::CoordinatorKey;
use perl_xs::{Av, Croak, Frame, Hv, Sv};

use super::server::Server;
use super::{croak, int32, text};

/// `_coordinator($kind, $key)`: its node id.
pub(super) fn coordinator(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let of = kind(frame)?;
    let key = frame.bytes(2)?.unwrap_or_default();
    let server = frame.object::<Server>()?;
    frame.ret_int(server.look(|cluster| cluster.coordinator(of, &key)).into());
    Ok(())
}

/// `_set_coordinator($kind, $key, $node_id)`
pub(super) fn set_coordinator(frame: &mut Frame<'_>) -> Result<(), Croak> {
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
pub(super) fn transactions(frame: &mut Frame<'_>) -> Result<(), Croak> {
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
        let mut partitions = Av::new(perl);
        for (topic, partition) in &transaction.partitions {
            partitions.push(perl, Sv::bytes(perl, &partition_key(topic, *partition)));
        }
        hash.store(perl, "partitions", partitions.into_ref(perl));
        let mut groups = Av::new(perl);
        for group in &transaction.groups {
            groups.push(perl, Sv::bytes(perl, group));
        }
        hash.store(perl, "groups", groups.into_ref(perl));
        frame.ret(hash.into_ref(perl));
    }
    Ok(())
}

/// `offsets($group)`: a hash from "topic:partition" to a hash.
pub(super) fn offsets(frame: &mut Frame<'_>) -> Result<(), Croak> {
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

fn partition_key(topic: &[u8], partition: i32) -> Vec<u8> {
    [topic, format!(":{partition}").as_bytes()].concat()
}
