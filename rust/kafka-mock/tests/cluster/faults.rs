use crate::fetch::fetch;
use crate::support::{batch, only_answer, produce, read_answer, Bench};
use kafka_mock::{Fault, Output, Reply};
use kafka_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use kafka_wire::messages::delete_topics::DeleteTopicsRequest;
use kafka_wire::messages::find_coordinator::FindCoordinatorRequest;
use kafka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use kafka_wire::messages::produce::ProduceRequest;
use kafka_wire::messages::{ApiVersionsRequest, FetchRequest};
use kafka_wire::ApiKey;

fn once(fault: Fault) -> Fault {
    Fault {
        times: Some(1),
        ..fault
    }
}

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

/// Errors of a Produce to partitions 0 and 1.
fn produce_to_both(bench: &mut Bench) -> Vec<i16> {
    let mut request = produce(0, batch(&["a"]));
    let more = produce(1, batch(&["b"]))
        .topic_data
        .remove(0)
        .partition_data
        .remove(0);
    request.topic_data[0].partition_data.push(more);
    let answer = bench.call(&request, 9);
    answer.responses[0]
        .partition_responses
        .iter()
        .map(|p| p.error_code)
        .collect()
}

#[test]
fn an_error_strikes_so_many_requests_and_no_more() {
    let mut bench = Bench::with_topic(2);
    let twice = Fault {
        error: Some(6),
        times: Some(2),
        ..Fault::on(ApiKey::Produce)
    };
    bench.cluster.fault(twice);
    assert_eq!(produce_to_both(&mut bench), [6, 6]);
    bench.call(&metadata(), 9);
    assert_eq!(produce_to_both(&mut bench), [6, 6]);
    assert_eq!(
        bench.values(0).len() + bench.values(1).len(),
        0,
        "refused is not appended"
    );
    assert_eq!(produce_to_both(&mut bench), [0, 0]);
}

#[test]
fn an_error_strikes_only_what_it_names() {
    let mut bench = Bench::with_topic(2);
    let narrow = Fault {
        topic: Some("t".into()),
        partition: Some(1),
        error: Some(19),
        ..Fault::on(ApiKey::Produce)
    };
    bench.cluster.fault(narrow.clone());
    bench.cluster.fault(Fault {
        topic: Some("other".into()),
        error: Some(5),
        ..narrow.clone()
    });
    bench.cluster.fault(Fault {
        broker: Some(1),
        ..narrow
    });
    assert_eq!(produce_to_both(&mut bench), [0, 19]);
    assert_eq!(bench.produce_to(0, batch(&["c"])).error_code, 0);
    assert_eq!(bench.values(0), ["a", "c"]);
    bench.cluster.clear_faults();
    assert_eq!(produce_to_both(&mut bench), [0, 0]);
}

#[test]
fn a_request_that_does_not_name_the_topic_leaves_the_count_alone() {
    let mut bench = Bench::with_topic(2);
    let fault = Fault {
        partition: Some(1),
        error: Some(7),
        ..Fault::on(ApiKey::Produce)
    };
    bench.cluster.fault(once(fault));
    assert_eq!(bench.produce_to(0, batch(&["a"])).error_code, 0);
    assert_eq!(bench.produce_to(1, batch(&["a"])).error_code, 7);
    assert_eq!(bench.produce_to(1, batch(&["a"])).error_code, 0);
}

#[test]
fn an_error_can_come_although_the_records_were_appended() {
    let mut bench = Bench::with_topic(1);
    let fault = Fault {
        error: Some(7),
        applied: true,
        ..Fault::on(ApiKey::Produce)
    };
    bench.cluster.fault(fault);
    assert_eq!(bench.produce_to(0, batch(&["a"])).error_code, 7);
    assert_eq!(bench.values(0), ["a"]);
}

#[test]
fn every_api_can_be_told_to_fail() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.fault(Fault {
        error: Some(42),
        ..Default::default()
    });
    let api_versions = ApiVersionsRequest::default();
    assert_eq!(bench.call(&api_versions, 0).error_code, 42);
    assert_eq!(bench.call(&metadata(), 9).topics[0].error_code, 42);
    assert_eq!(bench.produce_to(0, batch(&["a"])).error_code, 42);
    assert_eq!(
        bench.call(&fetch(&[(0, 0)]), 12).responses[0].partitions[0].error_code,
        42
    );
    let partition = ListOffsetsPartition::default();
    let list = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![partition],
        }],
        ..Default::default()
    };
    assert_eq!(bench.call(&list, 5).topics[0].partitions[0].error_code, 42);
    let find = FindCoordinatorRequest::default();
    assert_eq!(bench.call(&find, 1).error_code, 42);
    let topic = CreatableTopic {
        name: "u".into(),
        num_partitions: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![topic],
        ..Default::default()
    };
    assert_eq!(bench.call(&create, 1).topics[0].error_code, 42);
    let delete = DeleteTopicsRequest {
        topic_names: vec!["t".into()],
        ..Default::default()
    };
    assert_eq!(bench.call(&delete, 1).responses[0].error_code, 42);
    assert_eq!(bench.cluster.topic_names().collect::<Vec<_>>(), ["t"]);
}

#[test]
fn metadata_can_fail_for_a_partition_or_as_a_whole() {
    let mut bench = Bench::with_topic(2);
    let fault = Fault {
        partition: Some(1),
        error: Some(5),
        ..Fault::on(ApiKey::Metadata)
    };
    bench.cluster.fault(once(fault));
    let answer = bench.call(&metadata(), 9);
    let errors: Vec<_> = answer.topics[0]
        .partitions
        .iter()
        .map(|p| p.error_code)
        .collect();
    assert_eq!((answer.topics[0].error_code, &errors[..]), (0, &[0, 5][..]));

    bench.cluster.fault(once(Fault {
        error: Some(129),
        ..Fault::on(ApiKey::Metadata)
    }));
    assert_eq!(bench.call(&metadata(), 13).error_code, 129);
    assert_eq!(bench.call(&metadata(), 13).error_code, 0);
}

#[test]
fn a_delay_keeps_the_answer_and_what_is_behind_it() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.fault(once(Fault {
        delay_ms: 200,
        ..Fault::on(ApiKey::Produce)
    }));
    let (reply, first) = bench.send(0, &produce(0, batch(&["a"])), 9);
    assert_eq!(reply, Reply::Waiting);
    let (_, second) = bench.send(0, &metadata(), 9);
    assert_eq!(bench.cluster.next_timeout(), Some(1_200));
    assert_eq!(bench.advance(199), []);
    let outputs = bench.advance(1);
    let [(0, Output::Answer(a)), (0, Output::Answer(b))] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    read_answer::<ProduceRequest>(a, 9, first);
    read_answer::<MetadataRequest>(b, 9, second);
}

#[test]
fn a_delayed_fetch_waits_for_data_after_its_delay() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.open(7, 0).unwrap();
    bench.cluster.fault(once(Fault {
        delay_ms: 200,
        ..Fault::on(ApiKey::Fetch)
    }));
    let (_, id) = bench.send(
        0,
        &FetchRequest {
            max_wait_ms: 500,
            ..fetch(&[(0, 0)])
        },
        12,
    );
    assert_eq!(bench.advance(200), []);
    bench.call_on(7, &produce(0, batch(&["a"])), 9);
    let frame = only_answer(&bench.poll(), 0);
    read_answer::<FetchRequest>(&frame, 12, id);
}

#[test]
fn a_dropped_connection_leaves_the_request_undone_or_done() {
    for applied in [false, true] {
        let mut bench = Bench::with_topic(1);
        bench.cluster.fault(once(Fault {
            drop: true,
            applied,
            ..Fault::on(ApiKey::Produce)
        }));
        let (reply, _) = bench.send(0, &produce(0, batch(&["a"])), 9);
        assert!(matches!(reply, Reply::Close(_)), "{reply:?}");
        assert_eq!(bench.values(0).len(), usize::from(applied));
        assert!(bench.cluster.connections_of(0).is_empty());
    }
}

#[test]
fn a_hanging_request_blocks_its_connection_and_no_other() {
    for applied in [false, true] {
        let mut bench = Bench::with_topic(1);
        bench.cluster.open(7, 0).unwrap();
        bench.cluster.fault(once(Fault {
            hang: true,
            applied,
            ..Fault::on(ApiKey::Produce)
        }));
        assert_eq!(
            bench.send(0, &produce(0, batch(&["a"])), 9).0,
            Reply::Waiting
        );
        assert_eq!(bench.send(0, &metadata(), 9).0, Reply::Waiting);
        assert_eq!(bench.advance(1_000_000), []);
        assert_eq!(bench.cluster.next_timeout(), None);
        assert_eq!(bench.values(0).len(), usize::from(applied));
        bench.call_on(7, &metadata(), 9);
    }
}

#[test]
fn throttling_is_told_where_the_version_can() {
    let mut bench = Bench::with_topic(1);
    bench.cluster.fault(Fault {
        throttle_time_ms: 250,
        ..Default::default()
    });
    assert_eq!(
        bench.call(&produce(0, batch(&["a"])), 9).throttle_time_ms,
        250
    );
    assert_eq!(bench.call(&fetch(&[(0, 0)]), 12).throttle_time_ms, 250);
    assert_eq!(bench.call(&metadata(), 9).throttle_time_ms, 250);
    assert_eq!(bench.call(&metadata(), 1).throttle_time_ms, 0);
}

#[test]
fn a_fetch_can_end_within_its_last_batch() {
    let mut bench = Bench::with_topic(1);
    bench.fill(&["a", "b"]);
    let log = bench.cluster.batches(b"t", 0).unwrap();
    bench.cluster.fault(once(Fault {
        truncate: true,
        ..Fault::on(ApiKey::Fetch)
    }));
    let mut lengths = (0..2).map(|_| {
        let answer = bench.call(&fetch(&[(0, 0)]), 12);
        answer.responses[0].partitions[0]
            .records
            .as_ref()
            .unwrap()
            .len()
    });
    assert_eq!(lengths.next(), Some(log[0].len() + log[1].len() / 2));
    assert_eq!(lengths.next(), Some(log[0].len() + log[1].len()));
}
