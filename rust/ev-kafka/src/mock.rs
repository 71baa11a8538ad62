//! EV::Kafka::Mock's native half: a `kafka_mock::Cluster` on loopback ports.

mod coordinators;
mod link;
mod rules;
mod server;

use std::rc::Rc;

use bytes::Bytes;
use kafka_mock::{
    Cluster, ClusterConfig, ClusterError, IsolationLevel, StoredRecord, MAX_PARTITIONS,
};
use kafka_wire::records::{BatchBuilder, SealOptions};
use kafka_wire::ApiKey;
use perl_xs::{ArrayRef, Av, Croak, Frame, HashRef, Hv, Native, Perl, Sv, XsubDef};

use crate::ev::{check_thread, Loop};
use server::Server;

/// Most brokers of a cluster: far more than a test can want, few enough to have descriptors for.
const MAX_BROKERS: i64 = 100;

static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Mock::_new",
        body: new,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_append",
        body: append,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_fault",
        body: rules::fault,
    },
    XsubDef {
        name: "EV::Kafka::Mock::api_versions",
        body: rules::api_versions,
    },
    XsubDef {
        name: "EV::Kafka::Mock::append_bytes",
        body: append_bytes,
    },
    XsubDef {
        name: "EV::Kafka::Mock::brokers",
        body: brokers,
    },
    XsubDef {
        name: "EV::Kafka::Mock::clear_faults",
        body: rules::clear_faults,
    },
    XsubDef {
        name: "EV::Kafka::Mock::close",
        body: close,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_coordinator",
        body: coordinators::coordinator,
    },
    XsubDef {
        name: "EV::Kafka::Mock::connections",
        body: connections,
    },
    XsubDef {
        name: "EV::Kafka::Mock::create_topic",
        body: create_topic,
    },
    XsubDef {
        name: "EV::Kafka::Mock::delete_records",
        body: delete_records,
    },
    XsubDef {
        name: "EV::Kafka::Mock::lose_records",
        body: lose_records,
    },
    XsubDef {
        name: "EV::Kafka::Mock::delete_topic",
        body: delete_topic,
    },
    XsubDef {
        name: "EV::Kafka::Mock::group",
        body: coordinators::group,
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
        name: "EV::Kafka::Mock::partitions",
        body: partitions,
    },
    XsubDef {
        name: "EV::Kafka::Mock::offsets",
        body: coordinators::offsets,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_records",
        body: records,
    },
    XsubDef {
        name: "EV::Kafka::Mock::request_count",
        body: request_count,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_set_coordinator",
        body: coordinators::set_coordinator,
    },
    XsubDef {
        name: "EV::Kafka::Mock::set_leader",
        body: set_leader,
    },
    XsubDef {
        name: "EV::Kafka::Mock::start_broker",
        body: start_broker,
    },
    XsubDef {
        name: "EV::Kafka::Mock::stop_broker",
        body: stop_broker,
    },
    XsubDef {
        name: "EV::Kafka::Mock::topics",
        body: topics,
    },
    XsubDef {
        name: "EV::Kafka::Mock::transactions",
        body: coordinators::transactions,
    },
];

/// The XSUBs of this module.
pub fn xsubs() -> &'static [XsubDef] {
    XSUBS
}

impl Native for Server {
    const NAME: &'static str = "EV::Kafka::Mock";

    fn refusal(&self) -> Option<String> {
        self.is_foreign().then(|| {
            "EV::Kafka::Mock: the cluster belongs to the process that made it, not to a child of fork".into()
        })
    }
}

/// `_new($class, \%options)`, with every option there.
fn new(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_thread()?;
    let perl = frame.perl();
    let class = frame.value(0)?.ok_or("new: no class")?;
    let options = hash(frame, 1)?;
    let number = |name: &str, max: i64| match options.get_i64(perl, name)?.unwrap_or(0) {
        value if (1..=max).contains(&value) => Ok(value),
        _ => Err(Croak::from(format!("new: {name} must be from 1 to {max}"))),
    };
    let config = ClusterConfig {
        brokers: number("brokers", MAX_BROKERS)? as i32,
        default_partitions: number("partitions", MAX_PARTITIONS.into())? as i32,
        default_replication_factor: number("replication_factor", MAX_BROKERS)? as i16,
        auto_create_topics: match options.get(perl, "auto_create")? {
            Some(value) => value.to_bool(perl)?,
            None => false,
        },
        max_message_bytes: number("max_message_bytes", i32::MAX.into())? as usize,
        min_session_timeout_ms: number("min_session_timeout_ms", i32::MAX.into())? as i32,
        consumer_session_timeout_ms: number("consumer_session_timeout_ms", i32::MAX.into())? as u64,
        consumer_heartbeat_interval_ms: number("consumer_heartbeat_interval_ms", i32::MAX.into())?
            as i32,
        ..Default::default()
    };
    let on = match options.get(perl, "loop")? {
        Some(value) => Loop::from_sv(&value),
        None => Loop::default_loop(),
    };
    let server =
        Server::start(config, on).map_err(|error| format!("new: cannot listen: {error}"))?;
    let object = Hv::new(perl).into_ref(perl);
    object.bless(perl, &class)?;
    perl_xs::attach(perl, &object, server)?;
    frame.ret(object);
    Ok(())
}

/// `brokers()`: a forked child may want to know as well where to connect.
fn brokers(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let server = frame.object_as_it_is::<Server>()?;
    let ids: Vec<i32> = server.look(|cluster| cluster.broker_ids().collect());
    for id in ids {
        let Some(address) = server.address(id) else {
            continue;
        };
        let mut broker = Hv::new(perl);
        broker.store_int(perl, "node_id", id.into());
        broker.store_bytes(perl, "host", address.ip().to_string().as_bytes());
        broker.store_int(perl, "port", address.port().into());
        broker.store_int(perl, "up", server.look(|cluster| cluster.is_up(id)).into());
        frame.ret(broker.into_ref(perl));
    }
    Ok(())
}

/// `close()`
fn close(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.object_as_it_is::<Server>()?.close();
    Ok(())
}

/// `stop_broker($node_id)`
fn stop_broker(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let broker = int32(frame, 1)?;
    frame.object::<Server>()?.stop_broker(broker).map_err(croak)
}

/// `start_broker($node_id)`
fn start_broker(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let broker = int32(frame, 1)?;
    let started = frame.object::<Server>()?.start_broker(broker);
    started.map_err(|error| format!("{}: {error}", Server::NAME).into())
}

/// `create_topic($name, [$partitions])`
fn create_topic(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let name = text(frame, 1)?;
    let partitions = optional32(frame, 2)?;
    let server = frame.object::<Server>()?;
    let created = server.change(|cluster| {
        let partitions = partitions.unwrap_or(cluster.default_partitions());
        cluster.create_topic(&name, partitions)
    });
    created.map_err(croak)
}

/// `delete_topic($name)`: whether it was there.
fn delete_topic(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let name = text(frame, 1)?;
    let existed = frame
        .object::<Server>()?
        .change(|cluster| cluster.delete_topic(&name));
    frame.ret_int(existed.into());
    Ok(())
}

/// `topics()`
fn topics(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let server = frame.object::<Server>()?;
    let names: Vec<Bytes> = server.look(|cluster| cluster.topic_names().cloned().collect());
    for name in names {
        frame.ret_bytes(&name);
    }
    Ok(())
}

/// `partitions($topic)`: undef for an unknown one.
fn partitions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let topic = frame.bytes(1)?.unwrap_or_default();
    match frame
        .object::<Server>()?
        .look(|cluster| cluster.partition_count(&topic))
    {
        Some(count) => frame.ret_int(count.into()),
        None => frame.ret_undef(),
    }
    Ok(())
}

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

/// `request_count($api, [$node_id])`
fn request_count(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let api = api_named(&text(frame, 1)?)?;
    let broker = optional32(frame, 2)?;
    let count = frame.object::<Server>()?.look(|cluster| match broker {
        Some(broker) => cluster.request_count_at(broker, api),
        None => cluster.request_count(api),
    });
    frame.ret(Sv::uint(frame.perl(), count));
    Ok(())
}

/// `connections([$node_id])`: how many.
fn connections(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let broker = optional32(frame, 1)?;
    let count: usize = frame.object::<Server>()?.look(|cluster| match broker {
        Some(broker) => cluster.connections_of(broker).len(),
        None => cluster
            .broker_ids()
            .map(|broker| cluster.connections_of(broker).len())
            .sum(),
    });
    frame.ret(Sv::uint(frame.perl(), count as u64));
    Ok(())
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

fn croak(error: ClusterError) -> Croak {
    format!("{}: {error}", Server::NAME).into()
}

fn hash(frame: &Frame<'_>, index: usize) -> Result<HashRef, Croak> {
    frame
        .value(index)?
        .as_ref()
        .and_then(HashRef::new)
        .ok_or_else(|| "expected hashref".into())
}

fn elements(perl: Perl, value: Option<&Sv>) -> Result<Vec<Sv>, Croak> {
    value
        .and_then(ArrayRef::new)
        .ok_or("expected arrayref")?
        .to_vec(perl)
}

fn text(frame: &Frame<'_>, index: usize) -> Result<String, Croak> {
    Ok(String::from_utf8_lossy(&frame.bytes(index)?.unwrap_or_default()).into_owned())
}

/// A number that need not be given.
fn optional32(frame: &Frame<'_>, index: usize) -> Result<Option<i32>, Croak> {
    // What does not fit names nothing that exists.
    Ok(frame
        .int(index)?
        .map(|value| i32::try_from(value).unwrap_or(i32::MIN)))
}

fn int32(frame: &Frame<'_>, index: usize) -> Result<i32, Croak> {
    Ok(optional32(frame, index)?.unwrap_or(0))
}

fn api_named(name: &str) -> Result<ApiKey, Croak> {
    let found = ApiKey::ALL.iter().copied().find(|api| api.name() == name);
    found.ok_or_else(|| format!("{}: unknown API '{name}'", Server::NAME).into())
}
