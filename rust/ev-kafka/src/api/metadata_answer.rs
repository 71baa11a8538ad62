//! Metadata as the client reads it: topic by topic, and only those that have changed.
//!
//! An answer for thousands of partitions takes longer to be made into Perl's hashes than a turn of the event loop should
//! last. So the client gets an object instead, and takes from it what fits into some milliseconds.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::messages::metadata::{MetadataResponse, MetadataResponseTopic};
use kafka_wire::ApiKey;
use perl_xs::{Croak, Frame, Native, Perl, Sv, XsubDef};

use super::metadata;
use super::request::send_on;
use super::result::{decode, finish, object, Read};
use crate::arguments::{Arguments, NO_LEADER_EPOCH};
use crate::conn::{Answer, Built, Completion, ConnHandle, Kept};

/// The first Metadata version whose leader epochs are to be believed: brokers of before may tell one that is over for as
/// long as a reassignment goes on (KAFKA-9212).
const EPOCHS_COUNT_FROM: i16 = 9;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::_metadata",
        body: metadata,
    },
    XsubDef {
        name: "EV::Kafka::MetadataAnswer::head",
        body: head,
    },
    XsubDef {
        name: "EV::Kafka::MetadataAnswer::topics",
        body: topics,
    },
    XsubDef {
        name: "EV::Kafka::KnownTopics::new",
        body: new_known,
    },
    XsubDef {
        name: "EV::Kafka::KnownTopics::forget",
        body: forget,
    },
];

/// Objects of these classes stay in the thread that has made them.
pub fn register_clone_skip(perl: Perl) {
    perl_xs::register_clone_skip(perl, MetadataAnswer::NAME);
    perl_xs::register_clone_skip(perl, KnownTopics::NAME);
}

/// The state of an `EV::Kafka::MetadataAnswer`.
struct MetadataAnswer {
    /// The answer without its topics.
    head: MetadataResponse,
    /// It ended early.
    truncated: bool,
    /// Those that nobody has taken yet.
    topics: RefCell<VecDeque<MetadataResponseTopic>>,
}

impl Native for MetadataAnswer {
    const NAME: &'static str = "EV::Kafka::MetadataAnswer";
}

/// The state of an `EV::Kafka::KnownTopics`: each topic as the last answer described it.
#[derive(Default)]
struct KnownTopics {
    topics: RefCell<HashMap<Bytes, MetadataResponseTopic>>,
}

impl Native for KnownTopics {
    const NAME: &'static str = "EV::Kafka::KnownTopics";
}

impl KnownTopics {
    /// Notes what is said of the topic; whether that is what was known of it.
    fn note(&self, topic: &MetadataResponseTopic) -> bool {
        let Some(name) = &topic.name else {
            return false;
        };
        let mut known = self.topics.borrow_mut();
        let is_known = known.get(name) == Some(topic);
        if !is_known {
            known.insert(name.clone(), topic.clone());
        }
        is_known
    }
}

/// `$conn->_metadata(\@topics | undef, $cb, \%opts)`: like `metadata`, but `$cb` gets an `EV::Kafka::MetadataAnswer`.
fn metadata(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let (request, callback) = metadata::request(frame, "_metadata")?;
    let callback = callback.ok_or("_metadata: expected a callback")?;
    let handle = frame.object::<ConnHandle>()?;
    let completion = Completion::Callback(callback, result, ApiKey::Metadata);
    send_on(frame.perl(), &handle, &request, Duration::ZERO, completion)
}

fn result(perl: Perl, answer: &Answer, _: &Kept) -> Built {
    let (mut head, Read { version, truncated }) = decode::<MetadataResponse>(answer);
    if version < EPOCHS_COUNT_FROM {
        let topics = head.topics.iter_mut();
        topics
            .flat_map(|topic| &mut topic.partitions)
            .for_each(|partition| partition.leader_epoch = NO_LEADER_EPOCH);
    }
    let throttle_time_ms = head.throttle_time_ms;
    let topics = RefCell::new(std::mem::take(&mut head.topics).into());
    let state = MetadataAnswer {
        head,
        truncated,
        topics,
    };
    Built {
        result: object(perl, state).map_err(|croak| croak.into_text(perl)),
        throttle_time_ms,
    }
}

/// `$answer->head`: what the result of `metadata` has beside its topics.
fn head(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let answer = frame.object::<MetadataAnswer>()?;
    let hash = metadata::head(perl, &answer.head);
    let throttle_time_ms = answer.head.throttle_time_ms;
    frame.ret(finish(perl, hash, throttle_time_ms, answer.truncated));
    Ok(())
}

/// `my @topics = $answer->topics($budget_ms, $known, $compares)`: the next topics, as in the result of `metadata`, for
/// about so many milliseconds; with a true `$compares` just the name of one that is as `$known` has it. `$known` notes
/// them all. An empty list when there are no more.
fn topics(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let budget = Duration::from_millis(frame.int(1)?.unwrap_or(0).max(0) as u64);
    let compares = frame.int(3)?.unwrap_or(0) != 0;
    let known = frame
        .object_at::<KnownTopics>(2)
        .map_err(|_| "topics: expected known topics")?;
    let answer = frame.object::<MetadataAnswer>()?;
    let began = Instant::now();
    let mut taken = Vec::new();
    let mut topics = answer.topics.borrow_mut();
    while let Some(topic) = topics.pop_front() {
        let is_known = known.note(&topic) && compares;
        taken.push(match topic.name.as_deref().filter(|_| is_known) {
            Some(name) => Sv::bytes(perl, name),
            None => metadata::topic(perl, &topic).into_ref(perl),
        });
        if began.elapsed() >= budget {
            break;
        }
    }
    drop(topics);
    frame.ret_list(taken);
    Ok(())
}

/// `EV::Kafka::KnownTopics->new`
fn new_known(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let known = object(frame.perl(), KnownTopics::default())?;
    frame.ret(known);
    Ok(())
}

/// `$known->forget($name)`: whatever is said of the topic next is news.
fn forget(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let name = Arguments::new(frame, "forget").string(1, "topic")?;
    let known = frame.object::<KnownTopics>()?;
    known.topics.borrow_mut().remove(&name);
    Ok(())
}
