//! Groups of the classic protocol: joining, assigning, staying, leaving.

use crate::members::{settle, stable, Member, GROUP, REBALANCE_MS, SESSION_MS};
use crate::support::Bench;
use bytes::Bytes;
use kafka_mock::{ClusterConfig, CoordinatorKey, Fault, Output, Reply};
use kafka_wire::messages::leave_group::MemberIdentity;
use kafka_wire::messages::{JoinGroupRequest, LeaveGroupRequest, MetadataRequest};
use kafka_wire::ApiKey;

const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_PROTOCOL: i16 = 23;
const UNKNOWN_MEMBER: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;

fn state(bench: &Bench) -> (&'static str, i32, usize) {
    let group = bench.cluster.group(GROUP.as_bytes()).unwrap();
    (group.state, group.generation, group.members.len())
}

fn metadata(answer: &kafka_wire::messages::JoinGroupResponse) -> Vec<Bytes> {
    let members = answer.members.iter();
    members.map(|member| member.metadata.clone()).collect()
}

#[test]
fn the_first_member_leads_and_assigns_at_every_version() {
    for version in 0..=9 {
        let mut bench = Bench::with_topic(1);
        let mut member = Member::new(&mut bench, 50);
        if version >= 4 {
            member.ask_for_id(&mut bench);
        }
        let answer = bench.call_on(50, &member.joining(), version);
        assert_eq!(
            (answer.error_code, answer.generation_id),
            (0, 1),
            "v{version}"
        );
        assert_eq!(answer.leader, answer.member_id, "v{version}");
        assert_eq!(answer.protocol_name.as_deref(), Some(&b"range"[..]));
        assert_eq!(metadata(&answer), ["50:range"], "v{version}");
        member.joined(&answer);
        let sync_version = version.min(4);
        let synced = bench.call_on(50, &member.syncing(&[(&member, "mine")]), sync_version);
        assert_eq!(
            (synced.error_code, &synced.assignment[..]),
            (0, &b"mine"[..])
        );
        let beaten = bench.call_on(50, &member.beating(), sync_version);
        assert_eq!(beaten.error_code, 0, "v{version}");
        assert_eq!(state(&bench), ("Stable", 1, 1));
    }
}

#[test]
fn a_member_id_begins_with_the_clients_name_and_is_unique() {
    let mut bench = Bench::with_topic(1);
    let mut one = Member::new(&mut bench, 50);
    let mut two = Member::new(&mut bench, 51);
    one.ask_for_id(&mut bench);
    two.ask_for_id(&mut bench);
    assert!(one.id.starts_with(b"bench-"), "{:?}", one.id);
    assert_ne!(one.id, two.id);
}

#[test]
fn a_new_member_waits_until_the_others_have_joined_again() {
    let mut bench = Bench::with_topic(1);
    let mut leader = stable(&mut bench, 1).remove(0);
    let mut new = Member::new(&mut bench, 60);
    new.ask_for_id(&mut bench);
    assert_eq!(
        leader.heartbeat(&mut bench),
        0,
        "an id alone disturbs nobody"
    );
    let waiting = new.start_join(&mut bench);
    assert_eq!(state(&bench), ("PreparingRebalance", 1, 2));
    assert_eq!(leader.heartbeat(&mut bench), REBALANCE_IN_PROGRESS);
    assert_eq!(bench.poll(), []);

    let answer = leader.join(&mut bench);
    assert_eq!(answer.generation_id, 2);
    assert_eq!(answer.leader, leader.id);
    assert_eq!(metadata(&answer), ["100:range", "60:range"]);
    let follower = waiting.answer_in(&bench.poll()).unwrap();
    new.joined(&follower);
    assert_eq!((follower.generation_id, follower.members.len()), (2, 0));
    assert_eq!(follower.leader, leader.id);

    let waiting = new.start_sync(&mut bench);
    assert_eq!(state(&bench).0, "CompletingRebalance");
    assert_eq!(leader.heartbeat(&mut bench), 0);
    let synced = leader.sync(&mut bench, &[(&leader, "one"), (&new, "two")]);
    assert_eq!(synced.assignment, "one");
    assert_eq!(waiting.answer_in(&bench.poll()).unwrap().assignment, "two");
    assert_eq!(state(&bench), ("Stable", 2, 2));
}

#[test]
fn nothing_behind_a_waiting_join_is_answered_before_it() {
    let mut bench = Bench::with_topic(1);
    let mut leader = stable(&mut bench, 1).remove(0);
    let mut new = Member::new(&mut bench, 60);
    new.ask_for_id(&mut bench);
    let waiting = new.start_join(&mut bench);
    let (reply, _) = bench.send(60, &MetadataRequest::default(), 9);
    assert_eq!(reply, Reply::Waiting);
    leader.join(&mut bench);
    let outputs = bench.poll();
    let [(60, Output::Answer(_)), (60, Output::Answer(_))] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(waiting.answer_in(&outputs).unwrap().error_code, 0);
}

#[test]
fn a_rebalance_ends_without_those_who_are_late() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 2);
    let mut new = Member::new(&mut bench, 60);
    new.ask_for_id(&mut bench);
    let waiting = new.start_join(&mut bench);
    let early = members[0].start_join(&mut bench);
    let late = members.remove(1);
    for _ in 0..REBALANCE_MS / 5_000 - 1 {
        assert_eq!(bench.advance(5_000), []);
        // It lives, but does not join.
        assert_eq!(late.heartbeat(&mut bench), REBALANCE_IN_PROGRESS);
    }
    let outputs = bench.advance(5_000);
    new.joined(&waiting.answer_in(&outputs).unwrap());
    assert_eq!(early.answer_in(&outputs).unwrap().members.len(), 2);
    assert_eq!(late.heartbeat(&mut bench), UNKNOWN_MEMBER);
    assert_eq!(state(&bench), ("CompletingRebalance", 3, 2));
}

#[test]
fn a_member_that_is_not_heard_of_is_removed() {
    let mut bench = Bench::with_topic(1);
    let members = stable(&mut bench, 2);
    bench.advance(SESSION_MS - 1);
    assert_eq!(members[0].heartbeat(&mut bench), 0);
    bench.advance(1);
    assert_eq!(members[1].heartbeat(&mut bench), UNKNOWN_MEMBER);
    assert_eq!(members[0].heartbeat(&mut bench), REBALANCE_IN_PROGRESS);
    bench.advance(SESSION_MS);
    assert_eq!(state(&bench).0, "Empty");
    assert_eq!(bench.cluster.next_timeout(), None);
}

#[test]
fn who_joined_but_does_not_sync_is_removed() {
    let mut bench = Bench::with_topic(1);
    let mut leader = Member::new(&mut bench, 50);
    leader.ask_for_id(&mut bench);
    leader.join(&mut bench);
    for _ in 0..REBALANCE_MS / 5_000 {
        assert_eq!(leader.heartbeat(&mut bench), 0);
        bench.advance(5_000);
    }
    assert_eq!(leader.heartbeat(&mut bench), UNKNOWN_MEMBER);
    assert_eq!(state(&bench).0, "Empty");
}

#[test]
fn an_id_that_is_not_used_is_waited_for_in_a_rebalance_and_then_forgotten() {
    let mut bench = Bench::with_topic(1);
    let mut leader = stable(&mut bench, 1).remove(0);
    let mut never = Member::new(&mut bench, 60);
    never.ask_for_id(&mut bench);
    let mut new = Member::new(&mut bench, 61);
    new.ask_for_id(&mut bench);
    let waiting = new.start_join(&mut bench);
    let rejoined = leader.start_join(&mut bench);
    let outputs = bench.advance(SESSION_MS);
    new.joined(&waiting.answer_in(&outputs).unwrap());
    leader.joined(&rejoined.answer_in(&outputs).unwrap());
    let refused = bench.call_on(60, &never.joining(), 9);
    assert_eq!(refused.error_code, UNKNOWN_MEMBER);
}

#[test]
fn a_leader_that_joins_again_starts_a_rebalance_and_a_follower_does_not() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 2);
    let answer = members[1].join(&mut bench);
    assert_eq!(answer.generation_id, 2, "the generation stands");
    assert_eq!(state(&bench).0, "Stable");
    let waiting = members[0].start_join(&mut bench);
    assert_eq!(state(&bench).0, "PreparingRebalance");
    members[1].join(&mut bench);
    let answer = waiting.answer_in(&bench.poll()).unwrap();
    assert_eq!(answer.generation_id, 3);
}

#[test]
fn a_follower_that_wants_something_else_starts_a_rebalance() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 2);
    members[1].protocols = vec!["sticky", "range"];
    members[1].start_join(&mut bench);
    assert_eq!(state(&bench).0, "PreparingRebalance");
}

#[test]
fn leaving_starts_a_rebalance_at_every_version() {
    for version in 0..=5 {
        let mut bench = Bench::with_topic(1);
        let members = stable(&mut bench, 2);
        let request = LeaveGroupRequest {
            group_id: GROUP.into(),
            member_id: match version {
                0..=2 => members[1].id.clone(),
                _ => Bytes::new(),
            },
            members: match version {
                0..=2 => Vec::new(),
                _ => members[1].leaving().members,
            },
        };
        for expected in [0, UNKNOWN_MEMBER] {
            let answer = bench.call_on(members[1].conn, &request, version);
            let code = match version {
                0..=2 => answer.error_code,
                _ => answer.members[0].error_code,
            };
            assert_eq!(code, expected, "v{version}");
        }
        assert_eq!(members[0].heartbeat(&mut bench), REBALANCE_IN_PROGRESS);
        assert_eq!(state(&bench), ("PreparingRebalance", 2, 1));
    }
}

#[test]
fn when_the_last_member_leaves_the_group_is_empty() {
    let mut bench = Bench::with_topic(1);
    let members = stable(&mut bench, 1);
    assert_eq!(members[0].leave(&mut bench), 0);
    assert_eq!(state(&bench), ("Empty", 2, 0));
    let mut next = Member::new(&mut bench, 60);
    settle(&mut bench, std::slice::from_mut(&mut next));
    assert_eq!(state(&bench), ("Stable", 3, 1));
}

#[test]
fn a_member_of_another_generation_is_error_22() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 1);
    members[0].generation = 0;
    assert_eq!(members[0].heartbeat(&mut bench), ILLEGAL_GENERATION);
    let synced = members[0].sync(&mut bench, &[]);
    assert_eq!(synced.error_code, ILLEGAL_GENERATION);
}

#[test]
fn a_sync_during_a_rebalance_is_error_27() {
    let mut bench = Bench::with_topic(1);
    let members = stable(&mut bench, 1);
    let mut new = Member::new(&mut bench, 60);
    new.ask_for_id(&mut bench);
    new.start_join(&mut bench);
    let synced = members[0].sync(&mut bench, &[]);
    assert_eq!(synced.error_code, REBALANCE_IN_PROGRESS);
}

#[test]
fn a_waiting_sync_is_ended_by_the_next_rebalance() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 2);
    let waiting = members[0].start_join(&mut bench);
    members[1].join(&mut bench);
    members[0].joined(&waiting.answer_in(&bench.poll()).unwrap());
    let waiting = members[1].start_sync(&mut bench);
    members[0].leave(&mut bench);
    let synced = waiting.answer_in(&bench.poll()).unwrap();
    assert_eq!(synced.error_code, REBALANCE_IN_PROGRESS);
    let answer = members[1].join(&mut bench);
    assert_eq!(answer.leader, members[1].id, "and another leads");
}

#[test]
fn the_protocol_is_one_that_all_offer_and_most_prefer() {
    let mut bench = Bench::with_topic(1);
    let mut members: Vec<Member> = (0..3).map(|n| Member::new(&mut bench, 100 + n)).collect();
    members[0].protocols = vec!["range", "roundrobin", "sticky"];
    members[1].protocols = vec!["mine", "sticky", "range"];
    members[2].protocols = vec!["sticky", "range"];
    settle(&mut bench, &mut members);
    let group = bench.cluster.group(GROUP.as_bytes()).unwrap();
    assert_eq!(group.assignor, "sticky");

    let mut odd = Member::new(&mut bench, 120);
    odd.protocols = vec!["mine", "roundrobin"];
    let refused = bench.call_on(120, &odd.joining(), 9);
    assert_eq!(refused.error_code, INCONSISTENT_PROTOCOL);
    let other_type = JoinGroupRequest {
        protocol_type: "connect".into(),
        ..members[2].joining()
    };
    let refused = bench.call_on(120, &other_type, 9);
    assert_eq!(refused.error_code, INCONSISTENT_PROTOCOL);
}

#[test]
fn what_cannot_be_joined_is_refused() {
    let mut bench = Bench::with_topic(1);
    let member = Member::new(&mut bench, 50);
    let asked = member.joining();
    let of = |change: fn(&mut JoinGroupRequest)| {
        let mut request = asked.clone();
        change(&mut request);
        request
    };
    let cases = [
        (of(|r| r.group_id = Bytes::new()), 24),
        (of(|r| r.session_timeout_ms = 5_999), 26),
        (of(|r| r.session_timeout_ms = 1_800_001), 26),
        (of(|r| r.protocols.clear()), INCONSISTENT_PROTOCOL),
        (
            of(|r| r.protocol_type = Bytes::new()),
            INCONSISTENT_PROTOCOL,
        ),
        (of(|r| r.member_id = "stranger".into()), UNKNOWN_MEMBER),
    ];
    for (request, expected) in cases {
        let answer = bench.call_on(50, &request, 9);
        assert_eq!(answer.error_code, expected, "{request:?}");
        assert_eq!(answer.protocol_name, None);
    }
    assert_eq!(member.heartbeat(&mut bench), UNKNOWN_MEMBER);
    let mut hasty = Bench::new(ClusterConfig {
        min_session_timeout_ms: 10,
        ..Default::default()
    });
    let request = of(|r| r.session_timeout_ms = 10);
    assert_eq!(hasty.call(&request, 3).error_code, 0);
}

#[test]
fn only_the_coordinator_answers_and_the_group_moves_with_it() {
    let mut bench = Bench::with_brokers(2, 1);
    let of = CoordinatorKey::Group;
    bench.cluster.set_coordinator(of, b"g", 0).unwrap();
    let members = stable(&mut bench, 1);
    assert_eq!(bench.call_on(1, &members[0].joining(), 9).error_code, 16);
    assert_eq!(bench.call_on(1, &members[0].beating(), 4).error_code, 16);
    assert_eq!(bench.call_on(1, &members[0].syncing(&[]), 4).error_code, 16);
    assert_eq!(bench.call_on(1, &members[0].leaving(), 5).error_code, 16);
    bench.cluster.stop_broker(0).unwrap();
    assert_eq!(bench.call_on(1, &members[0].beating(), 4).error_code, 0);
}

#[test]
fn a_static_member_takes_its_place_again_without_a_rebalance() {
    for (version, skips) in [(5, false), (8, false), (9, true)] {
        let mut bench = Bench::with_topic(1);
        let mut members = vec![
            Member::fixed(&mut bench, 100, "one"),
            Member::fixed(&mut bench, 101, "two"),
        ];
        settle(&mut bench, &mut members);
        let old = members[0].id.clone();
        let again = Member::fixed(&mut bench, 110, "one");
        let answer = bench.call_on(110, &again.joining(), version);
        assert_eq!(
            (answer.error_code, answer.generation_id),
            (0, 2),
            "v{version}"
        );
        assert_ne!(answer.member_id, old);
        assert_eq!(answer.skip_assignment, skips, "v{version}");
        // A leader that cannot be told so must not know that it leads.
        assert_eq!(answer.leader == answer.member_id, skips, "v{version}");
        assert_eq!(answer.members.len(), if skips { 2 } else { 0 });
        assert_eq!(members[0].heartbeat(&mut bench), 82);
        assert_eq!(members[1].heartbeat(&mut bench), 0);
        members[0].joined(&answer);
        let synced = bench.call_on(110, &members[0].syncing(&[]), 4);
        assert_eq!(synced.assignment, "a", "v{version}");
    }
}

#[test]
fn a_static_member_that_takes_a_place_fences_who_waits_there() {
    let mut bench = Bench::with_topic(1);
    let mut members = vec![
        Member::fixed(&mut bench, 100, "one"),
        Member::fixed(&mut bench, 101, "two"),
    ];
    settle(&mut bench, &mut members);
    let waiting = members[0].start_join(&mut bench);
    let mut again = Member::fixed(&mut bench, 110, "one");
    let rejoined = again.start_join(&mut bench);
    let fenced = waiting.answer_in(&bench.poll()).unwrap();
    assert_eq!(fenced.error_code, 82);
    members[1].join(&mut bench);
    again.joined(&rejoined.answer_in(&bench.poll()).unwrap());
    assert_eq!(again.generation, 3);
}

#[test]
fn a_static_member_stays_until_its_session_ends_or_it_is_told_to_leave() {
    let mut bench = Bench::with_topic(1);
    let mut members = vec![
        Member::fixed(&mut bench, 100, "one"),
        Member::fixed(&mut bench, 101, "two"),
    ];
    settle(&mut bench, &mut members);
    let admin = LeaveGroupRequest {
        group_id: GROUP.into(),
        members: vec![MemberIdentity {
            member_id: Bytes::new(),
            group_instance_id: Some("two".into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let left = bench.call(&admin, 3);
    assert_eq!(left.members[0].error_code, 0);
    assert_eq!(members[0].heartbeat(&mut bench), REBALANCE_IN_PROGRESS);
    bench.advance(SESSION_MS);
    assert_eq!(state(&bench).0, "Empty");
}

#[test]
fn a_connection_that_closes_while_its_member_waits_leaves_the_member_in() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 1);
    let mut new = Member::new(&mut bench, 60);
    new.ask_for_id(&mut bench);
    new.start_join(&mut bench);
    bench.cluster.close(60);
    let answer = members[0].join(&mut bench);
    assert_eq!(answer.members.len(), 2);
    assert_eq!(bench.poll(), []);
    for _ in 0..2 {
        assert_eq!(members[0].heartbeat(&mut bench), 0);
        bench.advance(SESSION_MS / 2);
    }
    assert_eq!(members[0].heartbeat(&mut bench), REBALANCE_IN_PROGRESS);
    assert_eq!(state(&bench).2, 1);
}

#[test]
fn faults_strike_all_that_members_ask() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 1);
    let once = |api, error| Fault {
        error: Some(error),
        times: Some(1),
        ..Fault::on(api)
    };
    bench
        .cluster
        .fault(once(ApiKey::Heartbeat, REBALANCE_IN_PROGRESS));
    assert_eq!(members[0].heartbeat(&mut bench), REBALANCE_IN_PROGRESS);
    assert_eq!(members[0].heartbeat(&mut bench), 0);
    bench.cluster.fault(once(ApiKey::SyncGroup, 15));
    assert_eq!(members[0].sync(&mut bench, &[]).error_code, 15);
    bench.cluster.fault(once(ApiKey::JoinGroup, 14));
    let answer = bench.call_on(100, &members[0].joining(), 9);
    assert_eq!((answer.error_code, &answer.member_id), (14, &members[0].id));
    assert_eq!(state(&bench).0, "Stable", "it was not carried out");
    bench.cluster.fault(Fault {
        applied: true,
        ..once(ApiKey::LeaveGroup, 7)
    });
    let left = bench.call_on(100, &members[0].leaving(), 5);
    assert_eq!(left.error_code, 7);
    assert_eq!(state(&bench).0, "Empty", "it was carried out");
    bench.cluster.fault(Fault {
        delay_ms: 100,
        times: Some(1),
        ..Fault::on(ApiKey::JoinGroup)
    });
    members[0].id = Bytes::new();
    let request = members[0].joining();
    assert_eq!(bench.send(100, &request, 3).0, Reply::Waiting);
    assert_eq!(bench.advance(99), []);
    assert_eq!(bench.advance(1).len(), 1);
}
