//! The positions of groups: storing and reading them.

use crate::members::{stable, Member, GROUP};
use crate::support::{Bench, TxnClient};
use kafka_mock::{CoordinatorKey, Fault};
use kafka_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_wire::messages::TxnOffsetCommitRequest;
use kafka_wire::ApiKey;

const UNSTABLE: i16 = 88;

/// A commit of these offsets of partitions of "t", by somebody who is no member.
pub fn committing(offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partition =
        |&(partition_index, committed_offset): &(i32, i64)| OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_metadata: Some("m".into()),
            ..Default::default()
        };
    OffsetCommitRequest {
        group_id: GROUP.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: offsets.iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn commit(bench: &mut Bench, request: &OffsetCommitRequest, version: i16) -> Vec<i16> {
    let answer = bench.call(request, version);
    let partitions = answer.topics[0].partitions.iter();
    partitions.map(|partition| partition.error_code).collect()
}

fn as_member(member: &Member, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    OffsetCommitRequest {
        generation_id_or_member_epoch: member.generation,
        member_id: member.id.clone(),
        group_instance_id: member.instance_id.clone(),
        ..committing(offsets)
    }
}

/// What one partition was answered with.
type Told = (i32, i64, i16);

/// The error of the group, and what is told of partitions of "t"; `None` asks for all.
fn read(bench: &mut Bench, asked: Option<&[i32]>, stable: bool, version: i16) -> (i16, Vec<Told>) {
    let mut request = OffsetFetchRequest {
        require_stable: stable,
        topics: None,
        ..Default::default()
    };
    if version >= 8 {
        request.topics = Some(Vec::new());
        request.groups = vec![OffsetFetchRequestGroup {
            group_id: GROUP.into(),
            topics: asked.map(|partitions| {
                vec![OffsetFetchRequestTopics {
                    name: "t".into(),
                    partition_indexes: partitions.to_vec(),
                    ..Default::default()
                }]
            }),
            ..Default::default()
        }];
        let answer = bench.call(&request, version);
        let group = &answer.groups[0];
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
        let told = partitions.map(|p| (p.partition_index, p.committed_offset, p.error_code));
        return (group.error_code, told.collect());
    }
    request.group_id = GROUP.into();
    request.topics = asked.map(|partitions| {
        vec![OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: partitions.to_vec(),
        }]
    });
    let answer = bench.call(&request, version);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let told = partitions.map(|p| (p.partition_index, p.committed_offset, p.error_code));
    (answer.error_code, told.collect())
}

#[test]
fn what_was_stored_is_read_again_at_every_version() {
    for version in 2..=9 {
        let mut bench = Bench::with_topic(3);
        let stored = commit(&mut bench, &committing(&[(0, 5), (2, 7)]), version);
        assert_eq!(stored, [0, 0], "v{version}");
        for version in 1..=9 {
            let told = read(&mut bench, Some(&[0, 1, 2]), false, version);
            assert_eq!(
                told,
                (0, vec![(0, 5, 0), (1, -1, 0), (2, 7, 0)]),
                "v{version}"
            );
        }
        for version in 2..=9 {
            let all = read(&mut bench, None, false, version);
            assert_eq!(all, (0, vec![(0, 5, 0), (2, 7, 0)]), "v{version}");
        }
    }
    let mut bench = Bench::with_topic(1);
    commit(&mut bench, &committing(&[(0, 5)]), 6);
    let (_, stored) = bench
        .cluster
        .committed_offsets(GROUP.as_bytes())
        .next()
        .unwrap();
    assert_eq!((stored.offset, &stored.metadata[..]), (5, &b"m"[..]));
}

#[test]
fn a_partition_that_does_not_exist_and_long_metadata_are_refused() {
    let mut bench = Bench::with_topic(1);
    assert_eq!(
        commit(&mut bench, &committing(&[(0, 1), (9, 1)]), 8),
        [0, 3]
    );
    let mut long = committing(&[(0, 2)]);
    long.topics[0].partitions[0].committed_metadata = Some(vec![b'x'; 4097].into());
    assert_eq!(commit(&mut bench, &long, 8), [12]);
    assert_eq!(read(&mut bench, Some(&[0]), false, 8).1, [(0, 1, 0)]);
}

#[test]
fn members_store_in_their_generation_and_others_not_at_all() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 1);
    let mut commit_of = |member: &Member| commit(&mut bench, &as_member(member, &[(0, 1)]), 8);
    assert_eq!(commit_of(&members[0]), [0]);
    members[0].generation += 1;
    assert_eq!(commit_of(&members[0]), [22]);
    members[0].generation -= 1;
    let id = std::mem::replace(&mut members[0].id, "stranger".into());
    assert_eq!(commit_of(&members[0]), [25]);
    members[0].id = id;
    assert_eq!(commit(&mut bench, &committing(&[(0, 9)]), 8), [25]);
    members[0].leave(&mut bench);
    assert_eq!(
        commit(&mut bench, &as_member(&members[0], &[(0, 9)]), 8),
        [25]
    );
    assert_eq!(commit(&mut bench, &committing(&[(0, 2)]), 8), [0]);
    assert_eq!(read(&mut bench, Some(&[0]), false, 8).1, [(0, 2, 0)]);
}

#[test]
fn a_generation_of_a_group_that_never_was_is_error_22_or_69() {
    let mut bench = Bench::with_topic(1);
    let request = OffsetCommitRequest {
        generation_id_or_member_epoch: 3,
        member_id: "m".into(),
        ..committing(&[(0, 1)])
    };
    assert_eq!(commit(&mut bench, &request, 8), [22]);
    assert_eq!(commit(&mut bench, &request, 9), [69]);
    let nobody = committing(&[(0, 1)]);
    assert_eq!(commit(&mut bench, &nobody, 9), [0]);
    assert_eq!(
        commit(&mut bench, &request, 9),
        [25],
        "now there is a group"
    );
}

#[test]
fn storing_is_allowed_while_members_join_and_not_while_the_leader_assigns() {
    let mut bench = Bench::with_topic(1);
    let mut members = stable(&mut bench, 2);
    let waiting = members[0].start_join(&mut bench);
    assert_eq!(
        commit(&mut bench, &as_member(&members[1], &[(0, 1)]), 8),
        [0]
    );
    members[1].join(&mut bench);
    members[0].joined(&waiting.answer_in(&bench.poll()).unwrap());
    assert_eq!(
        commit(&mut bench, &as_member(&members[1], &[(0, 2)]), 8),
        [27]
    );
}

#[test]
fn storing_keeps_a_member_alive() {
    let mut bench = Bench::with_topic(1);
    let members = stable(&mut bench, 1);
    for _ in 0..4 {
        bench.advance(crate::members::SESSION_MS - 1);
        assert_eq!(
            commit(&mut bench, &as_member(&members[0], &[(0, 1)]), 8),
            [0]
        );
    }
}

#[test]
fn a_fenced_static_member_stores_nothing() {
    let mut bench = Bench::with_topic(1);
    let mut members = vec![Member::fixed(&mut bench, 100, "one")];
    crate::members::settle(&mut bench, &mut members);
    let again = Member::fixed(&mut bench, 110, "one");
    bench.call_on(110, &again.joining(), 9);
    assert_eq!(
        commit(&mut bench, &as_member(&members[0], &[(0, 1)]), 8),
        [82]
    );
}

#[test]
fn positions_of_an_open_transaction_are_unstable() {
    let mut bench = Bench::with_topic(2);
    commit(&mut bench, &committing(&[(0, 1), (1, 1)]), 8);
    let client = TxnClient::start(&mut bench, "tx");
    client.add_group(&mut bench, GROUP);
    client.commit_offset(&mut bench, GROUP, 5);
    for version in [7, 8, 9] {
        let told = read(&mut bench, Some(&[0, 1]), true, version);
        assert_eq!(told, (0, vec![(0, -1, UNSTABLE), (1, 1, 0)]), "v{version}");
        assert_eq!(read(&mut bench, Some(&[0]), false, version).1, [(0, 1, 0)]);
    }
    client.end(&mut bench, true);
    assert_eq!(read(&mut bench, Some(&[0]), true, 8).1, [(0, 5, 0)]);
}

#[test]
fn a_member_stores_within_a_transaction_only_in_its_generation() {
    let mut bench = Bench::with_topic(1);
    let members = stable(&mut bench, 1);
    let client = TxnClient::start(&mut bench, "tx");
    client.add_group(&mut bench, GROUP);
    let mut code = |generation_id: i32, id: &str| {
        let request = TxnOffsetCommitRequest {
            generation_id,
            member_id: bytes::Bytes::copy_from_slice(id.as_bytes()),
            ..client.storing(GROUP, 3)
        };
        bench.call(&request, 3).topics[0].partitions[0].error_code
    };
    let id = std::str::from_utf8(&members[0].id).unwrap();
    assert_eq!(code(1, id), 0);
    assert_eq!(code(0, id), 22);
    assert_eq!(code(1, "stranger"), 25);
    assert_eq!(code(-1, ""), 0, "a producer that is no member");
}

#[test]
fn another_broker_than_the_coordinator_is_error_16() {
    let mut bench = Bench::with_brokers(2, 1);
    let of = CoordinatorKey::Group;
    bench
        .cluster
        .set_coordinator(of, GROUP.as_bytes(), 1)
        .unwrap();
    assert_eq!(commit(&mut bench, &committing(&[(0, 1)]), 8), [16]);
    assert_eq!(
        read(&mut bench, Some(&[0]), false, 1),
        (0, vec![(0, -1, 16)])
    );
    assert_eq!(read(&mut bench, Some(&[0]), false, 2), (16, vec![]));
    assert_eq!(read(&mut bench, Some(&[0]), false, 8), (16, vec![]));
}

#[test]
fn a_deleted_topic_has_no_positions() {
    let mut bench = Bench::with_topic(1);
    commit(&mut bench, &committing(&[(0, 1)]), 8);
    bench.cluster.delete_topic("t");
    assert_eq!(read(&mut bench, None, false, 8), (0, vec![]));
}

#[test]
fn faults_strike_partitions_or_the_group() {
    let mut bench = Bench::with_topic(2);
    let once = |api, error| Fault {
        error: Some(error),
        times: Some(1),
        ..Fault::on(api)
    };
    bench.cluster.fault(Fault {
        partition: Some(1),
        ..once(ApiKey::OffsetCommit, 29)
    });
    let request = committing(&[(0, 1), (1, 1)]);
    assert_eq!(commit(&mut bench, &request, 8), [0, 29]);
    bench.cluster.fault(once(ApiKey::OffsetCommit, 14));
    assert_eq!(commit(&mut bench, &request, 8), [14, 14]);
    bench.cluster.fault(once(ApiKey::OffsetFetch, 14));
    assert_eq!(read(&mut bench, Some(&[0, 1]), false, 8), (14, vec![]));
    bench.cluster.fault(Fault {
        partition: Some(1),
        ..once(ApiKey::OffsetFetch, 88)
    });
    let told = read(&mut bench, Some(&[0, 1]), false, 8);
    assert_eq!(told, (0, vec![(0, 1, 0), (1, -1, 88)]));
}
