//! What a broker is told of the partitions that it is asked for (KIP-227).

#[path = "../src/consumer/session.rs"]
mod session;

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka_wire::{ErrorCode, TopicId, NO_TOPIC_ID};
use session::{Place, Session, Verdict, Wish};

const VERSION: i16 = 12;

fn place(topic: &'static str, partition: i32) -> Place {
    (Bytes::from_static(topic.as_bytes()), partition)
}

fn at(offset: i64) -> Wish {
    Wish {
        topic_id: NO_TOPIC_ID,
        offset,
        leader_epoch: 3,
        last_epoch: 2,
        max_bytes: 1000,
    }
}

/// The same of a topic with an id.
fn of(id: &TopicId, offset: i64) -> Wish {
    Wish {
        topic_id: *id,
        ..at(offset)
    }
}

/// An id is written as its letter, and no id as nothing.
fn letter(id: &TopicId) -> String {
    match *id {
        NO_TOPIC_ID => String::new(),
        [letter, ..] => format!("/{}", char::from(letter)),
    }
}

/// Of three partitions, which were asked for in full and answered with this session.
fn opened(session_id: i32) -> Session {
    let mut session = Session::default();
    for partition in 0..3 {
        session.want(place("t", partition), at(0));
    }
    session.next(VERSION, false);
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
    let by_id = session.has_ids();
    let next = session.next(version, by_id);
    let name =
        |(topic, partition): &Place| format!(" {}{partition}", String::from_utf8_lossy(topic));
    let asked = next.asked.iter();
    let asked: String = asked
        .map(|(place, wish)| format!("{}{}@{}", name(place), letter(&wish.topic_id), wish.offset))
        .collect();
    let forgotten = next.forgotten.iter();
    let forgotten: String = forgotten
        .map(|(place, id)| format!("{}{}", name(place), letter(id)))
        .collect();
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
    assert_eq!(
        session.offset(&Bytes::from_static(b"t"), &NO_TOPIC_ID, 1),
        Some(10)
    );
    assert_eq!(
        session.offset(&Bytes::from_static(b"t"), &NO_TOPIC_ID, 0),
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

#[test]
fn a_topic_of_another_id_is_another_one() {
    let (old, new) = ([b'o'; 16], [b'n'; 16]);
    let mut session = Session::default();
    session.want(place("t", 0), of(&old, 5));
    session.want(place("u", 0), of(&[b'u'; 16], 0));
    assert_eq!(next(&mut session, 13), "0/0: t0/o@5 u0/u@0 -");
    session.answered(&answer(0, 7));
    session.want(place("t", 0), of(&new, 0));
    assert_eq!(next(&mut session, 13), "7/1: t0/n@0 - t0/o");
    let topic = Bytes::from_static(b"t");
    assert_eq!(session.offset(&topic, &new, 0), Some(0));
    assert_eq!(session.offset(&topic, &old, 0), None, "a late answer");
    session.answered(&answer(0, 7));
    session.forget(place("t", 0));
    assert_eq!(next(&mut session, 13), "7/2: - t0/n");
}

#[test]
fn one_topic_without_an_id_has_all_of_them_named() {
    let mut session = Session::default();
    session.want(place("t", 0), of(&[b't'; 16], 0));
    assert!(session.has_ids());
    assert_eq!(next(&mut session, 13), "0/0: t0/t@0 -");
    session.answered(&answer(0, 7));
    session.want(place("u", 0), at(0));
    assert!(!session.has_ids());
    assert_eq!(
        next(&mut session, 12),
        "7/0: u0@0 t0/t@0 -",
        "in a session of its own"
    );
    session.answered(&answer(0, 8));
    session.want(place("u", 0), of(&[b'u'; 16], 0));
    assert!(session.has_ids());
    assert_eq!(next(&mut session, 13), "8/0: t0/t@0 u0/u@0 -");
    session.answered(&answer(0, 9));
    session.want(place("u", 0), at(0));
    session.forget(place("u", 0));
    assert!(session.has_ids());
    assert_eq!(next(&mut session, 13), "9/1: - u0/u");
}

#[test]
fn an_answer_gets_the_names_that_were_asked_for() {
    let mut session = Session::default();
    session.want(place("t", 0), of(&[b't'; 16], 0));
    next(&mut session, 13);
    let topic = |topic_id| FetchableTopicResponse {
        topic_id,
        ..Default::default()
    };
    let mut answer = FetchResponse {
        responses: vec![topic([b'x'; 16]), topic([b't'; 16])],
        ..Default::default()
    };
    session.name_topics(&mut answer);
    let names = answer.responses.iter().map(|topic| &topic.topic[..]);
    assert_eq!(names.collect::<Vec<_>>(), [b"t"]);
}
