//! What answers to ShareFetch and ShareAcknowledge mean.

use bytes::Bytes;
use kafka_wire::messages::share_acknowledge::ShareAcknowledgeResponse;
use kafka_wire::messages::share_fetch::{PartitionData, ShareFetchResponse};
use kafka_wire::records::{RecordBatches, RecordCursor, Records};
use kafka_wire::ErrorCode;

use super::session::{Id, Outcome, Part, Place, Session};
use crate::api::fetch::batches::{Budget, Unpacking, VerifiedBatches};

/// The most records that an answer may say to have acquired together: more than brokers lock of a partition.
const MAX_ACQUIRED: i64 = 1 << 20;

/// A partition of which there is something to say.
pub struct Problem {
    pub place: Place,
    pub code: i16,
    pub message: Option<Bytes>,
    /// Who leads it, and in which epoch; -1 when that was not said.
    pub leader: (i32, i32),
}

/// What an answer has brought.
#[derive(Default)]
pub struct Brought {
    pub code: i16,
    pub message: Option<Bytes>,
    pub problems: Vec<Problem>,
    pub outcomes: Vec<Outcome>,
    /// Where leaders listen.
    pub endpoints: Vec<(i32, Bytes, i32)>,
}

/// Takes over an answer to ShareFetch.
pub fn fetched(
    session: &mut Session,
    response: ShareFetchResponse,
    unpacking: &Unpacking,
    now_ms: i64,
) -> Brought {
    let mut brought = Brought {
        code: response.error_code,
        message: response.error_message,
        outcomes: session.answered(response.error_code),
        ..Default::default()
    };
    if brought.code != 0 {
        return brought;
    }
    let until_ms = now_ms.saturating_add(response.acquisition_lock_timeout_ms.into());
    let mut budget = Budget::new(unpacking);
    for topic in response.responses {
        for data in topic.partitions {
            let Some(place) = session.place(&topic.topic_id, data.partition_index) else {
                continue;
            };
            let acknowledged = (
                data.acknowledge_error_code,
                data.acknowledge_error_message.clone(),
            );
            session.settled(&place, acknowledged, until_ms, &mut brought.outcomes);
            let leader = (
                data.current_leader.leader_id,
                data.current_leader.leader_epoch,
            );
            let refused =
                (data.error_code != 0).then_some((data.error_code, data.error_message.clone()));
            let acquired = take(session, topic.topic_id, data, until_ms, &mut budget);
            if let Some((code, message)) = refused.or(acquired.err().map(|code| (code, None))) {
                brought.problems.push(Problem {
                    place,
                    code,
                    message,
                    leader,
                });
            }
        }
    }
    session.unanswered(&mut brought.outcomes);
    let endpoints = response.node_endpoints.into_iter();
    brought.endpoints = endpoints.map(|at| (at.node_id, at.host, at.port)).collect();
    brought
}

/// Records what was acquired, and queues the records. An error when some cannot be read, which are given back.
fn take(
    session: &mut Session,
    id: Id,
    data: PartitionData,
    until_ms: i64,
    budget: &mut Budget<'_>,
) -> Result<(), i16> {
    if data.acquired_records.is_empty() {
        return Ok(());
    }
    let corrupt = Err(ErrorCode::CorruptMessage.code());
    let Some((place, ledger)) = session.ledger_of(id, data.partition_index) else {
        return Ok(());
    };
    for run in &data.acquired_records {
        let len = run
            .last_offset
            .saturating_sub(run.first_offset)
            .saturating_add(1);
        if !(1..=MAX_ACQUIRED).contains(&len) || run.first_offset < 0 {
            return corrupt;
        }
        ledger.acquire(run.first_offset, len as usize, run.delivery_count, until_ms);
    }
    let mut ready: Vec<Records> = Vec::new();
    let mut batches =
        VerifiedBatches::new(RecordBatches::new(data.records.unwrap_or_default()), budget);
    let (mut read_to, mut is_broken) = (i64::MIN, false);
    for verified in &mut batches {
        let Ok((batch, records)) = verified else {
            is_broken = true;
            break;
        };
        read_to = batch.next_offset();
        // A transaction's markers are the coordinator's, not the application's.
        if batch.is_control() {
            continue;
        }
        let found = records
            .iter()
            .filter(|record| ledger.found(record.offset))
            .count();
        if found > 0 {
            ready.push(records);
        }
    }
    // Behind the last batch that was read nobody knows.
    ledger.give_back_from(read_to);
    session.queue.push_back(Part {
        place,
        batches: ready.into_iter(),
        current: None,
        cursor: RecordCursor::default(),
    });
    if is_broken {
        return corrupt;
    }
    Ok(())
}

/// Takes over an answer to ShareAcknowledge.
pub fn acknowledged(
    session: &mut Session,
    response: ShareAcknowledgeResponse,
    now_ms: i64,
) -> Brought {
    let mut brought = Brought {
        code: response.error_code,
        message: response.error_message,
        outcomes: session.answered(response.error_code),
        ..Default::default()
    };
    if brought.code != 0 {
        return brought;
    }
    let until_ms = now_ms.saturating_add(response.acquisition_lock_timeout_ms.into());
    for topic in response.responses {
        for data in topic.partitions {
            let Some(place) = session.place(&topic.topic_id, data.partition_index) else {
                continue;
            };
            let said = (data.error_code, data.error_message.clone());
            session.settled(&place, said, until_ms, &mut brought.outcomes);
            if data.error_code != 0 {
                brought.problems.push(Problem {
                    place,
                    code: data.error_code,
                    message: data.error_message,
                    leader: (
                        data.current_leader.leader_id,
                        data.current_leader.leader_epoch,
                    ),
                });
            }
        }
    }
    session.unanswered(&mut brought.outcomes);
    let endpoints = response.node_endpoints.into_iter();
    brought.endpoints = endpoints.map(|at| (at.node_id, at.host, at.port)).collect();
    brought
}
