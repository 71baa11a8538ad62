//! What holds whatever a broker sends and whatever a driver does.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_conn::{Event, State, Token};
use kafka_wire::ApiKey;
use proptest::collection::vec;
use proptest::prelude::*;
use support::*;

/// One thing that happens to a connection.
#[derive(Clone, Debug)]
enum Happening {
    Connect,
    Disconnect,
    AutoReconnect(bool),
    Dialed,
    DialFailed,
    Send(Option<u16>),
    SendOneway,
    SendUnanswered(Option<u16>),
    Throttle(i32),
    /// The broker answers the oldest request it has not answered, with this body.
    Answered(Vec<u8>),
    /// The broker sends a piece of an answer.
    HalfAnswered,
    Garbage(Vec<u8>),
    Eof,
    IoError,
    Written(u8),
    Passed(u16),
    /// The driver takes this many events before the next thing happens.
    Polled(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        2 => Just(Connect),
        1 => Just(Disconnect),
        1 => any::<bool>().prop_map(AutoReconnect),
        5 => Just(Dialed),
        1 => Just(DialFailed),
        10 => proptest::option::of(any::<u16>()).prop_map(Send),
        1 => Just(SendOneway),
        3 => proptest::option::of(any::<u16>()).prop_map(SendUnanswered),
        1 => (-5..3000i32).prop_map(Throttle),
        15 => vec(any::<u8>(), 0..20).prop_map(Answered),
        1 => Just(HalfAnswered),
        1 => vec(any::<u8>(), 0..20).prop_map(Garbage),
        1 => Just(Eof),
        1 => Just(IoError),
        4 => any::<u8>().prop_map(Written),
        3 => any::<u16>().prop_map(Passed),
        15 => (0..5u8).prop_map(Polled),
    ]
}

/// A driver that keeps account of what it was told.
struct Accountant {
    driver: Driver,
    /// The answer or failure of every request that was accepted.
    ends: BTreeMap<Token, Option<Event>>,
    /// Whether the driver has a socket or is making one, by the events it has seen.
    busy: bool,
    /// Correlation ids that the broker can still answer.
    answerable: std::collections::VecDeque<i32>,
    next_id: i32,
}

impl Accountant {
    fn new() -> Self {
        let (driver, ends) = (Driver::new(), BTreeMap::new());
        let answerable = Default::default();
        Accountant {
            driver,
            ends,
            busy: false,
            answerable,
            next_id: 1,
        }
    }

    fn happens(&mut self, happening: Happening) {
        let now = self.driver.now;
        match happening {
            Happening::Connect => self.driver.connect(),
            Happening::Disconnect => self.driver.conn.disconnect(now),
            Happening::AutoReconnect(on) => self.driver.conn.set_auto_reconnect(on, ms(100)),
            Happening::Dialed => self.dialed(),
            Happening::DialFailed => self.driver.conn.handle_dial_failed("connect: no", now),
            Happening::Send(deadline) => self.send(deadline),
            Happening::SendOneway => {
                let sent = self
                    .driver
                    .conn
                    .send_oneway(ApiKey::Produce, 3, metadata_body(), now);
                self.next_id += i32::from(sent.is_ok());
            }
            Happening::SendUnanswered(patience) => {
                let patience = patience.map(|time| ms(time.into()));
                let sent = self.driver.conn.send_unanswered(
                    ApiKey::Produce,
                    3,
                    metadata_body(),
                    patience,
                    now,
                );
                if let Ok(token) = sent {
                    self.ends.insert(token, None);
                    self.next_id += 1;
                }
            }
            Happening::Throttle(time) => self.driver.conn.throttle(time, now),
            Happening::Answered(body) => {
                let Some(id) = self.answerable.pop_front() else {
                    return;
                };
                let bytes = if id == 1 {
                    api_versions(1, &[])
                } else {
                    response(id, &body)
                };
                self.driver.feed(&bytes);
            }
            Happening::HalfAnswered => self.driver.feed(&response(1, b"half")[..7]),
            Happening::Garbage(bytes) => self.driver.feed(&bytes),
            Happening::Eof => self.driver.conn.handle_eof(now),
            Happening::IoError => self.driver.conn.handle_io_error("read: no", now),
            Happening::Written(n) => self.driver.conn.transmitted(n.into(), self.driver.now),
            Happening::Passed(time) => self.driver.pass(ms(time.into())),
            Happening::Polled(n) => (0..n).for_each(|_| drop(self.poll())),
        }
    }

    fn dialed(&mut self) {
        let before = self.driver.conn.state();
        self.driver.conn.handle_dialed(self.driver.now);
        if before != self.driver.conn.state() {
            self.answerable = [1].into();
            self.next_id = 2;
        }
    }

    fn send(&mut self, deadline: Option<u16>) {
        let now = self.driver.now;
        let deadline = deadline.map(|time| ms(time.into()));
        let sent = self
            .driver
            .conn
            .send(ApiKey::Metadata, 1, metadata_body(), deadline, now);
        assert_eq!(sent.is_ok(), self.driver.conn.state() == State::Ready);
        if let Ok(token) = sent {
            assert!(
                self.ends.insert(token, None).is_none(),
                "a token was given twice"
            );
            self.answerable.push_back(self.next_id);
            self.next_id += 1;
        }
    }

    fn poll(&mut self) -> Option<Event> {
        let event = self.driver.conn.poll_event()?;
        match &event {
            Event::Dial { .. } => {
                assert!(!self.busy, "dialed without closing");
                self.busy = true;
            }
            Event::Close => {
                assert!(self.busy, "closed what was not open");
                self.busy = false;
            }
            Event::Ready => assert_eq!(self.driver.conn.state(), State::Ready),
            Event::Answer { token, .. }
            | Event::Failed { token, .. }
            | Event::Written { token } => {
                let end = self.ends.get_mut(token).expect("a request that was sent");
                assert_eq!(*end, None, "a request ended twice");
                *end = Some(event.clone());
            }
            Event::Error(text) | Event::Notice(text) => assert!(!text.is_empty()),
            Event::Disconnected => assert!(!self.busy, "the socket goes first"),
            Event::TokenNeeded { .. } | Event::SaltingNeeded { .. } => {
                panic!("nobody authenticates")
            }
            Event::Throttled { .. } => panic!("nobody has asked to be told"),
        }
        Some(event)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_request_ends_exactly_once_whatever_happens(
        happenings in vec(happening(), 0..120),
        destroyed: bool,
    ) {
        let mut all = Accountant::new();
        for happening in happenings {
            all.happens(happening);
            let unended = all.ends.values().filter(|end| end.is_none()).count();
            prop_assert!(all.driver.conn.pending() <= unended);
        }
        match destroyed {
            true => all.driver.conn.destroy(),
            false => all.driver.conn.disconnect(all.driver.now),
        }
        while let Some(event) = all.poll() {
            let too_late = matches!(event, Event::Answer { .. } | Event::Ready);
            prop_assert!(!too_late, "{:?}", event);
        }
        prop_assert!(all.ends.values().all(Option::is_some));
        prop_assert!(!all.busy);
        prop_assert_eq!(all.driver.conn.pending(), 0);
        prop_assert_eq!(all.driver.conn.queued_bytes(), 0);
        prop_assert_eq!(all.driver.conn.poll_timeout(), None);
    }

    #[test]
    fn answers_are_the_same_however_the_bytes_are_cut(
        bodies in vec(vec(any::<u8>(), 0..3000), 1..20),
        cuts in vec((1..5000usize, any::<bool>(), any::<bool>()), 1..50),
    ) {
        let mut driver = Driver::ready();
        let tokens: Vec<_> = bodies.iter().map(|_| driver.send(None)).collect();
        let bytes: Vec<u8> =
            (2..).zip(&bodies).flat_map(|(id, body)| response(id, body)).collect();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        for &(cut, in_place, poll) in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            if in_place {
                read_in_place(&mut driver, piece);
            } else {
                driver.feed(piece);
            }
            if poll || rest.is_empty() {
                events.extend(driver.events());
            }
            if rest.is_empty() {
                break;
            }
        }
        let expected: Vec<_> = tokens
            .iter()
            .zip(&bodies)
            .map(|(&token, body)| {
                let body = body.clone().into();
                Event::Answer { token, api: ApiKey::Metadata, version: 1, body }
            })
            .collect();
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn random_bytes_end_the_connection_at_most_once_and_claim_no_memory(
        pieces in vec(vec(any::<u8>(), 0..200), 0..20),
        small_size in proptest::option::of(0..64i32),
        ready: bool,
    ) {
        let [shaking_hands, is_ready] = Driver::with_socket();
        let mut driver = if ready { is_ready } else { shaking_hands };
        let sent = ready.then(|| driver.send(None));
        // Without a sensible size nearly all bytes are out of range, and what follows is unread.
        if let Some(size) = small_size {
            driver.feed(&size.to_be_bytes());
        }
        let mut events = Vec::new();
        for piece in pieces {
            driver.feed(&piece);
            events.extend(driver.events());
            prop_assert!(driver.conn.buffered_bytes() < 8 << 20);
        }
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
        let errors = count(|event| matches!(event, Event::Error(_)));
        prop_assert!(errors <= 1);
        prop_assert_eq!(errors, count(|event| *event == Event::Disconnected));
        prop_assert_eq!(errors == 1, driver.conn.state() == State::Disconnected);
        let ends = count(|event| matches!(event, Event::Answer { .. } | Event::Failed { .. }));
        prop_assert_eq!(ends + driver.conn.pending(), usize::from(sent.is_some()));
    }

    #[test]
    fn random_answers_to_api_versions_lead_to_ready_or_to_an_error(
        body in vec(any::<u8>(), 0..64),
        accepted: bool,
    ) {
        let mut driver = Driver::shaking_hands();
        let body = if accepted { [vec![0; 2], body].concat() } else { body };
        driver.feed(&response(1, &body));
        let events = driver.events();
        match driver.conn.state() {
            State::Ready => prop_assert_eq!(events, [Event::Ready]),
            _ => prop_assert_eq!(events.len(), 3),
        }
        for &api in ApiKey::ALL {
            // Any answer will do, as long as there is one.
            let _ = driver.conn.version(api);
        }
    }

    #[test]
    fn the_next_attempt_is_never_more_than_the_jittered_cap_away(
        delay in 0..200_000u64,
        failures in 1..60usize,
    ) {
        let mut driver = Driver::dialing();
        driver.conn.set_auto_reconnect(true, ms(delay));
        let cap = ms(delay.max(30_000)).mul_f64(1.25);
        for _ in 0..failures {
            driver.conn.handle_dial_failed("connect: no", driver.now);
            driver.events();
            let wait = driver.timer().expect("a next attempt");
            prop_assert!(wait <= cap + Duration::from_nanos(1));
            driver.pass(wait);
            prop_assert_eq!(driver.events(), [dial()]);
        }
    }
}

fn read_in_place(driver: &mut Driver, mut piece: &[u8]) {
    while !piece.is_empty() {
        let room = driver.conn.read_buffer();
        let n = room.len().min(piece.len());
        room[..n].copy_from_slice(&piece[..n]);
        driver.conn.handle_read(n, driver.now);
        piece = &piece[n..];
    }
}
