//! A connection and a cluster with nothing between them but a clock that the test moves.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_conn::{Config, Connection, Event, State, Token};
use kafka_mock::{Cluster, ClusterConfig, ConnId, FrameReader, Output, Reply};
use kafka_wire::{ApiKey, Message, Reader, Request, Writer};

/// Port of broker 0; the others follow.
pub const FIRST_PORT: u16 = 9000;

pub struct World {
    pub cluster: Cluster,
    pub connection: Connection,
    /// What the connection has told, apart from what the driver does itself.
    pub told: Vec<Event>,
    began: Instant,
    pub now_ms: u64,
    /// The connection's transport, as the cluster knows it.
    transport: Option<(ConnId, FrameReader)>,
    transports: ConnId,
    /// Most bytes that arrive at once.
    pub chunk: usize,
}

impl World {
    /// A cluster with topic "t" of two partitions, and a connection to nowhere.
    pub fn new(brokers: i32) -> Self {
        let mut cluster = Cluster::new(ClusterConfig {
            brokers,
            ..Default::default()
        });
        for broker in cluster.broker_ids().collect::<Vec<_>>() {
            cluster
                .set_address(broker, "mock", FIRST_PORT + broker as u16)
                .unwrap();
        }
        cluster.create_topic("t", 2).unwrap();
        Self {
            cluster,
            connection: Connection::new(Config {
                jitter_seed: 7,
                ..Default::default()
            }),
            told: Vec::new(),
            began: Instant::now(),
            now_ms: 0,
            transport: None,
            transports: 0,
            chunk: usize::MAX,
        }
    }

    /// Connects to a broker and waits until requests can be sent.
    pub fn connected_to(brokers: i32, broker: u16) -> Self {
        let mut world = Self::new(brokers);
        world.connect(broker);
        assert_eq!(world.connection.state(), State::Ready);
        assert_eq!(world.told(), [Event::Ready]);
        world
    }

    pub fn connect(&mut self, broker: u16) {
        let timeout = Some(Duration::from_secs(10));
        self.connection
            .connect("mock", FIRST_PORT + broker, timeout, self.now());
        self.settle();
    }

    pub fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.now_ms)
    }

    /// Sends a request at the newest version that both sides speak and that has the names of topics.
    pub fn send<R: Request>(&mut self, request: &R, deadline: Option<Duration>) -> Token {
        let most = R::API.names_topics_up_to();
        let version = self.connection.version_up_to(R::API, most).unwrap();
        let mut body = Writer::new();
        request.encode(&mut body, version).unwrap();
        let token = self
            .connection
            .send(R::API, version, body, deadline, self.now())
            .unwrap();
        self.settle();
        token
    }

    /// Sends a request and gives the answer, for which no time may have to pass.
    pub fn call<R: Request>(&mut self, request: &R) -> R::Response {
        let sent = self.send(request, None);
        match &self.told()[..] {
            [Event::Answer {
                token,
                version,
                body,
                ..
            }] if *token == sent => decode::<R>(*version, body),
            other => panic!("{}: {other:?}", R::API),
        }
    }

    pub fn told(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.told)
    }

    /// Moves the clock to wherever one of both wants to be woken; false if neither does.
    pub fn sleep(&mut self) -> bool {
        let client = self.connection.poll_timeout().map(|due| {
            let wait = due.saturating_duration_since(self.began);
            wait.as_nanos().div_ceil(1_000_000) as u64
        });
        let Some(due) = client.into_iter().chain(self.cluster.next_timeout()).min() else {
            return false;
        };
        self.now_ms = self.now_ms.max(due);
        self.connection.handle_timeout(self.now());
        self.settle();
        true
    }

    /// Moves bytes and events until nothing is left to move.
    pub fn settle(&mut self) {
        loop {
            let mut moved = self.take_events();
            moved |= self.carry_requests();
            moved |= self.carry_outputs();
            if !moved {
                return;
            }
        }
    }

    fn take_events(&mut self) -> bool {
        let mut moved = false;
        while let Some(event) = self.connection.poll_event() {
            moved = true;
            match event {
                Event::Dial { port, .. } => self.dial(i32::from(port - FIRST_PORT)),
                Event::Close => {
                    if let Some((conn, _)) = self.transport.take() {
                        self.cluster.close(conn);
                    }
                }
                other => self.told.push(other),
            }
        }
        moved
    }

    fn dial(&mut self, broker: i32) {
        self.transports += 1;
        match self.cluster.open(self.transports, broker) {
            Ok(()) => {
                self.transport = Some((self.transports, FrameReader::new()));
                self.connection.handle_dialed(self.now());
            }
            Err(_) => self
                .connection
                .handle_dial_failed("connect: refused", self.now()),
        }
    }

    fn carry_requests(&mut self) -> bool {
        let mut bytes = BytesMut::new();
        while let Some(transmit) = self.connection.poll_transmit() {
            let sent: usize = transmit
                .segments()
                .map(|segment| {
                    bytes.extend_from_slice(segment);
                    segment.len()
                })
                .sum();
            let now = self.now();
            self.connection.transmitted(sent, now);
        }
        let mut replies = Vec::new();
        if let Some((conn, frames)) = &mut self.transport {
            for chunk in bytes.chunks(self.chunk.min(bytes.len().max(1))) {
                frames.push(chunk);
                while let Some(frame) = frames.next_frame().unwrap() {
                    replies.push(self.cluster.handle(*conn, frame, self.now_ms));
                }
            }
        }
        for reply in replies {
            match reply {
                Reply::Answer(bytes) => self.arrive(&bytes),
                Reply::NoAnswer | Reply::Waiting => {}
                Reply::Close(_) => self.hang_up(),
            }
        }
        !bytes.is_empty()
    }

    fn carry_outputs(&mut self) -> bool {
        let outputs = self.cluster.poll(self.now_ms);
        for (conn, output) in &outputs {
            // What is meant for a transport of the past is lost, as on a real network.
            if self
                .transport
                .as_ref()
                .is_some_and(|(current, _)| current == conn)
            {
                match output {
                    Output::Answer(bytes) => self.arrive(bytes),
                    Output::Close(_) => self.hang_up(),
                }
            }
        }
        !outputs.is_empty()
    }

    fn arrive(&mut self, bytes: &Bytes) {
        for chunk in bytes.chunks(self.chunk.min(bytes.len())) {
            self.connection.handle_data(chunk, self.now());
        }
    }

    fn hang_up(&mut self) {
        self.transport = None;
        self.connection.handle_eof(self.now());
    }
}

pub fn decode<R: Request>(version: i16, body: &Bytes) -> R::Response {
    let mut reader = Reader::new(body.clone());
    let response = R::Response::decode(&mut reader, version).unwrap();
    assert!(
        reader.is_empty(),
        "bytes behind the answer of {} v{version}",
        R::API
    );
    response
}

/// Every API that the cluster serves.
pub const SERVED: [ApiKey; 8] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
];
