//! Topics.

use bytes::Bytes;
use perl_xs::{Croak, Frame, XsubDef};

use super::server::Server;
use super::values::{croak, optional32, text};

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Mock::create_topic",
        body: create_topic,
    },
    XsubDef {
        name: "EV::Kafka::Mock::delete_topic",
        body: delete_topic,
    },
    XsubDef {
        name: "EV::Kafka::Mock::partitions",
        body: partitions,
    },
    XsubDef {
        name: "EV::Kafka::Mock::topics",
        body: topics,
    },
];

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
