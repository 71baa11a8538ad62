//! The bytes that members of a consumer group tell each other, as functions for Perl: subscriptions,
//! assignments and the user data of Java's sticky assignors. Lists of partitions are
//! `[{ topic => $name, partitions => [$number, …] }]`, as in Kafka's own definitions.

use bytes::Bytes;
use kafka_wire::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, CooperativeStickyUserData,
    StickyUserData, TopicPartitions, NEWEST_VERSION,
};
use kafka_wire::{DecodeError, Message, Reader, Writer};
use perl_xs::{Av, Croak, Frame, Hv, Perl, Sv, XsubDef};

use crate::api::shapes::{list, topic_partitions};
use crate::arguments::{string, Arguments};

/// The version of the assignments that are written: all have the same fields, and every client knows this one.
const ASSIGNMENT_VERSION: i16 = 0;
/// The first subscription version with the member's generation.
const SUBSCRIPTION_WITH_GENERATION: i16 = 2;
/// What the declaration of [`StickyUserData`] calls its two layouts.
const STICKY_WITH_GENERATION: i16 = 1;
const STICKY_WITHOUT_GENERATION: i16 = 0;
/// Kafka's word for a generation that is not known.
const NO_GENERATION: i32 = -1;

static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::_encode_subscription",
        body: encode_subscription,
    },
    XsubDef {
        name: "EV::Kafka::_decode_subscription",
        body: decode_subscription,
    },
    XsubDef {
        name: "EV::Kafka::_encode_assignment",
        body: encode_assignment,
    },
    XsubDef {
        name: "EV::Kafka::_decode_assignment",
        body: decode_assignment,
    },
    XsubDef {
        name: "EV::Kafka::_encode_sticky_data",
        body: encode_sticky_data,
    },
    XsubDef {
        name: "EV::Kafka::_decode_sticky_data",
        body: decode_sticky_data,
    },
    XsubDef {
        name: "EV::Kafka::_encode_cooperative_data",
        body: encode_cooperative_data,
    },
    XsubDef {
        name: "EV::Kafka::_decode_cooperative_data",
        body: decode_cooperative_data,
    },
];

/// Makes the functions known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, XSUBS);
}

/// `_encode_subscription(\@topics, \@owned, $generation, $user_data, $rack)`
fn encode_subscription(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_encode_subscription");
    let subscription = ConsumerProtocolSubscription {
        topics: args.names(0, "topic")?,
        owned_partitions: partitions(&args, 1)?,
        generation_id: args.int(2, "generation", NO_GENERATION)?,
        user_data: args.nullable_string(3, "user_data")?,
        rack_id: args.nullable_string(4, "rack")?,
    };
    let bytes = versioned(&subscription, NEWEST_VERSION)?;
    frame.ret_bytes(&bytes);
    Ok(())
}

/// `_decode_subscription($bytes)`: `{ topics, owned, generation?, user_data?, rack? }`, or undef when the bytes
/// are no subscription. The generation is absent in versions that do not tell it.
fn decode_subscription(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let decoded = decode_versioned::<ConsumerProtocolSubscription>(string(frame, 0)?);
    let Ok((version, subscription)) = decoded else {
        frame.ret_undef();
        return Ok(());
    };
    let mut topics = Av::new(perl);
    for topic in &subscription.topics {
        topics.push(perl, Sv::bytes(perl, topic));
    }
    let mut hash = Hv::new(perl);
    hash.store(perl, "topics", topics.into_ref(perl));
    hash.store(
        perl,
        "owned",
        topic_list(perl, &subscription.owned_partitions),
    );
    if version >= SUBSCRIPTION_WITH_GENERATION {
        hash.store_int(perl, "generation", subscription.generation_id.into());
    }
    for (key, value) in [
        ("user_data", &subscription.user_data),
        ("rack", &subscription.rack_id),
    ] {
        if let Some(value) = value {
            hash.store_bytes(perl, key, value);
        }
    }
    frame.ret(hash.into_ref(perl));
    Ok(())
}

/// `_encode_assignment(\@partitions)`
fn encode_assignment(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_encode_assignment");
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: partitions(&args, 0)?,
        user_data: None,
    };
    let bytes = versioned(&assignment, ASSIGNMENT_VERSION)?;
    frame.ret_bytes(&bytes);
    Ok(())
}

/// `_decode_assignment($bytes)`: the list of partitions, or undef when the bytes are no assignment.
fn decode_assignment(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    match decode_versioned::<ConsumerProtocolAssignment>(string(frame, 0)?) {
        Ok((_, assignment)) => frame.ret(topic_list(perl, &assignment.assigned_partitions)),
        Err(_) => frame.ret_undef(),
    }
    Ok(())
}

/// `_encode_sticky_data(\@previous, $generation)`
fn encode_sticky_data(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_encode_sticky_data");
    let data = StickyUserData {
        previous_assignment: partitions(&args, 0)?,
        generation: args.int(1, "generation", NO_GENERATION)?,
    };
    let mut writer = Writer::new();
    encode(&data, &mut writer, STICKY_WITH_GENERATION)?;
    frame.ret_bytes(&writer.into_bytes());
    Ok(())
}

/// `_decode_sticky_data($bytes)`: `{ owned, generation }`, or undef when the bytes are something else.
fn decode_sticky_data(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let bytes = string(frame, 0)?;
    let decoded = [STICKY_WITH_GENERATION, STICKY_WITHOUT_GENERATION]
        .iter()
        .find_map(|&layout| StickyUserData::decode(&mut Reader::new(bytes.clone()), layout).ok());
    let Some(data) = decoded else {
        frame.ret_undef();
        return Ok(());
    };
    let mut hash = Hv::new(perl);
    hash.store(perl, "owned", topic_list(perl, &data.previous_assignment));
    hash.store_int(perl, "generation", data.generation.into());
    frame.ret(hash.into_ref(perl));
    Ok(())
}

/// `_encode_cooperative_data($generation)`
fn encode_cooperative_data(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_encode_cooperative_data");
    let generation = args.int(0, "generation", NO_GENERATION)?;
    let mut writer = Writer::new();
    encode(&CooperativeStickyUserData { generation }, &mut writer, 0)?;
    frame.ret_bytes(&writer.into_bytes());
    Ok(())
}

/// `_decode_cooperative_data($bytes)`: the generation, or undef when the bytes are something else.
fn decode_cooperative_data(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let mut reader = Reader::new(string(frame, 0)?);
    match CooperativeStickyUserData::decode(&mut reader, 0) {
        Ok(data) if reader.is_empty() => frame.ret_int(data.generation.into()),
        _ => frame.ret_undef(),
    }
    Ok(())
}

/// The version and what follows it.
fn versioned(message: &impl Message, version: i16) -> Result<Bytes, Croak> {
    let mut writer = Writer::new();
    writer.put_i16(version);
    encode(message, &mut writer, version)?;
    Ok(writer.into_bytes())
}

fn encode(message: &impl Message, writer: &mut Writer, version: i16) -> Result<(), Croak> {
    let encoded = message.encode(writer, version);
    encoded.map_err(|error| error.to_string().into())
}

/// A version newer than ours is read as ours: what it adds comes after what we know.
fn decode_versioned<M: Message>(bytes: Bytes) -> Result<(i16, M), DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.get_i16()?.clamp(0, NEWEST_VERSION);
    Ok((version, M::decode(&mut reader, version)?))
}

fn partitions(args: &Arguments<'_, '_>, index: usize) -> Result<Vec<TopicPartitions>, Croak> {
    args.topics(index)?
        .into_iter()
        .map(|topic| {
            Ok(TopicPartitions {
                partitions: args.partitions(&topic.partitions)?,
                topic: topic.topic,
            })
        })
        .collect()
}

fn topic_list(perl: Perl, topics: &[TopicPartitions]) -> Sv {
    list(perl, topics, |topic| {
        topic_partitions(perl, &topic.topic, &topic.partitions)
    })
}
