//! What becomes of a batch that a broker has not taken.

use std::time::Duration;

use kafka_producer::verdict::{
    judge, retry_delay, Cause, Failed, Harm, Hearer, Membership, Outcome, Policy, Verdict,
    MIN_RETRIES,
};
use kafka_wire::ErrorCode;

const TIMEOUT: Duration = Duration::from_secs(120);

const PLAIN: Policy = Policy {
    idempotent: false,
    transactional: false,
    delivery_timeout: TIMEOUT,
};
const IDEMPOTENT: Policy = Policy {
    idempotent: true,
    ..PLAIN
};
const TRANSACTIONAL: Policy = Policy {
    transactional: true,
    ..IDEMPOTENT
};
const POLICIES: [Policy; 3] = [PLAIN, IDEMPOTENT, TRANSACTIONAL];

/// Codes for which a batch needs another identity.
const OUT_OF_SEQUENCE: [ErrorCode; 3] = [
    ErrorCode::OutOfOrderSequenceNumber,
    ErrorCode::InvalidProducerEpoch,
    ErrorCode::UnknownProducerId,
];
const TOO_LARGE: [ErrorCode; 2] = [ErrorCode::MessageTooLarge, ErrorCode::RecordListTooLarge];
const GIVEN_UP: [Membership; 2] = [Membership::Aborting, Membership::Past];

const RETRY: Outcome = Outcome::Retry { refresh: false };
const RETRY_ELSEWHERE: Outcome = Outcome::Retry { refresh: true };

/// The oldest batch of its partition, just come, and part of no transaction.
fn failed(cause: Cause) -> Failed<'static> {
    Failed {
        cause,
        message: "",
        topic: b"t",
        partition: 3,
        retries: 0,
        age: Duration::ZERO,
        is_indivisible: false,
        is_oldest: true,
        follows_gap: false,
        is_renewed: false,
        membership: Membership::Plain,
    }
}

fn refused(code: ErrorCode) -> Failed<'static> {
    failed(Cause::Refused(code.code()))
}

/// Has had all the time and all the tries that it is owed.
fn late(batch: Failed<'static>) -> Failed<'static> {
    Failed {
        retries: MIN_RETRIES,
        age: TIMEOUT,
        ..batch
    }
}

fn outcome(batch: &Failed<'_>, policy: &Policy) -> Outcome {
    judge(batch, policy).outcome
}

fn failure(batch: &Failed<'_>, policy: &Policy) -> (String, Hearer) {
    match outcome(batch, policy) {
        Outcome::Fail { text, hearer } => (text, hearer),
        other => panic!("{other:?}"),
    }
}

fn hearer(batch: &Failed<'_>, policy: &Policy) -> Hearer {
    failure(batch, policy).1
}

fn text(batch: &Failed<'_>, policy: &Policy) -> String {
    failure(batch, policy).0
}

#[test]
fn a_refusal_that_may_pass_is_waited_for_and_the_leader_looked_for() {
    for code in ErrorCode::ALL.iter().filter(|code| code.is_retriable()) {
        // The coordinator is still writing the end of the transaction before (KIP-890): the leader is the right one.
        let expected = match code {
            ErrorCode::ConcurrentTransactions => RETRY,
            _ => RETRY_ELSEWHERE,
        };
        for policy in POLICIES {
            let verdict = judge(&refused(*code), &policy);
            assert!(!verdict.breaks_sequence, "{code}");
            assert_eq!(verdict.outcome, expected, "{code}");
        }
    }
}

#[test]
fn any_other_fails_with_its_code_and_its_place() {
    let batch = Failed {
        message: "no",
        retries: 2,
        ..refused(ErrorCode::TopicAuthorizationFailed)
    };
    for policy in POLICIES {
        let expected = "TOPIC_AUTHORIZATION_FAILED (code 29) from t:3: no after 2 retries";
        assert_eq!(failure(&batch, &policy), (expected.into(), Hearer::Handler));
    }
    assert_eq!(batch.cause.code(), Some(29));
    let unknown = failed(Cause::Refused(9999));
    assert_eq!(text(&unknown, &PLAIN), "UNKNOWN (code 9999) from t:3");
}

#[test]
fn delivery_timeout_ends_tries_once_a_few_were_made() {
    let batch = late(refused(ErrorCode::NotLeaderOrFollower));
    let expected = format!("NOT_LEADER_OR_FOLLOWER (code 6) from t:3 after {MIN_RETRIES} retries");
    assert_eq!(text(&batch, &PLAIN), expected);
    let owed = Failed {
        retries: MIN_RETRIES - 1,
        ..batch
    };
    assert_eq!(outcome(&owed, &PLAIN), RETRY_ELSEWHERE);
    let young = Failed {
        age: TIMEOUT - Duration::from_millis(1),
        ..batch
    };
    assert_eq!(outcome(&young, &PLAIN), RETRY_ELSEWHERE);
    let for_ever = Policy {
        delivery_timeout: Duration::MAX,
        ..PLAIN
    };
    assert_eq!(outcome(&batch, &for_ever), RETRY_ELSEWHERE);
}

#[test]
fn what_cannot_be_sent_fails_and_the_handler_hears_why() {
    let batch = Failed {
        message: "zstd needs more",
        ..failed(Cause::Unsendable)
    };
    for policy in POLICIES {
        assert_eq!(
            failure(&batch, &policy),
            ("zstd needs more".into(), Hearer::Handler)
        );
    }
    let part = Failed {
        membership: Membership::Open,
        ..batch
    };
    let hears = Hearer::Transaction(Harm::NewEpoch);
    assert_eq!(hearer(&part, &TRANSACTIONAL), hears);
}

#[test]
fn only_idempotence_lets_an_unanswered_batch_be_sent_again() {
    let batch = Failed {
        message: "disconnected",
        ..failed(Cause::Unanswered)
    };
    // The end of the connection is told by itself.
    let nobody_else = ("disconnected".into(), Hearer::Nobody);
    assert_eq!(failure(&batch, &PLAIN), nobody_else);
    assert_eq!(outcome(&batch, &IDEMPOTENT), RETRY);
    assert_eq!(failure(&late(batch), &IDEMPOTENT), nobody_else);
}

#[test]
fn a_batch_that_an_answer_lacks_is_unanswered_too_but_the_handler_hears_of_it() {
    let batch = Failed {
        message: "the broker's answer lacks the partition",
        ..failed(Cause::Unmentioned)
    };
    let expected =
        "UNKNOWN_SERVER_ERROR (code -1) from t:3: the broker's answer lacks the partition";
    assert_eq!(failure(&batch, &PLAIN), (expected.into(), Hearer::Handler));
    assert_eq!(batch.cause.code(), None);
    assert_eq!(outcome(&batch, &IDEMPOTENT), RETRY);
}

#[test]
fn a_batch_that_never_left_waits_on_unless_its_transaction_may_be_over() {
    let batch = Failed {
        message: "disconnected",
        ..failed(Cause::NeverLeft)
    };
    for policy in POLICIES {
        assert_eq!(outcome(&batch, &policy), Outcome::Requeue);
    }
    let part = Failed {
        membership: Membership::Open,
        ..batch
    };
    assert_eq!(outcome(&part, &TRANSACTIONAL), RETRY);
    let past = Failed {
        membership: Membership::Past,
        ..batch
    };
    assert_eq!(
        failure(&past, &TRANSACTIONAL),
        ("disconnected".into(), Hearer::Nobody)
    );
}

#[test]
fn the_halves_of_a_batch_that_is_too_large_may_pass() {
    for code in TOO_LARGE {
        let batch = refused(code);
        for policy in POLICIES {
            assert_eq!(outcome(&batch, &policy), Outcome::Split, "{code}");
            assert_eq!(outcome(&late(batch), &policy), Outcome::Split, "{code}");
        }
        let single = Failed {
            is_indivisible: true,
            ..batch
        };
        assert_eq!(hearer(&single, &IDEMPOTENT), Hearer::Handler, "{code}");
        for membership in GIVEN_UP {
            let batch = Failed {
                membership,
                ..batch
            };
            assert!(matches!(
                outcome(&batch, &TRANSACTIONAL),
                Outcome::Fail { .. }
            ));
        }
    }
}

#[test]
fn a_number_out_of_order_behind_an_unanswered_batch_is_right_and_tried_again() {
    let batch = Failed {
        is_oldest: false,
        ..refused(ErrorCode::OutOfOrderSequenceNumber)
    };
    let expected = Verdict {
        breaks_sequence: false,
        outcome: RETRY,
    };
    for membership in [Membership::Plain, Membership::Open] {
        let batch = Failed {
            membership,
            ..batch
        };
        assert_eq!(judge(&batch, &TRANSACTIONAL), expected);
    }
    let verdict = judge(&late(batch), &IDEMPOTENT);
    assert!(!verdict.breaks_sequence);
    assert!(matches!(verdict.outcome, Outcome::Fail { .. }));
}

#[test]
fn so_is_one_behind_a_batch_that_has_failed() {
    let batch = Failed {
        follows_gap: true,
        ..refused(ErrorCode::OutOfOrderSequenceNumber)
    };
    let expected = Verdict {
        breaks_sequence: false,
        outcome: RETRY,
    };
    assert_eq!(judge(&batch, &IDEMPOTENT), expected);
}

#[test]
fn the_oldest_batch_out_of_sequence_needs_a_new_identity_once() {
    for code in OUT_OF_SEQUENCE {
        let batch = refused(code);
        let expected = Verdict {
            breaks_sequence: true,
            outcome: RETRY,
        };
        assert_eq!(judge(&batch, &IDEMPOTENT), expected, "{code}");
        let again = Failed {
            is_renewed: true,
            ..batch
        };
        for batch in [again, late(batch)] {
            let verdict = judge(&batch, &IDEMPOTENT);
            assert!(verdict.breaks_sequence, "{code}");
            assert!(matches!(verdict.outcome, Outcome::Fail { .. }), "{code}");
        }
    }
}

#[test]
fn an_epoch_that_is_too_old_or_an_unknown_id_says_nothing_of_older_batches() {
    for code in [
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::UnknownProducerId,
    ] {
        let batch = Failed {
            is_oldest: false,
            follows_gap: true,
            ..refused(code)
        };
        assert!(judge(&batch, &IDEMPOTENT).breaks_sequence, "{code}");
    }
}

#[test]
fn without_idempotence_there_is_no_sequence_to_break() {
    for code in OUT_OF_SEQUENCE {
        let verdict = judge(&refused(code), &PLAIN);
        assert!(!verdict.breaks_sequence, "{code}");
        assert!(matches!(verdict.outcome, Outcome::Fail { .. }), "{code}");
    }
}

#[test]
fn in_a_transaction_the_same_codes_end_it_and_a_new_epoch_follows() {
    for code in OUT_OF_SEQUENCE {
        let batch = Failed {
            membership: Membership::Open,
            ..refused(code)
        };
        let verdict = judge(&batch, &TRANSACTIONAL);
        assert!(!verdict.breaks_sequence, "{code}");
        let hears = Hearer::Transaction(Harm::NewEpoch);
        assert_eq!(hearer(&batch, &TRANSACTIONAL), hears, "{code}");
    }
}

#[test]
fn a_producer_that_was_replaced_cannot_go_on() {
    let batch = Failed {
        membership: Membership::Open,
        ..refused(ErrorCode::ProducerFenced)
    };
    let hears = Hearer::Transaction(Harm::Fatal);
    assert_eq!(hearer(&batch, &TRANSACTIONAL), hears);
    assert_eq!(
        hearer(&refused(ErrorCode::ProducerFenced), &TRANSACTIONAL),
        Hearer::Handler
    );
}

#[test]
fn other_failures_in_a_transaction_only_end_it() {
    let batch = Failed {
        membership: Membership::Open,
        ..refused(ErrorCode::TopicAuthorizationFailed)
    };
    let hears = Hearer::Transaction(Harm::Abort);
    assert_eq!(hearer(&batch, &TRANSACTIONAL), hears);
}

#[test]
fn harm_grows_from_an_abort_to_the_end_of_the_producer() {
    assert!(Harm::Abort < Harm::NewEpoch && Harm::NewEpoch < Harm::Fatal);
    assert_eq!(Harm::of(None), Harm::NewEpoch);
    assert_eq!(Harm::of(Some(-1)), Harm::NewEpoch);
}

#[test]
fn a_batch_whose_transaction_goes_on_without_it_is_never_sent_again() {
    let causes = [
        Cause::Unanswered,
        Cause::Unmentioned,
        Cause::NeverLeft,
        Cause::Refused(ErrorCode::NotLeaderOrFollower.code()),
        Cause::Refused(ErrorCode::OutOfOrderSequenceNumber.code()),
    ];
    for cause in causes {
        let aborting = Failed {
            membership: Membership::Aborting,
            is_oldest: false,
            ..failed(cause)
        };
        assert!(matches!(
            hearer(&aborting, &TRANSACTIONAL),
            Hearer::Transaction(_)
        ));
        let past = Failed {
            membership: Membership::Past,
            ..aborting
        };
        assert_eq!(hearer(&past, &TRANSACTIONAL), Hearer::Nobody);
    }
}

#[test]
fn a_plain_record_waits_for_the_marker_of_the_last_transaction() {
    let batch = refused(ErrorCode::InvalidTxnState);
    assert_eq!(outcome(&batch, &TRANSACTIONAL), RETRY);
    assert_eq!(hearer(&batch, &IDEMPOTENT), Hearer::Handler);
    let part = Failed {
        membership: Membership::Open,
        ..batch
    };
    assert_eq!(
        hearer(&part, &TRANSACTIONAL),
        Hearer::Transaction(Harm::Abort)
    );
}

#[test]
fn delays_double_to_a_second_with_a_quarter_of_jitter() {
    let delays = |random| (0..6).map(move |retries| retry_delay(retries, random).as_millis());
    assert!(delays(0.5).eq([100, 200, 400, 800, 1000, 1000]));
    assert!(delays(0.0).eq([75, 150, 300, 600, 750, 750]));
    assert!(delays(1.0).eq([125, 250, 500, 1000, 1250, 1250]));
    assert_eq!(retry_delay(u32::MAX, 0.5), Duration::from_secs(1));
}

#[test]
fn whether_a_batch_may_lie_in_the_log() {
    let refused = |code: ErrorCode| Cause::Refused(code.code());
    assert!(Cause::Unanswered.leaves_doubt());
    assert!(Cause::Unmentioned.leaves_doubt());
    assert!(!Cause::NeverLeft.leaves_doubt());
    assert!(!Cause::Unsendable.leaves_doubt());
    // Written by the leader, and perhaps by all the others by now.
    assert!(refused(ErrorCode::NotEnoughReplicasAfterAppend).leaves_doubt());
    assert!(refused(ErrorCode::RequestTimedOut).leaves_doubt());
    assert!(refused(ErrorCode::NotLeaderOrFollower).leaves_doubt());
    assert!(Cause::Refused(9999).leaves_doubt());
    assert!(!refused(ErrorCode::NotEnoughReplicas).leaves_doubt());
    assert!(!refused(ErrorCode::OutOfOrderSequenceNumber).leaves_doubt());
    let dispelling = ErrorCode::ALL
        .iter()
        .filter(|code| refused(**code).dispels_doubt());
    assert!(dispelling.eq(&[ErrorCode::OutOfOrderSequenceNumber]));
    assert!(Cause::is_known_already(46));
    assert!(!Cause::is_known_already(45));
}
