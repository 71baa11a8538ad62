//! A connection with a hand-driven clock, and a scripted broker at its other end.
#![allow(dead_code)] // each test file uses a part of it

pub mod sasl;
pub mod tls;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_conn::{Config, Connection, Event, State, Token};
use kafka_wire::messages::api_versions::ApiVersion;
use kafka_wire::messages::{ApiVersionsResponse, MetadataRequest};
use kafka_wire::{ApiKey, Message, Reader, RequestHeader, Writer};

pub const HOST: &str = "kafka.example";
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The connection under test and its driver.
pub struct Driver {
    pub conn: Connection,
    pub now: Instant,
    sent: BytesMut,
}

/// A request as the broker sees it.
#[derive(Debug)]
pub struct Received {
    pub header: RequestHeader,
    pub body: Bytes,
}

pub fn config() -> Config {
    Config {
        jitter_seed: 7,
        ..Config::default()
    }
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Driver {
    pub fn new() -> Self {
        let (conn, now) = (Connection::new(config()), Instant::now());
        Driver {
            conn,
            now,
            sent: BytesMut::new(),
        }
    }

    /// Told to connect, with the dial under way.
    pub fn dialing() -> Self {
        let mut driver = Self::new();
        driver.connect();
        assert_eq!(driver.events(), [dial()]);
        driver
    }

    /// Connected, with ApiVersions sent.
    pub fn shaking_hands() -> Self {
        let mut driver = Self::dialing();
        driver.conn.handle_dialed(driver.now);
        assert_eq!(driver.events(), []);
        assert_eq!(driver.received().len(), 1);
        driver
    }

    /// Ready, with a broker that advertised nothing.
    pub fn ready() -> Self {
        Self::ready_with(&[])
    }

    /// Ready, with a broker that advertised these `(API key, lowest, highest)`.
    pub fn ready_with(advertised: &[(i16, i16, i16)]) -> Self {
        let mut driver = Self::shaking_hands();
        driver.feed(&api_versions(1, advertised));
        assert_eq!(driver.events(), [Event::Ready]);
        driver
    }

    /// In each state that has a socket.
    pub fn with_socket() -> [Self; 2] {
        [Self::shaking_hands(), Self::ready()]
    }

    pub fn connect(&mut self) {
        self.conn
            .connect("kafka.example", 9092, Some(TIMEOUT), self.now);
    }

    /// Back to ready after a dial was asked for.
    pub fn shake_hands(&mut self) {
        self.conn.handle_dialed(self.now);
        let first = self.received()[0].header.correlation_id;
        self.feed(&api_versions(first, &[]));
        assert_eq!(self.events(), [Event::Ready]);
    }

    /// What there is to pass on. Passwords are salted on the way.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.event()).collect()
    }

    /// The next thing to pass on.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            match self.conn.poll_event() {
                Some(Event::SaltingNeeded { id, salting }) => {
                    self.conn.provide_salted(id, &salting.run(), self.now);
                }
                event => return event,
            }
        }
    }

    /// Sends a Metadata request at its fallback version.
    pub fn send(&mut self, deadline: Option<Duration>) -> Token {
        let (api, version) = (ApiKey::Metadata, ApiKey::Metadata.fallback_version());
        self.conn
            .send(api, version, metadata_body(), deadline, self.now)
            .expect("ready")
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.conn.handle_data(bytes, self.now);
    }

    /// Lets time pass and says so.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.conn.handle_timeout(self.now);
    }

    /// The time until the connection wants to hear of the time.
    pub fn timer(&self) -> Option<Duration> {
        self.conn
            .poll_timeout()
            .map(|at| at.saturating_duration_since(self.now))
    }

    /// Takes what waits to be sent, as bytes.
    pub fn take_sent(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(transmit) = self.conn.poll_transmit() {
            transmit
                .segments()
                .for_each(|segment| bytes.extend_from_slice(segment));
            assert_eq!(transmit.len(), bytes.len());
        }
        self.conn.transmitted(bytes.len(), self.now);
        bytes
    }

    /// Takes what waits to be sent, as requests.
    pub fn received(&mut self) -> Vec<Received> {
        let bytes = self.take_sent();
        self.sent.extend_from_slice(&bytes);
        let mut requests = Vec::new();
        while let Some(size) = self
            .sent
            .first_chunk()
            .map(|size| i32::from_be_bytes(*size))
        {
            let length = 4 + usize::try_from(size).expect("a size");
            if self.sent.len() < length {
                break;
            }
            let mut reader = Reader::new(self.sent.split_to(length).freeze().slice(4..));
            let header = RequestHeader::decode(&mut reader).expect("a request header");
            requests.push(Received {
                header,
                body: reader.into_rest(),
            });
        }
        requests
    }
}

pub fn dial() -> Event {
    Event::Dial {
        host: "kafka.example".into(),
        port: 9092,
    }
}

pub fn error(text: &str) -> Event {
    Event::Error(text.into())
}

pub fn failed(token: Token, reason: &str) -> Event {
    Event::Failed {
        token,
        reason: reason.into(),
    }
}

pub fn answer(token: Token, body: &'static [u8]) -> Event {
    let (api, version) = (ApiKey::Metadata, ApiKey::Metadata.fallback_version());
    Event::Answer {
        token,
        api,
        version,
        body: Bytes::from_static(body),
    }
}

/// What a loss with an error looks like when nothing was unanswered.
pub fn lost(text: &str) -> [Event; 3] {
    [Event::Close, error(text), Event::Disconnected]
}

pub fn metadata_body() -> Writer {
    let mut body = Writer::new();
    let version = ApiKey::Metadata.fallback_version();
    MetadataRequest::default()
        .encode(&mut body, version)
        .expect("encodes");
    body
}

/// A response with an unflexible header.
pub fn response(correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let size = i32::try_from(4 + body.len()).expect("short");
    let mut bytes = size.to_be_bytes().to_vec();
    bytes.extend_from_slice(&correlation_id.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

pub fn api_versions_body(advertised: &[(i16, i16, i16)]) -> Vec<u8> {
    let api_keys = advertised
        .iter()
        .map(|&(api_key, min_version, max_version)| ApiVersion {
            api_key,
            min_version,
            max_version,
        })
        .collect();
    let answer = ApiVersionsResponse {
        api_keys,
        ..Default::default()
    };
    let mut body = Writer::new();
    answer.encode(&mut body, 0).expect("encodes");
    body.into_bytes().to_vec()
}

pub fn api_versions(correlation_id: i32, advertised: &[(i16, i16, i16)]) -> Vec<u8> {
    response(correlation_id, &api_versions_body(advertised))
}

/// The states in which a connection or an attempt exists, each with its number.
pub fn every_active_state() -> Vec<(Driver, State)> {
    vec![
        (Driver::dialing(), State::Connecting),
        (Driver::shaking_hands(), State::ApiVersions),
        (Driver::ready(), State::Ready),
    ]
}
