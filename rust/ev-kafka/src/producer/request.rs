//! Produce requests: sealed batches on their way to a broker and back.

use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use kafka_producer::{BatchId, Outgoing};
use kafka_wire::messages::produce::ProduceResponse;
use kafka_wire::{ApiKey, ErrorCode, Message, Writer};
use perl_xs::{Arg, Av, Croak, Flow, Hv, Perl, Sv};

use super::delivery::End;
use super::Producer;
use crate::api::produce::request::{carries, request, Terms, ZSTD_FROM};
use crate::api::request::encode as encode_for;
use crate::conn::{Answer, Completion, ConnHandle, Failure as NoAnswer};

/// The longest time that is allowed for the way of an answer that comes at the last moment.
const MAX_ANSWERS_WAY: Duration = Duration::from_secs(1);

/// How a batch has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It cannot be sent at all.
    Unsent,
    /// No broker has said anything about it.
    Lost,
    /// A broker has refused it.
    Refused,
}

/// A failed batch, as Perl decides over it.
struct Failure {
    id: BatchId,
    fate: Fate,
    error_code: i16,
    message: String,
}

/// Puts what is ready for a broker into one request. Gives the number of batches sent.
pub fn send(
    perl: Perl,
    producer: &Rc<Producer>,
    conn: &Rc<ConnHandle>,
    node: i32,
) -> Result<usize, Croak> {
    if !conn.is_ready() || conn.has_ended() {
        return Ok(0);
    }
    // What is on a connection cannot go elsewhere any more, whatever becomes of its partition.
    if conn.is_full() {
        let weak = Rc::downgrade(producer);
        conn.when_room(Box::new(move |perl| match weak.upgrade() {
            Some(producer) => go_on(perl, &producer, node),
            None => Flow::Continue,
        }));
        return Ok(0);
    }
    let batches = producer.accumulator.borrow_mut().take_request(node);
    if batches.is_empty() {
        return Ok(0);
    }
    let acks = batches[0].acks.unwrap_or(producer.config.acks.get());
    let encoded = encode(producer, conn, &batches, acks);
    let (version, body) = match encoded {
        Ok(encoded) => encoded,
        Err(reason) => {
            let unsent = |batch: &Outgoing| Failure {
                id: batch.id,
                fate: Fate::Unsent,
                error_code: -1,
                message: reason.clone(),
            };
            let failures: Vec<_> = batches.iter().map(unsent).collect();
            answered(perl, producer, node, &failures, None).ok()?;
            return Ok(batches.len());
        }
    };
    let sent = batches.len();
    if acks == 0 {
        send_unacknowledged(perl, producer, conn, node, (version, body), batches)?;
        return Ok(sent);
    }
    let weak = Rc::downgrade(producer);
    let weak_conn = Rc::downgrade(conn);
    let ids: Vec<BatchId> = batches.iter().map(|batch| batch.id).collect();
    let requeue = ids.clone();
    let completion = Completion::Native(Box::new(move |perl, outcome| {
        complete(perl, &weak, &weak_conn, node, batches, outcome)
    }));
    let deadline = conn.deadline(answers_way(producer.config.timeout_ms));
    if conn
        .send(ApiKey::Produce, version, body, deadline, completion)
        .is_err()
    {
        let mut accumulator = producer.accumulator.borrow_mut();
        requeue.into_iter().for_each(|id| accumulator.requeue(id));
        return Ok(0);
    }
    Ok(sent)
}

/// There is room on the broker's connection again.
fn go_on(perl: Perl, producer: &Producer, node: i32) -> Flow {
    producer.tell_or_warn(perl, "_send_ready_to", &[Arg::Int(i64::from(node))])
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
    batches: Vec<Outgoing>,
) -> Result<(), Croak> {
    unanswered(perl, producer, node).ok()?;
    let ids: Vec<BatchId> = batches.iter().map(|batch| batch.id).collect();
    let weak = Rc::downgrade(producer);
    let told = Box::new(move |perl, outcome| written(perl, &weak, node, &batches, outcome));
    let patience = conn.deadline(Duration::ZERO);
    match conn.send_unanswered(ApiKey::Produce, version, body, patience, told) {
        Ok(()) => conn.tell(perl).ok(),
        Err(_) => {
            let mut accumulator = producer.accumulator.borrow_mut();
            ids.into_iter().for_each(|id| accumulator.requeue(id));
            Ok(())
        }
    }
}

/// A request with acks 0 has been written, or cannot be any more.
fn written(
    perl: Perl,
    producer: &Weak<Producer>,
    node: i32,
    batches: &[Outgoing],
    outcome: Result<(), NoAnswer>,
) -> Flow {
    let Some(producer) = producer.upgrade() else {
        return Flow::Continue;
    };
    if let Err(no_answer) = outcome {
        let (failures, error) = lost(&producer, batches, no_answer);
        return answered(perl, &producer, node, &failures, error.as_deref());
    }
    if unanswered(perl, &producer, node) == Flow::Exit {
        return Flow::Exit;
    }
    let ends = batches.iter().map(|b| (b.id, End::Unacknowledged));
    if producer.settle(perl, ends.collect()) == Flow::Exit {
        return Flow::Exit;
    }
    answered(perl, &producer, node, &[], None)
}

fn encode(
    producer: &Producer,
    conn: &ConnHandle,
    batches: &[Outgoing],
    acks: i16,
) -> Result<(i16, Writer), String> {
    let version = conn
        .version(ApiKey::Produce)
        .map_err(|error| error.to_string())?;
    let accumulator = producer.accumulator.borrow();
    if !carries(version, accumulator.codec()) {
        return Err(format!(
            "zstd needs Produce version {ZSTD_FROM}, the broker speaks {version}"
        ));
    }
    let terms = Terms {
        transactional_id: producer.config.transactional_id.clone(),
        acks,
        timeout_ms: producer.config.timeout_ms,
    };
    let batches = batches.iter().map(|batch| {
        let topic = accumulator.topic_name(batch.place.topic).clone();
        (topic, batch.place.partition as i32, batch.bytes.clone())
    });
    encode_for(conn, &request(terms, batches))
}

/// The request has ended, one way or the other.
fn complete(
    perl: Perl,
    producer: &Weak<Producer>,
    conn: &Weak<ConnHandle>,
    node: i32,
    batches: Vec<Outgoing>,
    outcome: Result<Answer, NoAnswer>,
) -> Flow {
    let Some(producer) = producer.upgrade() else {
        return Flow::Continue;
    };
    let (delivered, failures, transport_error) = match outcome {
        Ok(answer) => {
            let version = answer.version;
            let (response, _) = ProduceResponse::decode_partial(answer.body, version);
            if let Some(conn) = conn.upgrade() {
                conn.throttle(ApiKey::Produce, version, response.throttle_time_ms);
            }
            let (delivered, failures) = sort(&producer, &batches, &response);
            judge(&producer, &failures);
            (delivered, failures, None)
        }
        Err(no_answer) => {
            let (failures, error) = lost(&producer, &batches, no_answer);
            (Vec::new(), failures, error)
        }
    };
    if producer.settle(perl, delivered) == Flow::Exit {
        return Flow::Exit;
    }
    answered(perl, &producer, node, &failures, transport_error.as_deref())
}

/// No answer comes. Gives the batches that have failed, and the loss if it is one.
fn lost(
    producer: &Producer,
    batches: &[Outgoing],
    no_answer: NoAnswer,
) -> (Vec<Failure>, Option<String>) {
    let NoAnswer { reason, is_unsent } = no_answer;
    let lost = match is_unsent {
        true => take_back(producer, batches),
        false => {
            let ids: Vec<BatchId> = batches.iter().map(|batch| batch.id).collect();
            doubt(producer, ids.iter().copied());
            ids
        }
    };
    let failure = |id| Failure {
        id,
        fate: Fate::Lost,
        error_code: -1,
        message: reason.clone(),
    };
    let failures: Vec<_> = lost.into_iter().map(failure).collect();
    // The end of a connection that nothing was written to is no loss.
    let error = (!is_unsent || !failures.is_empty()).then_some(reason);
    (failures, error)
}

/// No broker can have read these: they wait for the next connection as if they had never left. Gives those of
/// transactions, which may be over by now.
fn take_back(producer: &Producer, batches: &[Outgoing]) -> Vec<BatchId> {
    let mut accumulator = producer.accumulator.borrow_mut();
    let is_transactional = |id| {
        let sent = accumulator.sent_batch(id);
        sent.is_some_and(|(_, batch)| batch.transaction.is_some())
    };
    let ids = batches.iter().map(|batch| batch.id);
    let (transactional, plain): (Vec<_>, Vec<_>) = ids.partition(|&id| is_transactional(id));
    plain.into_iter().for_each(|id| accumulator.requeue(id));
    transactional
}

fn doubt(producer: &Producer, batches: impl Iterator<Item = BatchId>) {
    let mut accumulator = producer.accumulator.borrow_mut();
    batches.for_each(|id| accumulator.doubt(id));
}

/// Whether batches that failed may lie in the log nevertheless.
fn judge(producer: &Producer, failures: &[Failure]) {
    let doubtful = failures.iter().filter(|f| !is_refusal(f.error_code));
    doubt(producer, doubtful.map(|failure| failure.id));
    let mut accumulator = producer.accumulator.borrow_mut();
    let out_of_order = ErrorCode::OutOfOrderSequenceNumber.code();
    failures
        .iter()
        .filter(|failure| failure.error_code == out_of_order)
        .for_each(|failure| accumulator.dispel_doubt(failure.id));
}

/// Whether a broker gives this code only for a batch that it has not appended. Others may come after it has: when
/// replication took too long, or when the leader changed before it was complete.
fn is_refusal(error_code: i16) -> bool {
    matches!(
        ErrorCode::from_code(error_code),
        Some(
            ErrorCode::CorruptMessage
                | ErrorCode::MessageTooLarge
                | ErrorCode::InvalidTopicException
                | ErrorCode::RecordListTooLarge
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::TopicAuthorizationFailed
                | ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::InvalidProducerEpoch
                | ErrorCode::UnknownProducerId
                | ErrorCode::InvalidRecord
        )
    )
}

/// Which batches the broker took and which it refused. A batch that the answer lacks counts as failed: whether the
/// broker has it is not known.
fn sort(
    producer: &Producer,
    batches: &[Outgoing],
    response: &ProduceResponse,
) -> (Vec<(BatchId, End)>, Vec<Failure>) {
    let mut answers = HashMap::new();
    for topic in &response.responses {
        for partition in &topic.partition_responses {
            answers.insert((&topic.name, partition.index), partition);
        }
    }
    let accumulator = producer.accumulator.borrow();
    let (mut delivered, mut failures) = (Vec::new(), Vec::new());
    for batch in batches {
        let topic: &Bytes = accumulator.topic_name(batch.place.topic);
        match answers.get(&(topic, batch.place.partition as i32)) {
            Some(answer) if answer.error_code == 0 || is_known_already(answer.error_code) => {
                let end = End::Acknowledged {
                    base_offset: match answer.error_code {
                        0 => answer.base_offset,
                        _ => -1,
                    },
                    throttle_ms: response.throttle_time_ms,
                };
                delivered.push((batch.id, end));
            }
            Some(answer) => failures.push(Failure {
                id: batch.id,
                fate: Fate::Refused,
                error_code: answer.error_code,
                message: answer
                    .error_message
                    .as_ref()
                    .map_or_else(String::new, |m| String::from_utf8_lossy(m).into_owned()),
            }),
            None => failures.push(Failure {
                id: batch.id,
                fate: Fate::Lost,
                error_code: -1,
                message: "the broker's answer lacks the partition".to_owned(),
            }),
        }
    }
    (delivered, failures)
}

/// The broker has the batch from an earlier try, but no longer knows where.
fn is_known_already(error_code: i16) -> bool {
    error_code == ErrorCode::DuplicateSequenceNumber.code()
}

/// Tells the listener that a request leaves which nobody will answer.
fn unanswered(perl: Perl, producer: &Producer, node: i32) -> Flow {
    producer.tell_or_warn(perl, "_produced_unanswered", &[Arg::Int(i64::from(node))])
}

/// Tells the listener that a request has ended.
fn answered(
    perl: Perl,
    producer: &Producer,
    node: i32,
    failures: &[Failure],
    transport_error: Option<&str>,
) -> Flow {
    // A delivery callback has forked, and has returned in the child as well.
    if producer.home.is_foreign() {
        return Flow::Continue;
    }
    let mut list = Av::with_capacity(perl, failures.len());
    for failure in failures {
        if let Some(row) = row(perl, producer, failure) {
            list.push(perl, row);
        }
    }
    let list = list.into_ref(perl);
    let error = transport_error.map_or(Arg::Undef, |text| Arg::Bytes(text.as_bytes()));
    let args = [Arg::Int(i64::from(node)), Arg::Sv(&list), error];
    producer.tell_or_warn(perl, "_produce_answered", &args)
}

/// What Perl decides by; nothing for a batch that was settled meanwhile.
fn row(perl: Perl, producer: &Producer, failure: &Failure) -> Option<Sv> {
    let accumulator = producer.accumulator.borrow();
    let (place, batch) = accumulator.sent_batch(failure.id)?;
    let mut row = Hv::new(perl);
    row.store_bytes(perl, "topic", accumulator.topic_name(place.topic));
    row.store_bytes(perl, "message", failure.message.as_bytes());
    let age = accumulator.age(batch).as_secs_f64();
    row.store(perl, "age", Sv::float(perl, age));
    for (key, value) in [
        ("id", failure.id as i64),
        ("partition", place.partition as i64),
        ("error_code", failure.error_code.into()),
        ("records", batch.count as i64),
        ("is_unsent", (failure.fate == Fate::Unsent).into()),
        ("is_lost", (failure.fate == Fate::Lost).into()),
        ("retries", batch.retries.into()),
        ("is_oldest", accumulator.is_oldest(failure.id).into()),
        ("follows_gap", accumulator.follows_gap(failure.id).into()),
        ("is_transactional", batch.transaction.is_some().into()),
        ("is_past", accumulator.is_past(batch).into()),
    ] {
        row.store_int(perl, key, value);
    }
    Some(row.into_ref(perl))
}
