//! Produce requests: sealed batches on their way to a broker and back.

use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use kafka_producer::verdict::Cause;
use kafka_producer::{BatchId, Outgoing, Place};
use kafka_wire::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse,
};
use kafka_wire::{ApiKey, Message, TopicId, Writer, NO_TOPIC_ID};
use perl_xs::{Arg, Flow, Perl};

use super::brokers::Load;
use super::delivery::End;
use super::failure::Ending;
use super::Producer;
use crate::api::produce::request::{self, carries, takes_part, Terms, IMPLICIT_FROM, ZSTD_FROM};
use crate::api::request::{encode_at, Encoded, TopicName};
use crate::conn::{Answer, Completion, ConnHandle, Failure as NoAnswer};

/// The longest time that is allowed for the way of an answer that comes at the last moment.
const MAX_ANSWERS_WAY: Duration = Duration::from_secs(1);

/// What is said of a batch that the broker's answer does not mention.
const LACKS: &str = "the broker's answer lacks the partition";

/// What is known of a batch in flight here. Its bytes are the request's and the accumulator's, which uses their memory
/// again once nobody else holds them.
struct Sent {
    id: BatchId,
    place: Place,
    bytes: usize,
    /// What its topic's id was when it left.
    topic_id: TopicId,
}

fn load_of(batches: &[Sent]) -> Load {
    Load {
        batches: batches.len(),
        bytes: batches.iter().map(|batch| batch.bytes).sum(),
    }
}

/// Puts what is ready for a broker into one request. Gives the number of batches sent, or that the program has ended.
pub fn send(
    perl: Perl,
    producer: &Rc<Producer>,
    conn: &Rc<ConnHandle>,
    node: i32,
) -> Result<usize, Flow> {
    if !conn.is_ready() {
        return Ok(0);
    }
    // What is on a connection cannot go elsewhere any more, whatever becomes of its partition.
    if conn.is_full() {
        let weak = Rc::downgrade(producer);
        conn.when_room(Box::new(move |perl| match weak.upgrade() {
            Some(producer) => producer.send_to(perl, node),
            None => Flow::Continue,
        }));
        return Ok(0);
    }
    let outgoing = producer.accumulator.borrow_mut().take_request(node);
    if outgoing.is_empty() {
        return Ok(0);
    }
    if conn.has_ended() {
        producer.requeue(outgoing.iter().map(|batch| batch.id));
        return Ok(0);
    }
    let batches = sent(producer, &outgoing);
    let acks = outgoing[0].acks.unwrap_or(producer.config.acks.get());
    let encoded = encode(producer, conn, outgoing, &batches, acks);
    let (version, body) = match encoded {
        Ok(encoded) => encoded,
        Err(reason) => {
            let endings = all_failed(&batches, Cause::Unsendable, &reason);
            return done(ended(perl, producer, node, endings), batches.len());
        }
    };
    let load = load_of(&batches);
    producer.brokers.loaded(node, load);
    if acks == 0 {
        return send_unacknowledged(perl, producer, conn, node, (version, body), batches);
    }
    let sent = batches.len();
    let weak = Rc::downgrade(producer);
    let weak_conn = Rc::downgrade(conn);
    let ids: Vec<BatchId> = batches.iter().map(|batch| batch.id).collect();
    let requeue = ids.clone();
    let completion = Completion::Native(Box::new(move |perl, outcome| {
        complete(perl, &weak, &weak_conn, node, batches, outcome)
    }));
    let beyond = Duration::from_millis(producer.config.beyond_ms);
    let deadline = conn.deadline(beyond + answers_way(producer.config.timeout_ms));
    if conn
        .send(ApiKey::Produce, version, body, deadline, completion)
        .is_err()
    {
        producer.brokers.unloaded(node, load);
        producer.requeue(requeue.into_iter());
        return Ok(0);
    }
    Ok(sent)
}

fn sent(producer: &Producer, outgoing: &[Outgoing]) -> Vec<Sent> {
    let accumulator = producer.accumulator.borrow();
    let batches = outgoing.iter().map(|batch| Sent {
        id: batch.id,
        place: batch.place.clone(),
        bytes: batch.bytes.len(),
        topic_id: accumulator.topic_id(batch.place.topic),
    });
    batches.collect()
}

fn done(flow: Flow, batches: usize) -> Result<usize, Flow> {
    match flow {
        Flow::Continue => Ok(batches),
        Flow::Exit => Err(flow),
    }
}

/// What is added to the request timeout, within which a broker gives up waiting for the replicas: its answer that says
/// so is better than the end of the connection.
fn answers_way(timeout_ms: i32) -> Duration {
    let timeout = Duration::from_millis(timeout_ms.max(0) as u64);
    (timeout / 10).min(MAX_ANSWERS_WAY)
}

/// With acks 0 a batch has left when it is written: until then it takes room, and can be sent elsewhere.
fn send_unacknowledged(
    perl: Perl,
    producer: &Rc<Producer>,
    conn: &Rc<ConnHandle>,
    node: i32,
    (version, body): (i16, Writer),
    batches: Vec<Sent>,
) -> Result<usize, Flow> {
    producer.brokers.leaves_unanswered(node, conn);
    let sent = batches.len();
    let load = load_of(&batches);
    let ids: Vec<BatchId> = batches.iter().map(|batch| batch.id).collect();
    let weak = Rc::downgrade(producer);
    let weak_conn = Rc::downgrade(conn);
    let told =
        Box::new(move |perl, outcome| written(perl, &weak, &weak_conn, node, &batches, outcome));
    let patience = conn.deadline(Duration::ZERO);
    match conn.send_unanswered(ApiKey::Produce, version, body, patience, told) {
        Ok(()) => done(conn.tell(perl), sent),
        Err(_) => {
            producer.brokers.unloaded(node, load);
            producer.requeue(ids.into_iter());
            Ok(0)
        }
    }
}

/// A request with acks 0 has been written, or cannot be any more.
fn written(
    perl: Perl,
    producer: &Weak<Producer>,
    conn: &Weak<ConnHandle>,
    node: i32,
    batches: &[Sent],
    outcome: Result<(), NoAnswer>,
) -> Flow {
    let Some(producer) = producer.upgrade() else {
        return Flow::Continue;
    };
    producer.brokers.unloaded(node, load_of(batches));
    if let Err(no_answer) = outcome {
        return ended(perl, &producer, node, lost(batches, no_answer));
    }
    if let Some(conn) = conn.upgrade() {
        producer.brokers.leaves_unanswered(node, &conn);
    }
    let taken = |batch: &Sent| (batch.id, Ending::Taken(End::Unacknowledged));
    ended(perl, &producer, node, batches.iter().map(taken).collect())
}

fn encode(
    producer: &Producer,
    conn: &ConnHandle,
    outgoing: Vec<Outgoing>,
    batches: &[Sent],
    acks: i16,
) -> Encoded {
    let has_ids = batches.iter().all(|batch| batch.topic_id != NO_TOPIC_ID);
    let config = &producer.config;
    let part_of = config.transactional_id.as_ref();
    let part_of = part_of.map(|_| config.transactions.get());
    let version = request::version(conn, part_of, has_ids);
    let accumulator = producer.accumulator.borrow();
    let lacks_codec = |&version: &i16| !carries(version, accumulator.codec());
    if let Some(version) = version.as_ref().ok().copied().filter(lacks_codec) {
        return Err(format!(
            "zstd needs Produce version {ZSTD_FROM}, the broker speaks {version}"
        ));
    }
    let lacks_part = |&version: &i16| !takes_part(version, part_of);
    if let Some(version) = version.as_ref().ok().copied().filter(lacks_part) {
        return Err(format!(
            "a transaction of version 2 needs Produce version {IMPLICIT_FROM}, the broker speaks {version}"
        ));
    }
    let terms = Terms {
        transactional_id: producer.config.transactional_id.clone(),
        acks,
        timeout_ms: producer.config.timeout_ms,
    };
    let outgoing = outgoing.into_iter().zip(batches).map(|(batch, sent)| {
        let name = TopicName {
            id: sent.topic_id,
            topic: accumulator.topic_name(batch.place.topic).clone(),
        };
        (name, batch.place.partition as i32, batch.bytes)
    });
    encode_at(version, |_| request::request(terms, outgoing))
}

/// The request has ended, one way or the other.
fn complete(
    perl: Perl,
    producer: &Weak<Producer>,
    conn: &Weak<ConnHandle>,
    node: i32,
    batches: Vec<Sent>,
    outcome: Result<Answer, NoAnswer>,
) -> Flow {
    let Some(producer) = producer.upgrade() else {
        return Flow::Continue;
    };
    producer.brokers.unloaded(node, load_of(&batches));
    let endings = match outcome {
        Ok(answer) => {
            let version = answer.version;
            let (response, _) = ProduceResponse::decode_partial(answer.body, version);
            if let Some(conn) = conn.upgrade() {
                conn.throttle(ApiKey::Produce, version, response.throttle_time_ms);
            }
            sort(&producer, &batches, version, &response)
        }
        Err(no_answer) => lost(&batches, no_answer),
    };
    ended(perl, &producer, node, endings)
}

/// No answer comes.
fn lost(batches: &[Sent], no_answer: NoAnswer) -> Vec<(BatchId, Ending)> {
    let cause = match no_answer.is_unsent {
        true => Cause::NeverLeft,
        false => Cause::Unanswered,
    };
    all_failed(batches, cause, &no_answer.reason)
}

fn all_failed(batches: &[Sent], cause: Cause, message: &str) -> Vec<(BatchId, Ending)> {
    let failed = |batch: &Sent| {
        (
            batch.id,
            Ending::Failed(cause, message.to_owned(), Vec::new()),
        )
    };
    batches.iter().map(failed).collect()
}

/// Which batches the broker took and which it refused. One that the answer lacks counts as failed.
fn sort(
    producer: &Producer,
    batches: &[Sent],
    version: i16,
    response: &ProduceResponse,
) -> Vec<(BatchId, Ending)> {
    let accumulator = producer.accumulator.borrow();
    let throttle_ms = response.throttle_time_ms;
    let mut answers = Answers::new(response);
    let by_id = request::names_by_id(version);
    let mut ending = |batch: &Sent| {
        let topic: TopicKey<'_> = match by_id {
            true => (&[], batch.topic_id),
            false => (accumulator.topic_name(batch.place.topic), NO_TOPIC_ID),
        };
        match answers.next(topic, batch.place.partition as i32) {
            Some(answer) => ending(answer, throttle_ms),
            None => Ending::Failed(Cause::Unmentioned, LACKS.to_owned(), Vec::new()),
        }
    };
    let mut endings: Vec<_> = batches.iter().map(|b| (b.id, ending(b))).collect();
    // Callbacks are called in this order.
    endings.sort_by_key(|(_, ending)| matches!(ending, Ending::Failed(..)));
    endings
}

/// A topic as an answer names it: by one of the two, the other one being empty.
type TopicKey<'a> = (&'a [u8], TopicId);

/// The answers for partitions. Brokers give them in the order of the request, which is that of the batches unless topics
/// alternate: they are looked for only where that is not so.
struct Answers<'a, I> {
    in_turn: I,
    response: &'a ProduceResponse,
    by_partition: Option<HashMap<(TopicKey<'a>, i32), &'a PartitionProduceResponse>>,
}

fn each_answer(
    response: &ProduceResponse,
) -> impl Iterator<Item = (TopicKey<'_>, &PartitionProduceResponse)> {
    response.responses.iter().flat_map(|topic| {
        let partitions = topic.partition_responses.iter();
        partitions.map(|partition| ((&topic.name[..], topic.topic_id), partition))
    })
}

impl<'a> Answers<'a, ()> {
    fn new(
        response: &'a ProduceResponse,
    ) -> Answers<'a, impl Iterator<Item = (TopicKey<'a>, &'a PartitionProduceResponse)>> {
        Answers {
            in_turn: each_answer(response),
            response,
            by_partition: None,
        }
    }
}

impl<'a, I: Iterator<Item = (TopicKey<'a>, &'a PartitionProduceResponse)>> Answers<'a, I> {
    /// The answer for the next batch.
    fn next(&mut self, topic: TopicKey<'_>, index: i32) -> Option<&'a PartitionProduceResponse> {
        match self.in_turn.next() {
            Some((name, answer)) if name == topic && answer.index == index => Some(answer),
            _ => self.find(topic, index),
        }
    }

    fn find(&mut self, topic: TopicKey<'_>, index: i32) -> Option<&'a PartitionProduceResponse> {
        let response = self.response;
        let by_partition = self.by_partition.get_or_insert_with(|| {
            let answers = each_answer(response);
            answers
                .map(|(name, answer)| ((name, answer.index), answer))
                .collect()
        });
        by_partition.get(&(topic, index)).copied()
    }
}

fn ending(answer: &PartitionProduceResponse, throttle_ms: i32) -> Ending {
    let base_offset = match answer.error_code {
        0 => answer.base_offset,
        code if Cause::is_known_already(code) => -1,
        code => {
            let message = answer.error_message.as_deref().unwrap_or_default();
            let message = String::from_utf8_lossy(message).into_owned();
            return Ending::Failed(Cause::Refused(code), message, refused_records(answer));
        }
    };
    Ending::Taken(End::Acknowledged {
        base_offset,
        throttle_ms,
    })
}

/// Which records made the broker refuse the batch, in order, and why (KIP-467).
fn refused_records(answer: &PartitionProduceResponse) -> Vec<(usize, String)> {
    let record = |error: &BatchIndexAndErrorMessage| {
        let message = error.batch_index_error_message.as_deref();
        let message = String::from_utf8_lossy(message.unwrap_or_default()).into_owned();
        Some((usize::try_from(error.batch_index).ok()?, message))
    };
    let mut records: Vec<_> = answer.record_errors.iter().filter_map(record).collect();
    records.sort_by_key(|(index, _)| *index);
    records.dedup_by_key(|(index, _)| *index);
    records
}

/// Settles a request's batches, calls back, and lets others follow.
fn ended(perl: Perl, producer: &Rc<Producer>, node: i32, endings: Vec<(BatchId, Ending)>) -> Flow {
    producer.brokers.ended(node);
    let news = producer.settle(node, endings);
    if let Some(news) = news.into_perl(perl, producer) {
        // Callbacks are called, and others follow, when Perl code has done what is to be done about these.
        let args = [Arg::Int(i64::from(node)), Arg::Sv(&news)];
        return producer.tell_or_warn(perl, "answered", &args);
    }
    if producer.brokers.is_sending(node) {
        // With acks 0 a request may end in the middle of whatever has sent it.
        return producer.tell_or_warn(perl, "settled", &[]);
    }
    if producer.deliver(perl) == Flow::Exit {
        return Flow::Exit;
    }
    // A delivery callback has forked, and has returned in the child as well.
    if producer.home.is_foreign() {
        return Flow::Continue;
    }
    producer.go_on(perl)
}
