//! kafka-conn against the cluster, in one thread, without a socket and without a clock.

mod world;

use std::time::Duration;

use bytes::Bytes;
use kafka_conn::{Event, State};
use kafka_mock::Fault;
use kafka_wire::messages::fetch::{FetchPartition, FetchTopic};
use kafka_wire::messages::metadata::MetadataRequestTopic;
use kafka_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use kafka_wire::messages::{FetchRequest, MetadataRequest, ProduceRequest};
use kafka_wire::records::{
    BatchBuilder, RecordBatches, SealOptions, MAX_DECOMPRESSED_LEN, NO_HEADERS,
};
use kafka_wire::ApiKey;
use world::{decode, World, SERVED};

fn metadata() -> MetadataRequest {
    let topic = MetadataRequestTopic {
        name: Some("t".into()),
        ..Default::default()
    };
    MetadataRequest {
        topics: Some(vec![topic]),
        ..Default::default()
    }
}

fn produce(partition: i32, value: &str) -> ProduceRequest {
    let mut batch = BatchBuilder::new();
    batch
        .append(1, None, Some(value.as_bytes()), NO_HEADERS)
        .unwrap();
    let records = Some(batch.seal(SealOptions::default()).into());
    let data = PartitionProduceData {
        index: partition,
        records,
    };
    let topic = TopicProduceData {
        name: "t".into(),
        partition_data: vec![data],
        ..Default::default()
    };
    ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

fn fetch(partition: i32, fetch_offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: "t".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        ..Default::default()
    }
}

/// Error code and base offset of a Produce to one partition.
fn produced(world: &mut World, partition: i32, value: &str) -> (i16, i64) {
    let answer = world.call(&produce(partition, value));
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

fn values(records: Option<Bytes>) -> Vec<String> {
    let mut values = Vec::new();
    for batch in RecordBatches::new(records.unwrap_or_default()) {
        for record in &batch.unwrap().records(MAX_DECOMPRESSED_LEN).unwrap() {
            values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

fn fetched(world: &mut World, partition: i32) -> Vec<String> {
    let mut answer = world.call(&fetch(partition, 0, 0));
    values(answer.responses[0].partitions[0].records.take())
}

#[test]
fn a_client_finds_the_leader_produces_and_fetches() {
    let mut world = World::connected_to(3, 0);
    let answer = world.call(&metadata());
    let leader = answer.topics[0].partitions[1].leader_id;
    assert_eq!(
        produced(&mut world, 1, "lost").0,
        6,
        "broker 0 leads partition 0 only"
    );

    world.connect(leader as u16);
    assert_eq!(world.told(), [Event::Ready]);
    for (offset, value) in (0..).zip(["one", "two", "three"]) {
        assert_eq!(produced(&mut world, 1, value), (0, offset));
    }
    assert_eq!(fetched(&mut world, 1), ["one", "two", "three"]);
}

#[test]
fn answers_may_arrive_in_any_pieces() {
    for chunk in [1, 2, 3, 7, 64] {
        let mut world = World::new(1);
        world.chunk = chunk;
        world.connect(0);
        assert_eq!(world.told(), [Event::Ready]);
        assert_eq!(produced(&mut world, 0, "whole"), (0, 0));
        assert_eq!(fetched(&mut world, 0), ["whole"], "pieces of {chunk}");
    }
}

#[test]
fn both_sides_agree_on_every_version_that_a_broker_may_be_limited_to() {
    for api in SERVED.into_iter().filter(|&api| api != ApiKey::ApiVersions) {
        for version in *api.versions().start()..=api.names_topics_up_to().min(*api.versions().end())
        {
            let mut world = World::new(1);
            world
                .cluster
                .set_api_versions(0, api.key(), Some(version..=version))
                .unwrap();
            world.connect(0);
            assert_eq!(world.told(), [Event::Ready]);
            assert_eq!(world.connection.version(api), Ok(version), "{api}");
            assert_eq!(world.call(&metadata()).topics[0].partitions.len(), 2);
            assert_eq!(produced(&mut world, 0, "x"), (0, 0), "{api} v{version}");
            assert_eq!(fetched(&mut world, 0), ["x"], "{api} v{version}");
        }
    }
}

#[test]
fn a_version_that_is_too_new_for_the_client_is_refused_by_the_client() {
    let mut world = World::new(1);
    world
        .cluster
        .set_api_versions(0, ApiKey::Fetch.key(), Some(19..=20))
        .unwrap();
    world.connect(0);
    assert!(world.connection.version(ApiKey::Fetch).is_err());
    assert_eq!(world.cluster.request_count(ApiKey::Fetch), 0);
}

#[test]
fn a_waiting_fetch_is_answered_when_its_time_is_over_and_not_before() {
    let mut world = World::connected_to(1, 0);
    let token = world.send(&fetch(0, 0, 500), None);
    assert_eq!(world.told(), []);
    assert!(world.sleep());
    assert_eq!(world.now_ms, 500);
    let told = world.told();
    let [Event::Answer {
        token: answered,
        version,
        body,
        ..
    }] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(*answered, token);
    let answer = decode::<FetchRequest>(*version, body);
    assert_eq!(answer.responses[0].partitions[0].high_watermark, 0);
    assert!(!world.sleep(), "nobody waits for anything any more");
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let mut world = World::connected_to(1, 0);
    let sent = [
        world.send(&fetch(0, 0, 500), None),
        world.send(&metadata(), None),
        world.send(&produce(0, "x"), None),
        world.send(&fetch(0, 0, 500), None),
    ];
    assert_eq!(world.connection.pending(), 4);
    world.sleep();
    let answered: Vec<_> = world
        .told()
        .into_iter()
        .map(|event| match event {
            Event::Answer { token, .. } => token,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answered, sent);
}

#[test]
fn a_request_that_is_never_answered_ends_the_connection_at_its_deadline() {
    let mut world = World::connected_to(1, 0);
    world.cluster.fault(Fault {
        hang: true,
        ..Fault::on(ApiKey::Metadata)
    });
    let token = world.send(&metadata(), Some(Duration::from_millis(300)));
    assert!(world.sleep());
    assert_eq!(world.now_ms, 300);
    let reason = "request timed out: Metadata v13".to_string();
    let expected = [
        Event::Error(reason.clone()),
        Event::Failed { token, reason },
        Event::Disconnected,
    ];
    assert_eq!(world.told(), expected);
    assert!(world.cluster.connections_of(0).is_empty());
}

#[test]
fn a_broker_that_drops_the_connection_fails_what_is_pending() {
    for applied in [false, true] {
        let mut world = World::connected_to(1, 0);
        world.cluster.fault(Fault {
            drop: true,
            applied,
            ..Fault::on(ApiKey::Produce)
        });
        let token = world.send(&produce(0, "x"), None);
        let reason = "connection closed by broker".to_string();
        assert_eq!(
            world.told(),
            [Event::Failed { token, reason }, Event::Disconnected]
        );
        let records = world.cluster.records(b"t", 0).unwrap();
        assert_eq!(records.len(), usize::from(applied));
    }
}

#[test]
fn a_stopped_broker_is_found_again_when_it_is_back() {
    let mut world = World::connected_to(1, 0);
    world
        .connection
        .set_auto_reconnect(true, Duration::from_millis(100));
    world.cluster.stop_broker(0).unwrap();
    world.settle();
    assert_eq!(world.told(), [Event::Disconnected]);

    assert!(world.sleep());
    assert_eq!(
        world.now_ms, 100,
        "the first attempt follows after exactly the delay"
    );
    let refused = Event::Error("connect: refused".into());
    assert_eq!(world.told(), [refused, Event::Disconnected]);

    world.cluster.start_broker(0).unwrap();
    assert!(world.sleep());
    assert_eq!(world.connection.state(), State::Ready);
    assert_eq!(world.told(), [Event::Ready]);
    assert_eq!(world.call(&metadata()).brokers.len(), 1);
}

#[test]
fn a_delayed_handshake_runs_into_the_clients_timeout() {
    let mut world = World::new(1);
    world.cluster.fault(Fault {
        delay_ms: 60_000,
        ..Fault::on(ApiKey::ApiVersions)
    });
    world.connect(0);
    assert_eq!(world.connection.state(), State::ApiVersions);
    assert!(world.sleep());
    assert_eq!(world.now_ms, 10_000);
    let expected = [
        Event::Error("handshake timeout".into()),
        Event::Disconnected,
    ];
    assert_eq!(world.told(), expected);
}

#[test]
fn a_refused_handshake_is_an_error() {
    let mut world = World::new(1);
    world.cluster.fault(Fault {
        error: Some(58),
        ..Fault::on(ApiKey::ApiVersions)
    });
    world.connect(0);
    let expected = [
        Event::Error("ApiVersions error: 58".into()),
        Event::Disconnected,
    ];
    assert_eq!(world.told(), expected);
}

#[test]
fn a_truncated_fetch_gives_the_whole_batches_and_the_rest_next_time() {
    let mut world = World::connected_to(1, 0);
    for value in ["one", "two"] {
        produced(&mut world, 0, value);
    }
    world.cluster.fault(Fault {
        truncate: true,
        times: Some(1),
        ..Fault::on(ApiKey::Fetch)
    });
    assert_eq!(fetched(&mut world, 0), ["one"]);
    assert_eq!(fetched(&mut world, 0), ["one", "two"]);
}
