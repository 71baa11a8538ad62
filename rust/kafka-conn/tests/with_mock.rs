//! A connection and a cluster in one function: no socket between them, no clock above them.

mod support;

use std::collections::VecDeque;

use bytes::Bytes;
use kafka_conn::{Event, State, Token};
use kafka_mock::{Cluster, ClusterConfig, Fault, FrameReader, Output, Reply};
use kafka_wire::messages::fetch::{FetchPartition, FetchTopic};
use kafka_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use kafka_wire::messages::{FetchRequest, MetadataRequest, ProduceRequest};
use kafka_wire::records::{BatchBuilder, SealOptions};
use kafka_wire::{ApiKey, Codec, Reader, Request, Writer};
use support::*;

const BROKER: i32 = 0;

/// A connection to the only broker of a cluster, and what carries bytes between the two.
struct World {
    driver: Driver,
    cluster: Cluster,
    /// The open connection in the cluster; each attempt gets its own.
    socket: u64,
    frames: FrameReader,
    millis: u64,
    happened: VecDeque<Event>,
}

impl World {
    fn new(prepare: impl FnOnce(&mut Cluster)) -> Self {
        let mut cluster = Cluster::new(ClusterConfig::default());
        cluster.create_topic("orders", 1).expect("a new topic");
        prepare(&mut cluster);
        let (driver, frames) = (Driver::new(), FrameReader::new());
        let happened = VecDeque::new();
        let mut world = World {
            driver,
            cluster,
            socket: 0,
            frames,
            millis: 0,
            happened,
        };
        world.driver.connect();
        world.run();
        world
    }

    /// Carries bytes until nobody has anything to say.
    fn run(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(event) = self.driver.conn.poll_event() {
                quiet = false;
                self.act(event);
            }
            self.frames.push(&self.driver.take_sent());
            while let Some(frame) = self.frames.next_frame().expect("well framed") {
                quiet = false;
                match self.cluster.handle(self.socket, frame, self.millis) {
                    Reply::Answer(bytes) => self.driver.feed(&bytes),
                    Reply::Close(_) => self.driver.conn.handle_eof(self.driver.now),
                    Reply::NoAnswer | Reply::Waiting => {}
                }
            }
            for (socket, output) in self.cluster.poll(self.millis) {
                assert_eq!(socket, self.socket);
                quiet = false;
                match output {
                    Output::Answer(bytes) => self.driver.feed(&bytes),
                    Output::Close(_) => self.driver.conn.handle_eof(self.driver.now),
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Dial { .. } if self.cluster.is_up(BROKER) => {
                self.socket += 1;
                self.frames = FrameReader::new();
                self.cluster.open(self.socket, BROKER).expect("it is up");
                self.driver.conn.handle_dialed(self.driver.now);
            }
            Event::Dial { .. } => {
                self.driver
                    .conn
                    .handle_dial_failed("connect: refused", self.driver.now);
            }
            Event::Close => self.cluster.close(self.socket),
            other => self.happened.push_back(other),
        }
    }

    fn pass(&mut self, millis: u64) {
        self.millis += millis;
        self.driver.pass(ms(millis));
        self.run();
    }

    fn events(&mut self) -> Vec<Event> {
        self.happened.drain(..).collect()
    }

    fn send<R: Request>(&mut self, request: &R, deadline_ms: Option<u64>) -> Token {
        let version = by_name(&self.driver.conn, R::API);
        let mut body = Writer::new();
        request.encode(&mut body, version).expect("encodes");
        let (deadline, now) = (deadline_ms.map(ms), self.driver.now);
        let token = self
            .driver
            .conn
            .send(R::API, version, body, deadline, now)
            .expect("ready");
        self.run();
        token
    }

    /// The next event, which is the answer to a request.
    fn answer<R: Request>(&mut self, token: Token) -> R::Response {
        match self.happened.pop_front() {
            Some(Event::Answer {
                token: answered,
                api,
                version,
                body,
            }) => {
                assert_eq!((answered, api), (token, R::API));
                let mut reader = Reader::new(body);
                let answer = kafka_wire::Message::decode(&mut reader, version).expect("decodes");
                assert!(reader.is_empty());
                answer
            }
            other => panic!("{other:?}"),
        }
    }

    fn ask<R: Request>(&mut self, request: &R) -> R::Response {
        let token = self.send(request, None);
        self.answer::<R>(token)
    }
}

fn batch(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder
        .append(1_700_000_000_000, Some(b"key"), Some(value), [])
        .expect("fits");
    builder.seal(SealOptions {
        compression: Codec::None.into(),
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        transactional: false,
    })
}

fn produce(value: &[u8]) -> ProduceRequest {
    let partition_data = vec![PartitionProduceData {
        index: 0,
        records: Some(batch(value).into()),
    }];
    let topic = TopicProduceData {
        name: "orders".into(),
        partition_data,
        ..Default::default()
    };
    ProduceRequest {
        acks: 1,
        timeout_ms: 1000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

fn fetch(fetch_offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition {
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let partitions = vec![partition];
    let topic = FetchTopic {
        topic: "orders".into(),
        partitions,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        topics: vec![topic],
        ..Default::default()
    }
}

#[test]
fn the_handshake_learns_what_the_broker_speaks() {
    let mut world = World::new(|_| {});
    assert_eq!(world.events(), [Event::Ready]);
    assert!(world
        .driver
        .conn
        .api_versions()
        .is_some_and(|all| all.len() >= 8));
    let answer = world.ask(&MetadataRequest {
        topics: None,
        ..Default::default()
    });
    assert_eq!(answer.topics.len(), 1);
    assert_eq!(answer.topics[0].name.as_deref(), Some(&b"orders"[..]));
}

/// The version of a request that has the names of topics.
fn by_name(conn: &kafka_conn::Connection, api: ApiKey) -> i16 {
    conn.version_up_to(api, api.names_topics_up_to())
        .expect("a common version")
}

#[test]
fn a_batch_goes_out_and_comes_back_at_every_version_that_both_speak() {
    let by_name = |api: ApiKey| *api.versions().start()..=api.names_topics_up_to();
    for (produce_version, fetch_version) in
        by_name(ApiKey::Produce).flat_map(|p| by_name(ApiKey::Fetch).map(move |f| (p, f)))
    {
        let mut world = World::new(|cluster| {
            for (api, highest) in [
                (ApiKey::Produce, produce_version),
                (ApiKey::Fetch, fetch_version),
            ] {
                cluster
                    .set_api_versions(BROKER, api.key(), Some(0..=highest))
                    .expect("a broker");
            }
        });
        assert_eq!(world.events(), [Event::Ready]);
        assert_eq!(
            world.driver.conn.version(ApiKey::Produce),
            Ok(produce_version)
        );
        assert_eq!(world.driver.conn.version(ApiKey::Fetch), Ok(fetch_version));

        let produced = world.ask(&produce(&[7; 10_000]));
        let partition = &produced.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, 0));
        let fetched = world.ask(&fetch(0, 0));
        let records = fetched.responses[0].partitions[0]
            .records
            .clone()
            .expect("records");
        let sent = batch(&[7; 10_000]);
        // The CRC starts at byte 17; what stands before it is the broker's.
        assert_eq!(
            records[17..],
            sent[17..],
            "Produce {produce_version}, Fetch {fetch_version}"
        );
    }
}

#[test]
fn a_fetch_that_waits_is_answered_when_a_record_comes_and_holds_up_what_is_behind_it() {
    let mut world = World::new(|_| {});
    world.events();
    let waiting = world.send(&fetch(0, 60_000), None);
    let behind = world.send(
        &MetadataRequest {
            topics: None,
            ..Default::default()
        },
        None,
    );
    assert_eq!(world.driver.conn.pending(), 2);
    assert_eq!(world.events(), []);
    world
        .cluster
        .append(b"orders", 0, batch(b"late"))
        .expect("a batch");
    world.run();
    let fetched = world.answer::<FetchRequest>(waiting);
    assert!(fetched.responses[0].partitions[0].records.is_some());
    world.answer::<MetadataRequest>(behind);
    assert_eq!(world.driver.conn.pending(), 0);
}

#[test]
fn a_throttled_client_sends_nothing_and_loses_no_request_to_its_deadline() {
    let mut world = World::new(|cluster| {
        let fault = Fault::on(ApiKey::Metadata);
        cluster.fault(Fault {
            throttle_time_ms: 5000,
            times: Some(1),
            ..fault
        });
    });
    world.events();
    let metadata = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let answer = world.ask(&metadata);
    world
        .driver
        .conn
        .throttle(answer.throttle_time_ms, world.driver.now);
    let token = world.send(&metadata, Some(1000));
    world.pass(4999);
    assert_eq!(world.cluster.request_count(ApiKey::Metadata), 1);
    assert_eq!(world.events(), []);
    world.pass(1);
    assert_eq!(world.cluster.request_count(ApiKey::Metadata), 2);
    world.answer::<MetadataRequest>(token);
}

#[test]
fn a_broker_that_hangs_costs_the_connection_and_the_next_one_works() {
    let mut world = World::new(|cluster| {
        let fault = Fault::on(ApiKey::Produce);
        cluster.fault(Fault {
            hang: true,
            times: Some(1),
            ..fault
        });
    });
    world.events();
    world.driver.conn.set_auto_reconnect(true, ms(100));
    let token = world.send(&produce(b"lost"), Some(1000));
    world.pass(1000);
    let version = by_name(&world.driver.conn, ApiKey::Produce);
    let text = format!("request timed out: Produce v{version}");
    assert_eq!(
        world.events(),
        [error(&text), failed(token, &text), Event::Disconnected]
    );
    world.pass(100);
    assert_eq!(world.events(), [Event::Ready]);
    let produced = world.ask(&produce(b"found"));
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn a_broker_that_stops_is_found_again_when_it_is_back() {
    let mut world = World::new(|_| {});
    world.events();
    world.driver.conn.set_auto_reconnect(true, ms(100));
    let token = world.send(&fetch(0, 60_000), None);
    world.cluster.stop_broker(BROKER).expect("a broker");
    world.run();
    let reason = "connection closed by broker";
    assert_eq!(world.events(), [failed(token, reason), Event::Disconnected]);
    world.pass(100);
    assert_eq!(
        world.events(),
        [error("connect: refused"), Event::Disconnected]
    );
    world.cluster.start_broker(BROKER).expect("a broker");
    let wait = world.driver.timer().expect("a next attempt");
    world.pass(u64::try_from(wait.as_millis()).expect("short") + 1);
    assert_eq!(world.events(), [Event::Ready]);
    assert_eq!(world.driver.conn.state(), State::Ready);
}
