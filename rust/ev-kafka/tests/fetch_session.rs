//! What a broker is told of the partitions that it is asked for (KIP-227).

#[path = "../src/consumer/session.rs"]
mod session;

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka_wire::ErrorCode;
use session::{Place, Session, Verdict, Wish};

const VERSION: i16 = 12;

fn place(topic: &'static str, partition: i32) -> Place {
    (Bytes::from_static(topic.as_bytes()), partition)
}

fn at(offset: i64) -> Wish {
    Wish {
        offset,
        leader_epoch: 3,
        last_epoch: 2,
        max_bytes: 1000,
    }
}

/// Of three partitions, which were asked for in full and answered with this session.
fn opened(session_id: i32) -> Session {
    let mut session = Session::default();
    for partition in 0..3 {
        session.want(place("t", partition), at(0));
    }
    session.next(VERSION);
    assert_eq!(session.answered(&answer(0, session_id)), Verdict::Answered);
    session
}

fn answer(error_code: i16, session_id: i32) -> FetchResponse {
    FetchResponse {
        error_code,
        session_id,
        ..Default::default()
    }
}

/// "id/epoch: what is asked for - what is forgotten" of the next request.
fn next(session: &mut Session, version: i16) -> String {
    let next = session.next(version);
    let name =
        |(topic, partition): &Place| format!(" {}{partition}", String::from_utf8_lossy(topic));
    let asked = next.asked.iter();
    let asked: String = asked
        .map(|(place, wish)| format!("{}@{}", name(place), wish.offset))
        .collect();
    let forgotten: String = next.forgotten.iter().map(name).collect();
    format!(
        "{}/{}:{asked} -{forgotten}",
        next.session_id, next.session_epoch
    )
}

#[test]
fn names_all_until_there_is_a_session() {
    let mut session = Session::default();
    session.want(place("t", 0), at(5));
    assert_eq!(next(&mut session, VERSION), "0/0: t0@5 -");
    assert_eq!(next(&mut session, VERSION), "0/0: t0@5 -");
    session.answered(&answer(0, 0));
    assert_eq!(
        next(&mut session, VERSION),
        "0/0: t0@5 -",
        "no room for one"
    );
    session.answered(&answer(0, 7));
    assert_eq!(next(&mut session, VERSION), "7/1: -");
}

#[test]
fn only_what_has_changed_is_said() {
    let mut session = opened(7);
    session.want(place("t", 1), at(10));
    session.want(place("t", 2), at(0));
    session.want(place("u", 0), at(4));
    session.forget(place("t", 0));
    assert_eq!(next(&mut session, VERSION), "7/1: t1@10 u0@4 - t0");
    session.answered(&answer(0, 7));
    assert_eq!(next(&mut session, VERSION), "7/2: -", "nothing since");
    assert_eq!(session.offset(&Bytes::from_static(b"t"), 1), Some(10));
    assert_eq!(
        session.offset(&Bytes::from_static(b"t"), 0),
        None,
        "what is forgotten"
    );
}

#[test]
fn what_came_and_went_between_two_requests_is_nothing() {
    let mut session = opened(7);
    session.forget(place("t", 0));
    session.want(place("t", 0), at(0));
    session.want(place("u", 0), at(0));
    session.forget(place("u", 0));
    session.forget(place("none", 0));
    assert_eq!(next(&mut session, VERSION), "7/1: -");
}

#[test]
fn every_part_of_a_wish_counts() {
    for wish in [
        Wish {
            leader_epoch: 4,
            ..at(0)
        },
        Wish {
            last_epoch: -1,
            ..at(0)
        },
        Wish {
            max_bytes: 2000,
            ..at(0)
        },
    ] {
        let mut session = opened(7);
        session.want(place("t", 1), wish);
        assert_eq!(next(&mut session, VERSION), "7/1: t1@0 -");
    }
}

#[test]
fn errors_of_a_session_begin_another_one() {
    for (code, expected) in [
        (ErrorCode::FetchSessionIdNotFound, "0/0: t1@0 t2@0 t0@0 -"),
        (ErrorCode::InvalidFetchSessionEpoch, "7/0: t1@0 t2@0 t0@0 -"),
        (ErrorCode::FetchSessionTopicIdError, "7/0: t1@0 t2@0 t0@0 -"),
    ] {
        let mut session = opened(7);
        next(&mut session, VERSION);
        assert_eq!(
            session.answered(&answer(code.code(), 0)),
            Verdict::SessionLost
        );
        assert_eq!(next(&mut session, VERSION), expected);
        let again = session.answered(&answer(code.code(), 0));
        assert_eq!(again, Verdict::Refused(code.code()), "not for ever");
    }
}

#[test]
fn other_errors_and_losses_do_so_too() {
    let mut session = opened(7);
    next(&mut session, VERSION);
    assert_eq!(session.answered(&answer(-1, 0)), Verdict::Refused(-1));
    assert_eq!(next(&mut session, VERSION), "7/0: t1@0 t2@0 t0@0 -");

    let mut session = opened(7);
    session.want(place("t", 0), at(9));
    next(&mut session, VERSION);
    session.lost();
    assert_eq!(
        next(&mut session, VERSION),
        "7/0: t1@0 t2@0 t0@9 -",
        "what was lost is said again"
    );
}

#[test]
fn a_broker_may_end_a_session_or_give_another() {
    for other in [0, 8] {
        let mut session = opened(7);
        next(&mut session, VERSION);
        assert_eq!(session.answered(&answer(0, other)), Verdict::Answered);
        assert_eq!(
            next(&mut session, VERSION),
            format!("{other}/0: t1@0 t2@0 t0@0 -")
        );
    }
}

#[test]
fn everyone_is_first_once_where_there_is_no_session() {
    let mut session = opened(0);
    assert_eq!(next(&mut session, VERSION), "0/0: t1@0 t2@0 t0@0 -");
    assert_eq!(next(&mut session, VERSION), "0/0: t2@0 t0@0 t1@0 -");
}

#[test]
fn older_versions_have_none() {
    let mut session = opened(7);
    assert_eq!(next(&mut session, 6), "0/-1: t1@0 t2@0 t0@0 -");
}

#[test]
fn it_ends_once() {
    let mut session = opened(7);
    assert_eq!(session.end(), Some(7));
    assert_eq!(session.end(), None);
    assert_eq!(opened(0).end(), None);
}

#[test]
fn what_an_answer_for_all_lacks_is_noticed() {
    let given = |partitions: &[i32]| FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: Bytes::from_static(b"t"),
            partitions: partitions
                .iter()
                .map(|&partition_index| PartitionData {
                    partition_index,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut session = opened(0);
    assert_eq!(session.passed_over(&given(&[0, 1, 2])), vec![]);
    assert_eq!(session.passed_over(&given(&[0, 2])), vec![place("t", 1)]);
    let throttled = FetchResponse {
        throttle_time_ms: 1,
        ..Default::default()
    };
    assert_eq!(
        session.passed_over(&throttled),
        vec![],
        "a broker that throttles"
    );
    session.answered(&answer(0, 7));
    next(&mut session, VERSION);
    assert_eq!(
        session.passed_over(&given(&[])),
        vec![],
        "one that has no news"
    );
}
