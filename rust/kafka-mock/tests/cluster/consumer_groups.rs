//! Groups whose coordinator assigns (KIP-848).

use crate::members::{stable, Member as ClassicMember, GROUP};
use crate::support::Bench;
use bytes::Bytes;
use kafka_mock::{ClusterConfig, CoordinatorKey, Fault};
use kafka_wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatTopicPartitions,
};
use kafka_wire::messages::offset_commit::OffsetCommitRequest;
use kafka_wire::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use kafka_wire::messages::TxnOffsetCommitRequest;
use kafka_wire::ApiKey;
use proptest::prelude::*;

const REBALANCE_MS: u64 = 20_000;
const SESSION_MS: u64 = 45_000;

const UNKNOWN_MEMBER: i16 = 25;
const INVALID_REQUEST: i16 = 42;
const FENCED_EPOCH: i16 = 110;
const UNRELEASED: i16 = 111;

/// A member as a client is one: it has what it was told to have, and gives up at once what it was not.
#[derive(Debug, Clone)]
struct Member {
    id: Bytes,
    instance_id: Option<Bytes>,
    epoch: i32,
    topics: Vec<Bytes>,
    owned: Vec<(Bytes, i32)>,
}

impl Member {
    fn new(id: &str) -> Self {
        Self {
            id: Bytes::copy_from_slice(id.as_bytes()),
            instance_id: None,
            epoch: 0,
            topics: vec!["t".into()],
            owned: Vec::new(),
        }
    }

    fn fixed(id: &str, name: &'static str) -> Self {
        Self {
            instance_id: Some(name.into()),
            ..Self::new(id)
        }
    }

    fn request(&self, bench: &mut Bench) -> ConsumerGroupHeartbeatRequest {
        let ids = topic_ids(bench);
        let owned = self.topics.iter().map(|name| HeartbeatTopicPartitions {
            topic_id: ids(name),
            partitions: self
                .owned
                .iter()
                .filter(|(t, _)| t == name)
                .map(|(_, p)| *p)
                .collect(),
        });
        let is_joining = self.epoch == 0;
        ConsumerGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            instance_id: self.instance_id.clone(),
            rebalance_timeout_ms: if is_joining { REBALANCE_MS as i32 } else { -1 },
            subscribed_topic_names: is_joining.then(|| self.topics.clone()),
            topic_partitions: Some(match is_joining {
                true => Vec::new(),
                false => owned.filter(|topic| !topic.partitions.is_empty()).collect(),
            }),
            ..Default::default()
        }
    }

    /// One heartbeat; the member does as it is told.
    fn beat(&mut self, bench: &mut Bench) -> ConsumerGroupHeartbeatResponse {
        let request = self.request(bench);
        let answer = send(bench, &request);
        if answer.error_code == 0 {
            self.follow(bench, &answer);
        }
        answer
    }

    fn follow(&mut self, bench: &mut Bench, answer: &ConsumerGroupHeartbeatResponse) {
        self.epoch = answer.member_epoch;
        let Some(assignment) = &answer.assignment else {
            return;
        };
        let ids = topic_ids(bench);
        self.owned.clear();
        for topic in &assignment.topic_partitions {
            let name = self
                .topics
                .iter()
                .find(|name| ids(name) == topic.topic_id)
                .unwrap();
            self.owned
                .extend(topic.partitions.iter().map(|&p| (name.clone(), p)));
        }
    }

    fn code(&mut self, bench: &mut Bench) -> i16 {
        self.beat(bench).error_code
    }

    /// The numbers of its partitions.
    fn partitions(&self) -> Vec<i32> {
        self.owned.iter().map(|(_, partition)| *partition).collect()
    }
}

fn topic_ids(bench: &mut Bench) -> impl Fn(&Bytes) -> [u8; 16] {
    let all = kafka_wire::messages::MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let topics = bench.call(&all, 12).topics;
    move |name| {
        let found = topics
            .iter()
            .find(|topic| topic.name.as_ref() == Some(name));
        found.unwrap().topic_id
    }
}

fn send(
    bench: &mut Bench,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    bench.call(request, 1)
}

/// Heartbeats of all in turn until nothing changes.
fn settle(bench: &mut Bench, members: &mut [Member]) {
    for _ in 0..20 {
        for member in &mut *members {
            assert_eq!(member.code(bench), 0);
        }
        if bench.cluster.group(GROUP.as_bytes()).unwrap().state == "Stable" {
            return;
        }
    }
    panic!("never stable: {:?}", bench.cluster.group(GROUP.as_bytes()));
}

#[test]
fn the_first_member_gets_everything_at_every_version() {
    for version in [0, 1] {
        let mut bench = Bench::with_topic(3);
        let member = Member::new("one");
        let request = member.request(&mut bench);
        let answer = bench.call(&request, version);
        assert_eq!(
            (answer.error_code, answer.member_epoch),
            (0, 2),
            "v{version}"
        );
        assert_eq!(answer.member_id.as_deref(), Some(&b"one"[..]));
        assert_eq!(answer.heartbeat_interval_ms, 5_000);
        let assigned = answer.assignment.unwrap().topic_partitions;
        assert_eq!(assigned.len(), 1);
        assert_eq!(assigned[0].partitions, [0, 1, 2]);
        let group = bench.cluster.group(GROUP.as_bytes()).unwrap();
        assert_eq!((group.protocol_type, group.state), ("consumer", "Stable"));
        assert_eq!(group.assignor, "uniform");
        assert_eq!(group.members[0].assigned.len(), 3);
    }
}

#[test]
fn version_0_gives_ids_and_version_1_wants_one() {
    let mut bench = Bench::with_topic(1);
    let nameless = Member::new("").request(&mut bench);
    assert_eq!(bench.call(&nameless, 1).error_code, INVALID_REQUEST);
    let answer = bench.call(&nameless, 0);
    assert_eq!(answer.error_code, 0);
    assert!(!answer.member_id.unwrap().is_empty());
}

#[test]
fn an_assignment_is_told_only_when_it_changes() {
    let mut bench = Bench::with_topic(2);
    let mut member = Member::new("one");
    assert!(member.beat(&mut bench).assignment.is_some());
    assert_eq!(member.beat(&mut bench).assignment, None);
    let full = ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 1_000,
        subscribed_topic_names: Some(member.topics.clone()),
        ..member.request(&mut bench)
    };
    let told = send(&mut bench, &full).assignment;
    assert!(told.is_some(), "who tells everything is told everything");
}

#[test]
fn partitions_are_given_up_before_another_gets_them() {
    let mut bench = Bench::with_topic(4);
    let mut one = Member::new("one");
    let mut two = Member::new("two");
    one.beat(&mut bench);
    let joined = two.beat(&mut bench);
    assert_eq!(joined.member_epoch, 3, "it is in the new epoch at once");
    assert_eq!(two.partitions(), [0i32; 0], "but has nothing yet");

    // A member that still has everything is told what it may keep, in its old epoch.
    let before = one.clone();
    let answer = one.beat(&mut bench);
    assert_eq!((answer.member_epoch, one.partitions()), (2, vec![0, 1]));
    two.beat(&mut bench);
    assert_eq!(two.partitions(), [0i32; 0]);
    let unrevoked = before.request(&mut bench);
    assert_eq!(
        send(&mut bench, &unrevoked).member_epoch,
        2,
        "and waits while it does"
    );
    two.beat(&mut bench);
    assert_eq!(two.partitions(), [0i32; 0]);

    let answer = one.beat(&mut bench);
    assert_eq!(answer.member_epoch, 3, "it has given up");
    two.beat(&mut bench);
    assert_eq!(two.partitions(), [2, 3]);
    let group = bench.cluster.group(GROUP.as_bytes()).unwrap();
    assert_eq!(group.state, "Stable");
}

#[test]
fn a_member_that_keeps_what_it_is_to_give_up_is_removed() {
    let mut bench = Bench::with_topic(2);
    let mut one = Member::new("one");
    let mut two = Member::new("two");
    one.beat(&mut bench);
    two.beat(&mut bench);
    let stubborn = one.request(&mut bench);
    for _ in 0..4 {
        assert_eq!(send(&mut bench, &stubborn).error_code, 0);
        bench.advance(REBALANCE_MS / 4);
    }
    assert_eq!(send(&mut bench, &stubborn).error_code, UNKNOWN_MEMBER);
    two.beat(&mut bench);
    assert_eq!(two.partitions(), [0, 1]);
}

#[test]
fn a_member_that_is_not_heard_of_is_removed() {
    let mut bench = Bench::with_topic(2);
    let mut members = [Member::new("one"), Member::new("two")];
    settle(&mut bench, &mut members);
    bench.advance(SESSION_MS - 1);
    assert_eq!(members[0].code(&mut bench), 0);
    bench.advance(1);
    assert_eq!(members[1].code(&mut bench), UNKNOWN_MEMBER);
    members[0].beat(&mut bench);
    assert_eq!(members[0].partitions(), [0, 1]);
}

#[test]
fn leaving_frees_partitions_at_once() {
    let mut bench = Bench::with_topic(2);
    let mut members = [Member::new("one"), Member::new("two")];
    settle(&mut bench, &mut members);
    let leave = ConsumerGroupHeartbeatRequest {
        member_epoch: -1,
        topic_partitions: None,
        ..members[1].request(&mut bench)
    };
    assert_eq!(send(&mut bench, &leave).member_epoch, -1);
    assert_eq!(send(&mut bench, &leave).error_code, UNKNOWN_MEMBER);
    members[0].beat(&mut bench);
    assert_eq!(members[0].partitions(), [0, 1]);
    assert_eq!(members[1].code(&mut bench), UNKNOWN_MEMBER);
}

#[test]
fn an_epoch_that_is_not_the_members_is_fenced() {
    let mut bench = Bench::with_topic(2);
    let mut one = Member::new("one");
    one.beat(&mut bench);
    one.epoch = 7;
    assert_eq!(one.code(&mut bench), FENCED_EPOCH);
    let mut two = Member::new("two");
    one.epoch = 2;
    two.beat(&mut bench);
    one.beat(&mut bench);
    // The answer that brings epoch 3 gets lost.
    let before = one.clone();
    one.beat(&mut bench);
    assert_eq!((before.epoch, one.epoch), (2, 3));
    assert_eq!(before.clone().code(&mut bench), 0, "asked again");
    one.epoch = 2;
    one.owned = vec![("t".into(), 0), ("t".into(), 1)];
    assert_eq!(
        one.code(&mut bench),
        FENCED_EPOCH,
        "it has what it was not given"
    );
    // It joins again and gets what is its own.
    one.epoch = 0;
    assert_eq!(one.code(&mut bench), 0);
    assert_eq!(one.partitions(), [0]);
}

#[test]
fn requests_that_make_no_sense_are_error_42() {
    let mut bench = Bench::with_topic(1);
    let sound = Member::new("one").request(&mut bench);
    let of = |change: fn(&mut ConsumerGroupHeartbeatRequest)| {
        let mut request = sound.clone();
        change(&mut request);
        request
    };
    let cases = [
        of(|r| r.group_id = Bytes::new()),
        of(|r| r.instance_id = Some(Bytes::new())),
        of(|r| r.rack_id = Some(Bytes::new())),
        of(|r| r.rebalance_timeout_ms = -1),
        of(|r| r.topic_partitions = None),
        of(|r| r.subscribed_topic_names = None),
        of(|r| r.member_epoch = -2),
        of(|r| r.member_epoch = -3),
    ];
    for request in cases {
        let answer = send(&mut bench, &request);
        assert_eq!(answer.error_code, INVALID_REQUEST, "{request:?}");
        assert!(answer.error_message.is_some());
    }
    let assignor = of(|r| r.server_assignor = Some("mine".into()));
    assert_eq!(send(&mut bench, &assignor).error_code, 112);
    let regex = of(|r| r.subscribed_topic_regex = Some("t(".into()));
    assert_eq!(send(&mut bench, &regex).error_code, 128);
    let stranger = of(|r| r.member_epoch = 1);
    assert_eq!(send(&mut bench, &stranger).error_code, 69);
    assert_eq!(send(&mut bench, &sound).error_code, 0);
}

#[test]
fn topics_that_appear_grow_and_go_are_noticed() {
    let mut bench = Bench::with_topic(1);
    let mut one = Member::new("one");
    one.topics.push("later".into());
    let request = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(one.topics.clone()),
        ..Member::new("one").request(&mut bench)
    };
    let answer = send(&mut bench, &request);
    assert_eq!(
        answer.assignment.unwrap().topic_partitions[0].partitions,
        [0]
    );
    bench.cluster.create_topic("later", 2).unwrap();
    one.epoch = answer.member_epoch;
    one.owned = vec![("t".into(), 0)];
    let answer = one.beat(&mut bench);
    assert_eq!((answer.member_epoch, one.owned.len()), (3, 3));
    bench.cluster.delete_topic("later");
    one.topics.pop();
    one.owned.truncate(1);
    one.owned = vec![("t".into(), 0)];
    one.beat(&mut bench);
    let answer = one.beat(&mut bench);
    assert_eq!(answer.member_epoch, 4);
    assert_eq!(one.owned, [("t".into(), 0)]);
}

#[test]
fn a_member_that_wants_other_topics_gets_them() {
    let mut bench = Bench::with_topic(2);
    bench.cluster.create_topic("u", 1).unwrap();
    let mut one = Member::new("one");
    one.beat(&mut bench);
    let other = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(vec!["u".into()]),
        ..one.request(&mut bench)
    };
    let answer = send(&mut bench, &other);
    assert_eq!(answer.member_epoch, 2, "first it has to give up the others");
    assert_eq!(answer.assignment.unwrap().topic_partitions, []);
    one.topics = vec!["u".into()];
    one.owned.clear();
    one.beat(&mut bench);
    assert_eq!(one.owned, [("u".into(), 0)]);
}

#[test]
fn the_range_assignor_gives_runs_of_partitions() {
    let mut bench = Bench::with_topic(5);
    let mut members = [Member::new("b"), Member::new("a")];
    for member in &mut members {
        let request = ConsumerGroupHeartbeatRequest {
            server_assignor: Some("range".into()),
            ..member.request(&mut bench)
        };
        let answer = send(&mut bench, &request);
        member.follow(&mut bench, &answer);
    }
    settle(&mut bench, &mut members);
    assert_eq!(members[1].partitions(), [0, 1, 2]);
    assert_eq!(members[0].partitions(), [3, 4]);
}

#[test]
fn a_static_member_keeps_its_partitions_while_it_is_away() {
    let mut bench = Bench::with_topic(4);
    let mut members = [Member::fixed("one", "a"), Member::fixed("two", "b")];
    settle(&mut bench, &mut members);
    let had = members[0].partitions();
    let mut early = Member::fixed("three", "a");
    assert_eq!(early.code(&mut bench), UNRELEASED, "the place is taken");

    let away = ConsumerGroupHeartbeatRequest {
        member_epoch: -2,
        ..members[0].request(&mut bench)
    };
    assert_eq!(send(&mut bench, &away).member_epoch, -2);
    assert_eq!(
        members[1].beat(&mut bench).assignment,
        None,
        "nobody is disturbed"
    );
    let mut again = Member::fixed("three", "a");
    assert_eq!(again.code(&mut bench), 0);
    assert_eq!(again.partitions(), had);
    assert_eq!(members[0].code(&mut bench), 82);
    assert_eq!(members[1].beat(&mut bench).assignment, None);
    assert_eq!(
        Member {
            epoch: 1,
            ..Member::fixed("x", "c")
        }
        .code(&mut bench),
        UNKNOWN_MEMBER
    );
}

#[test]
fn members_store_and_read_positions_in_their_epoch() {
    let mut bench = Bench::with_topic(1);
    let mut one = Member::new("one");
    one.beat(&mut bench);
    let mut store = |id: &'static str, epoch, version| {
        let request = OffsetCommitRequest {
            member_id: id.into(),
            generation_id_or_member_epoch: epoch,
            ..crate::group_offsets::committing(&[(0, 5)])
        };
        bench.call(&request, version).topics[0].partitions[0].error_code
    };
    assert_eq!(store("one", 2, 9), 0);
    assert_eq!(store("one", 1, 9), 113);
    assert_eq!(store("one", 3, 9), 113);
    assert_eq!(store("two", 2, 9), UNKNOWN_MEMBER);
    assert_eq!(store("", -1, 9), UNKNOWN_MEMBER);
    let mut read = |id: Option<&'static str>, member_epoch| {
        let group = OffsetFetchRequestGroup {
            group_id: GROUP.into(),
            member_id: id.map(Bytes::from),
            member_epoch,
            topics: None,
        };
        let request = OffsetFetchRequest {
            topics: Some(Vec::new()),
            groups: vec![group],
            ..Default::default()
        };
        bench.call(&request, 9).groups[0].error_code
    };
    assert_eq!(read(Some("one"), 2), 0);
    assert_eq!(read(Some("one"), 3), 113);
    assert_eq!(read(Some("two"), 1), UNKNOWN_MEMBER);
    assert_eq!(read(None, -1), 0);
}

#[test]
fn a_producer_stores_positions_in_the_members_epoch() {
    let mut bench = Bench::with_topic(1);
    let mut one = Member::new("one");
    one.beat(&mut bench);
    let client = crate::support::TxnClient::start(&mut bench, "tx");
    client.add_group(&mut bench, GROUP);
    for (generation_id, expected) in [(2, 0), (3, 22)] {
        let request = TxnOffsetCommitRequest {
            generation_id,
            member_id: "one".into(),
            ..client.storing(GROUP, 3)
        };
        let answer = bench.call(&request, 3);
        assert_eq!(answer.topics[0].partitions[0].error_code, expected);
    }
}

#[test]
fn a_group_is_of_one_protocol_as_long_as_it_has_members() {
    let mut bench = Bench::with_topic(1);
    let classic = stable(&mut bench, 1).remove(0);
    let mut one = Member::new("one");
    assert_eq!(one.code(&mut bench), 69);
    classic.leave(&mut bench);
    assert_eq!(one.code(&mut bench), 0);
    let mut other = ClassicMember::new(&mut bench, 200);
    let refused = bench.call_on(200, &other.joining(), 9);
    assert_eq!(refused.error_code, 23);
    assert_eq!(classic.heartbeat(&mut bench), UNKNOWN_MEMBER);
    let leave = ConsumerGroupHeartbeatRequest {
        member_epoch: -1,
        ..one.request(&mut bench)
    };
    send(&mut bench, &leave);
    other.ask_for_id(&mut bench);
    assert_eq!(other.join(&mut bench).generation_id, 1);
}

#[test]
fn only_the_coordinator_answers_and_faults_strike() {
    let mut bench = Bench::with_brokers(2, 1);
    let of = CoordinatorKey::Group;
    bench
        .cluster
        .set_coordinator(of, GROUP.as_bytes(), 1)
        .unwrap();
    let mut one = Member::new("one");
    assert_eq!(one.code(&mut bench), 16);
    bench
        .cluster
        .set_coordinator(of, GROUP.as_bytes(), 0)
        .unwrap();
    assert_eq!(one.code(&mut bench), 0);
    bench.cluster.fault(Fault {
        error: Some(FENCED_EPOCH),
        times: Some(1),
        ..Fault::on(ApiKey::ConsumerGroupHeartbeat)
    });
    let fenced = one.beat(&mut bench);
    assert_eq!(fenced.error_code, FENCED_EPOCH);
    assert_eq!(
        fenced.error_message.as_deref(),
        Some(&b"FENCED_MEMBER_EPOCH"[..])
    );
    assert_eq!(one.code(&mut bench), 0);
}

#[test]
fn the_clusters_owner_sets_the_intervals() {
    let mut bench = Bench::new(ClusterConfig {
        consumer_session_timeout_ms: 100,
        consumer_heartbeat_interval_ms: 20,
        ..Default::default()
    });
    bench.cluster.create_topic("t", 1).unwrap();
    let mut one = Member::new("one");
    assert_eq!(one.beat(&mut bench).heartbeat_interval_ms, 20);
    assert_eq!(bench.cluster.next_timeout(), Some(bench.now_ms + 100));
    bench.advance(100);
    assert_eq!(one.code(&mut bench), UNKNOWN_MEMBER);
}

/// What happens to one of the members.
#[derive(Debug, Clone, Copy)]
enum Event {
    Beat,
    Leave,
    /// It beats, but never hears the answer.
    Lose,
    JoinAgain,
}

proptest! {
    /// However members come, go and miss answers, no partition is ever in two hands, and in the end all are spread
    /// evenly.
    #[test]
    fn no_partition_is_ever_in_two_hands(
        partitions in 1..9i32,
        events in prop::collection::vec(
            (0..5usize, prop::sample::select(vec![
                Event::Beat, Event::Beat, Event::Beat, Event::Beat,
                Event::Leave, Event::Lose, Event::JoinAgain,
            ])),
            0..60,
        ),
    ) {
        let mut bench = Bench::with_topic(partitions);
        let mut members: Vec<Member> = (0..5).map(|n| Member::new(&format!("m{n}"))).collect();
        for (n, event) in events {
            let member = &mut members[n];
            match event {
                Event::Beat => {
                    if member.code(&mut bench) != 0 {
                        *member = Member::new(&format!("m{n}"));
                    }
                }
                Event::Lose => {
                    let request = member.request(&mut bench);
                    send(&mut bench, &request);
                }
                Event::JoinAgain => *member = Member::new(&format!("m{n}")),
                Event::Leave => {
                    let leave = ConsumerGroupHeartbeatRequest {
                        member_epoch: -1,
                        ..member.request(&mut bench)
                    };
                    send(&mut bench, &leave);
                    *member = Member::new(&format!("m{n}"));
                }
            }
            let mut held: Vec<i32> = members.iter().flat_map(Member::partitions).collect();
            let count = held.len();
            held.sort_unstable();
            held.dedup();
            prop_assert_eq!(held.len(), count, "in two hands: {:?}", members);
        }
        for member in &mut members {
            member.epoch = 0;
            member.owned.clear();
        }
        settle(&mut bench, &mut members);
        let mut shares: Vec<usize> = members.iter().map(|member| member.owned.len()).collect();
        shares.sort_unstable();
        prop_assert_eq!(shares.iter().sum::<usize>(), partitions as usize);
        prop_assert!(shares[4] - shares[0] <= 1, "{:?}", shares);
    }
}
