//! Sending one request on behalf of a method.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_conn::{SendError, VersionError};
use kafka_wire::{ApiKey, Request, TopicId, Writer, NO_TOPIC_ID};
use perl_xs::{Croak, Frame, Perl, Sv};

use super::result::{build, throttle_time_ms, Shaped};
use crate::conn::{call_back, Answer, Built, Completion, ConnHandle, Told};

/// Kafka's word for a client in the field where a replica names itself.
pub const CLIENT_REPLICA_ID: i32 = -1;

/// Croaks unless requests can be sent. Comes before a method looks at its arguments.
pub fn check_connected(frame: &Frame<'_>) -> Result<(), Croak> {
    match frame.object::<ConnHandle>()?.is_ready() {
        true => Ok(()),
        false => Err("not connected".into()),
    }
}

/// Milliseconds of a request's own timeout as time to wait for its answer.
pub fn server_wait(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0) as u64)
}

/// The version for an API, before its request is put together. Where there is none in common the
/// request is not sent, whatever it says; so the lowest will do to find that out.
pub fn version_or_lowest(handle: &ConnHandle, api: ApiKey) -> i16 {
    handle.version(api).unwrap_or(*api.versions().start())
}

/// The version of a request: one topic whose id is not known has all of them named.
///
/// # Errors
/// The broker speaks no such version.
pub fn version_by_ids(
    handle: &ConnHandle,
    api: ApiKey,
    has_ids: bool,
) -> Result<i16, VersionError> {
    let most = if has_ids {
        i16::MAX
    } else {
        api.names_topics_up_to()
    };
    handle.version_up_to(api, most)
}

/// A topic as requests name it, by one or the other.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TopicName {
    pub id: TopicId,
    pub topic: Bytes,
}

/// The names of topics by their ids, for answers that have only these.
pub struct NamesOf(Vec<TopicName>);

impl NamesOf {
    /// Of what was asked for.
    pub fn topics<'a>(topics: impl IntoIterator<Item = (&'a TopicId, &'a Bytes)>) -> NamesOf {
        let topics = topics.into_iter().map(|(&id, topic)| TopicName {
            id,
            topic: topic.clone(),
        });
        NamesOf(topics.collect())
    }

    /// Fills a name in, if the answer has the id in its place.
    pub fn fill_in(&self, name: &mut Bytes, id: &TopicId) {
        if name.is_empty() && *id != NO_TOPIC_ID {
            let mut named = self.0.iter().filter(|named| named.id == *id);
            *name = named
                .next()
                .map(|named| named.topic.clone())
                .unwrap_or_default();
        }
    }
}

/// What belongs to partitions, gathered by topic, in the order in which the topics are first named.
pub fn by_topic<K, T>(parts: impl IntoIterator<Item = (K, T)>) -> Vec<(K, Vec<T>)>
where
    K: Clone + Eq + Hash,
{
    let mut topics: Vec<(K, Vec<T>)> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut last = 0;
    for (topic, part) in parts {
        // Many partitions of a topic follow each other.
        if topics.get(last).is_none_or(|(name, _)| *name != topic) {
            last = *places.entry(topic).or_insert_with_key(|topic| {
                topics.push((topic.clone(), Vec::new()));
                topics.len() - 1
            });
        }
        topics[last].1.push(part);
    }
    topics
}

/// The completion of a callback that may be missing.
pub fn completion<R: Request>(callback: Option<Sv>) -> Completion
where
    R::Response: Shaped,
{
    match callback {
        Some(callback) => Completion::Callback(callback, build::<R::Response>, R::API),
        None => Completion::Silent(throttle_time_ms::<R::Response>),
    }
}

/// The completion of a callback that gets what is built of the answer and of what was asked.
pub fn completion_with(
    handle: &Rc<ConnHandle>,
    api: ApiKey,
    callback: Sv,
    build: impl FnOnce(Perl, &Answer) -> Built + 'static,
) -> Completion {
    let weak = Rc::downgrade(handle);
    Completion::Native(Box::new(move |perl, outcome| {
        let told = match weak.upgrade() {
            Some(handle) => handle.told_of(api, outcome, |answer| build(perl, answer)),
            None => outcome
                .map_err(|failure| failure.reason)
                .and_then(|answer| build(perl, &answer).result)
                .map_err(Told::Text),
        };
        call_back(perl, &callback, told)
    }))
}

/// Sends the request of a method whose callback gets the hash of the answer. The connection is
/// looked up last: reading the arguments may have run code that destroyed it.
///
/// `server_wait` is how long the broker may take before it answers by the request's own terms;
/// it is added to the connection's request timeout.
///
/// # Errors
/// `not connected`: reading the arguments may have run code that disconnected.
pub fn send<R: Request>(
    frame: &Frame<'_>,
    request: &R,
    server_wait: Duration,
    callback: Option<Sv>,
) -> Result<(), Croak>
where
    R::Response: Shaped,
{
    let handle = frame.object::<ConnHandle>()?;
    let completion = completion::<R>(callback);
    send_on(frame.perl(), &handle, request, server_wait, completion)
}

/// The same on a connection, with whatever completion. What the broker's version cannot express,
/// and a broker without a version in common, are the completion's error.
///
/// # Errors
/// As for [`send`].
pub fn send_on<R: Request>(
    perl: Perl,
    handle: &ConnHandle,
    request: &R,
    server_wait: Duration,
    completion: Completion,
) -> Result<(), Croak> {
    let encoded = encode(handle, request);
    send_encoded(perl, handle, R::API, encoded, server_wait, completion)
}

/// A request at the version to speak, or why it cannot be said to this broker.
pub type Encoded = Result<(i16, Writer), String>;

/// The same for what was encoded before.
///
/// # Errors
/// As for [`send`].
pub fn send_encoded(
    perl: Perl,
    handle: &ConnHandle,
    api: ApiKey,
    encoded: Encoded,
    server_wait: Duration,
    completion: Completion,
) -> Result<(), Croak> {
    let (version, body) = match encoded {
        Ok(encoded) => encoded,
        Err(reason) => return handle.fail(perl, completion, reason).ok(),
    };
    let deadline = handle.deadline(server_wait);
    match handle.send(api, version, body, deadline, completion) {
        Ok(()) => Ok(()),
        Err((SendError::NotConnected, _)) => Err("not connected".into()),
        Err((error, completion)) => handle.fail(perl, completion, error.to_string()).ok(),
    }
}

/// Encodes a request for the connection's broker.
pub fn encode<R: Request>(handle: &ConnHandle, request: &R) -> Encoded {
    let version = handle.version(R::API).map_err(|error| error.to_string())?;
    encoded(request, version)
}

/// The same of a request that is made for its version, unless the broker speaks none that will do.
pub fn encode_at<R: Request>(
    version: Result<i16, VersionError>,
    request: impl FnOnce(i16) -> R,
) -> Encoded {
    let version = version.map_err(|error| error.to_string())?;
    encoded(&request(version), version)
}

/// The same at a version that is not above `most`.
pub fn encode_up_to<R: Request>(handle: &ConnHandle, most: i16, request: &R) -> Encoded {
    let version = handle.version_up_to(R::API, most);
    encoded(request, version.map_err(|error| error.to_string())?)
}

fn encoded<R: Request>(request: &R, version: i16) -> Encoded {
    let mut body = Writer::new();
    request
        .encode(&mut body, version)
        .map_err(|error| error.to_string())?;
    Ok((version, body))
}
