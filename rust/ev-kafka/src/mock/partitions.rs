//! A partition's leader, its offsets and its records.

use std::rc::Rc;

use bytes::Bytes;
use kafka_mock::{Cluster, ClusterError, IsolationLevel, StoredRecord};
use kafka_wire::records::{BatchBuilder, SealOptions};
use perl_xs::{Av, Croak, Frame, Hv, Perl, Sv, XsubDef};

use super::server::Server;
use super::values::{croak, elements, int32, text};

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Mock::_append",
        body: append,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_records",
        body: records,
    },
    XsubDef {
        name: "EV::Kafka::Mock::append_bytes",
        body: append_bytes,
    },
    XsubDef {
        name: "EV::Kafka::Mock::delete_records",
        body: delete_records,
    },
    XsubDef {
        name: "EV::Kafka::Mock::high_watermark",
        body: high_watermark,
    },
    XsubDef {
        name: "EV::Kafka::Mock::last_stable_offset",
        body: last_stable_offset,
    },
    XsubDef {
        name: "EV::Kafka::Mock::leader",
        body: leader,
    },
    XsubDef {
        name: "EV::Kafka::Mock::log_start_offset",
        body: log_start_offset,
    },
    XsubDef {
        name: "EV::Kafka::Mock::lose_records",
        body: lose_records,
    },
    XsubDef {
        name: "EV::Kafka::Mock::set_leader",
        body: set_leader,
    },
];

/// `leader($topic, $partition)`
fn leader(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let leader = look_at_partition(frame, Cluster::leader)?;
    frame.ret_int(leader.into());
    Ok(())
}

/// `high_watermark($topic, $partition)`
fn high_watermark(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let offset = look_at_partition(frame, Cluster::high_watermark)?;
    frame.ret_int(offset);
    Ok(())
}

/// `log_start_offset($topic, $partition)`
fn log_start_offset(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let offset = look_at_partition(frame, Cluster::log_start_offset)?;
    frame.ret_int(offset);
    Ok(())
}

/// `last_stable_offset($topic, $partition)`
fn last_stable_offset(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let offset = look_at_partition(frame, Cluster::last_stable_offset)?;
    frame.ret_int(offset);
    Ok(())
}

/// `_records($topic, $partition, $isolation_level)`
fn records(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let isolation = match text(frame, 3)?.as_str() {
        "read_uncommitted" => IsolationLevel::ReadUncommitted,
        "read_committed" => IsolationLevel::ReadCommitted,
        other => return Err(format!("records: unknown isolation_level '{other}'").into()),
    };
    let records = look_at_partition(frame, |cluster, topic, partition| {
        cluster.records_for(topic, partition, isolation)
    })?;
    for record in records {
        frame.ret(record_hash(perl, &record));
    }
    Ok(())
}

/// `set_leader($topic, $partition, $node_id)`
fn set_leader(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let broker = int32(frame, 3)?;
    change_partition(frame, |cluster, topic, partition| {
        cluster.set_leader(topic, partition, broker)
    })
}

/// `delete_records($topic, $partition, $before_offset)`
fn delete_records(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let before = frame.int(3)?.unwrap_or(0);
    change_partition(frame, |cluster, topic, partition| {
        cluster.delete_records(topic, partition, before)
    })
}

/// `lose_records($topic, $partition, $from_offset)`
fn lose_records(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let from = frame.int(3)?.unwrap_or(0);
    change_partition(frame, |cluster, topic, partition| {
        cluster.lose_records(topic, partition, from)
    })
}

/// `append_bytes($topic, $partition, $bytes, [$offsets])`: the first offset.
fn append_bytes(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let bytes = Bytes::from(frame.bytes(3)?.unwrap_or_default());
    let offsets = u32::try_from(frame.int(4)?.unwrap_or(1)).unwrap_or(1);
    let offset = change_partition(frame, |cluster, topic, partition| {
        cluster.append_unchecked(topic, partition, bytes, offsets)
    })?;
    frame.ret_int(offset);
    Ok(())
}

/// `_append($topic, $partition, [[$timestamp, $key, $value, [$name, $value, …]], …])`: the first
/// offset.
fn append(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let mut batch = BatchBuilder::new();
    for record in elements(perl, frame.value(3)?.as_ref())? {
        append_record(perl, &mut batch, &elements(perl, Some(&record))?)?;
    }
    if batch.is_empty() {
        return Err("append: no records".into());
    }
    let batch = batch.seal(SealOptions::default());
    let offset = change_partition(frame, |cluster, topic, partition| {
        cluster.append(topic, partition, batch)
    })?;
    frame.ret_int(offset);
    Ok(())
}

fn append_record(perl: Perl, batch: &mut BatchBuilder, fields: &[Sv]) -> Result<(), Croak> {
    let [timestamp, key, value, headers] = fields else {
        return Err("append: a record has four fields".into());
    };
    let timestamp = timestamp.to_i64(perl)?.unwrap_or(0);
    let (key, value) = (key.to_bytes(perl)?, value.to_bytes(perl)?);
    let mut flat = Vec::new();
    for field in elements(perl, Some(headers))? {
        flat.push(field.to_bytes(perl)?);
    }
    let headers = flat.chunks(2).map(|pair| {
        let name = pair[0].as_deref().unwrap_or_default();
        (name, pair.get(1).and_then(Option::as_deref))
    });
    batch
        .append(timestamp, key.as_deref(), value.as_deref(), headers)
        .map(drop)
        .map_err(|error| format!("append: {error}").into())
}

/// What the cluster says about the partition named by the arguments 1 and 2.
fn look_at_partition<T>(
    frame: &Frame<'_>,
    at: impl FnOnce(&Cluster, &[u8], i32) -> Result<T, ClusterError>,
) -> Result<T, Croak> {
    let (topic, partition) = (frame.bytes(1)?.unwrap_or_default(), int32(frame, 2)?);
    let server: Rc<Server> = frame.object()?;
    server
        .look(|cluster| at(cluster, &topic, partition))
        .map_err(croak)
}

/// Changes something about the partition named by the arguments 1 and 2.
fn change_partition<T>(
    frame: &Frame<'_>,
    how: impl FnOnce(&mut Cluster, &[u8], i32) -> Result<T, ClusterError>,
) -> Result<T, Croak> {
    let (topic, partition) = (frame.bytes(1)?.unwrap_or_default(), int32(frame, 2)?);
    let server: Rc<Server> = frame.object()?;
    server
        .change(|cluster| how(cluster, &topic, partition))
        .map_err(croak)
}

fn record_hash(perl: Perl, record: &StoredRecord) -> Sv {
    let mut headers = Av::with_capacity(perl, record.headers.len());
    for (name, value) in &record.headers {
        let mut pair = Av::with_capacity(perl, 2);
        pair.push(perl, Sv::bytes(perl, name));
        pair.push(perl, Sv::bytes_or_undef(perl, value.as_deref()));
        headers.push(perl, pair.into_ref(perl));
    }
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "offset", record.offset);
    hash.store_int(perl, "timestamp", record.timestamp);
    hash.store(perl, "key", Sv::bytes_or_undef(perl, record.key.as_deref()));
    hash.store(
        perl,
        "value",
        Sv::bytes_or_undef(perl, record.value.as_deref()),
    );
    hash.store(perl, "headers", headers.into_ref(perl));
    hash.into_ref(perl)
}
