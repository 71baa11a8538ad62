//! A cluster's life, its brokers, and what they have seen.

use kafka_mock::{ClusterConfig, MAX_PARTITIONS};
use perl_xs::{Av, Croak, Frame, HashRef, Hv, Native, Sv, XsubDef};

use super::security::{sasl, tls};
use super::server::Server;
use super::values::{api_named, croak, hash, int32, optional32, text};
use crate::ev::{check_thread, Loop};

/// Most brokers of a cluster: far more than a test can want, few enough to have descriptors for.
const MAX_BROKERS: i64 = 100;

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Mock::_new",
        body: new,
    },
    XsubDef {
        name: "EV::Kafka::Mock::brokers",
        body: brokers,
    },
    XsubDef {
        name: "EV::Kafka::Mock::close",
        body: close,
    },
    XsubDef {
        name: "EV::Kafka::Mock::connections",
        body: connections,
    },
    XsubDef {
        name: "EV::Kafka::Mock::request_count",
        body: request_count,
    },
    XsubDef {
        name: "EV::Kafka::Mock::fetch_sessions",
        body: fetch_sessions,
    },
    XsubDef {
        name: "EV::Kafka::Mock::forget_fetch_sessions",
        body: forget_fetch_sessions,
    },
    XsubDef {
        name: "EV::Kafka::Mock::start_broker",
        body: start_broker,
    },
    XsubDef {
        name: "EV::Kafka::Mock::stop_broker",
        body: stop_broker,
    },
];

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
        max_fetch_sessions: options
            .get_i64(perl, "max_fetch_sessions")?
            .and_then(|most| usize::try_from(most).ok())
            .ok_or("new: max_fetch_sessions must not be below 0")?,
        cluster_id: options
            .get_bytes(perl, "cluster_id")?
            .unwrap_or_default()
            .into(),
        share_begins_late: options
            .get_bytes(perl, "share_auto_offset_reset")?
            .is_none_or(|reset| reset == b"latest"),
        share_lock_ms: number("share_record_lock_duration_ms", i32::MAX.into())? as u64,
        share_delivery_limit: number("share_delivery_count_limit", i16::MAX.into())? as i16,
        sasl: match options.get(perl, "sasl")?.as_ref().and_then(HashRef::new) {
            Some(given) => Some(sasl(perl, &given)?),
            None => None,
        },
    };
    let on = match options.get(perl, "loop")? {
        Some(value) => Loop::from_sv(&value),
        None => Loop::default_loop(),
    };
    let port = options.get_i64(perl, "port")?.unwrap_or(0);
    let port = u16::try_from(port).map_err(|_| format!("new: port cannot be {port}"))?;
    let server = Server::start(config, port, tls(perl, &options)?, on)
        .map_err(|error| format!("new: cannot listen: {error}"))?;
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

/// `fetch_sessions([$node_id])`: a list of hashes.
fn fetch_sessions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let broker = optional32(frame, 1)?.unwrap_or(0);
    let server = frame.object::<Server>()?;
    let sessions: Vec<_> = server.look(|cluster| cluster.fetch_sessions(broker).cloned().collect());
    for session in sessions {
        let mut partitions = Av::new(perl);
        for (topic, partition) in session.partitions() {
            let mut name = topic.to_vec();
            name.extend_from_slice(format!(":{partition}").as_bytes());
            partitions.push(perl, Sv::bytes(perl, &name));
        }
        let mut hash = Hv::new(perl);
        hash.store_int(perl, "session_id", session.id.into());
        hash.store_int(perl, "epoch", session.epoch.into());
        hash.store_int(perl, "named", session.named as i64);
        hash.store_int(perl, "forgotten", session.forgotten as i64);
        hash.store_int(perl, "given", session.given as i64);
        hash.store(perl, "partitions", partitions.into_ref(perl));
        frame.ret(hash.into_ref(perl));
    }
    Ok(())
}

/// `forget_fetch_sessions([$node_id])`
fn forget_fetch_sessions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let broker = optional32(frame, 1)?.unwrap_or(0);
    let server = frame.object::<Server>()?;
    server.change(|cluster| cluster.forget_fetch_sessions(broker));
    Ok(())
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
