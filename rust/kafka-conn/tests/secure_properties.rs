//! What holds whatever a peer sends in the TLS handshake, in SASL, and while it is renewed.

mod support;

use std::collections::BTreeMap;

use kafka_conn::{Event, SaslSettings, State, Token, TokenRequestId};
use kafka_wire::ApiKey;
use proptest::collection::vec;
use proptest::prelude::*;
use support::sasl::*;
use support::tls::*;
use support::*;

/// Asserts that a connection that was given up was so in order, and with a reason.
fn assert_ended_well(events: &[Event]) -> Result<(), TestCaseError> {
    let ends = events.iter().filter(|event| **event == Event::Disconnected);
    prop_assert!(ends.count() <= 1);
    for event in events {
        if let Event::Error(text) = event {
            prop_assert!(!text.is_empty() && !text.contains("secret"), "{}", text);
        }
    }
    Ok(())
}

/// A change to bytes on their way.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<usize>(), 1..=255u8).prop_map(|(at, by)| Damage::Flip(at, by)),
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), vec(any::<u8>(), 1..40)).prop_map(|(at, new)| Damage::Insert(at, new)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            _ if length == 0 => {}
            Damage::Flip(at, by) => bytes[at % length] ^= by,
            Damage::Cut(at) => bytes.truncate(at % length),
            Damage::Insert(at, new) => {
                let at = at % length;
                bytes.splice(at..at, new.iter().copied());
            }
        }
    }
}

fn mechanisms() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("PLAIN"),
        Just("SCRAM-SHA-256"),
        Just("SCRAM-SHA-512"),
        Just("OAUTHBEARER"),
        Just("NONE"),
    ]
}

/// Pieces that server messages of SCRAM are made of, so that some get past the first check.
fn scram_message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("r=".to_string()),
        Just("NONCE".into()),
        Just(",s=".into()),
        Just("c2FsdA==".into()),
        Just(",i=".into()),
        (0..300u32).prop_map(|n| n.to_string()),
        Just(",".into()),
        Just("v=".into()),
        Just("e=".into()),
        Just("=".into()),
        "[a-zA-Z0-9+/]{0,8}",
    ];
    let form = Just("r=NONCEx,s=c2FsdA==,i=4096".to_string());
    prop_oneof![
        3 => vec(piece, 0..10).prop_map(|pieces| pieces.concat().into_bytes()),
        2 => form.prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..60),
    ]
}

/// One thing that happens to a connection whose authentication has to be renewed.
#[derive(Clone, Debug)]
enum Happening {
    Send,
    Answered,
    Passed(u64),
    Token(bool),
    Throttle(i32),
    Disconnect,
    Reconnect,
    Eof,
    Polled,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        10 => Just(Send),
        20 => Just(Answered),
        6 => (0..2000u64).prop_map(Passed),
        6 => (0..20u8).prop_map(|n| Token(n > 0)),
        1 => (0..3000i32).prop_map(Throttle),
        1 => Just(Disconnect),
        2 => Just(Reconnect),
        1 => Just(Eof),
        10 => Just(Polled),
    ]
}

/// A driver and a broker that play through a series of happenings.
struct Play {
    driver: Driver,
    unanswered: Vec<Received>,
    asked_for_token: Option<TokenRequestId>,
    ends: BTreeMap<Token, u32>,
    last_answered: Token,
}

impl Play {
    fn new() -> Self {
        let mut driver = Driver::new();
        driver
            .conn
            .set_sasl(Some(SaslSettings::oauthbearer_on_demand()));
        Play {
            driver,
            unanswered: Vec::new(),
            asked_for_token: None,
            ends: BTreeMap::new(),
            last_answered: 0,
        }
    }

    fn happens(&mut self, happening: Happening) {
        let now = self.driver.now;
        match happening {
            Happening::Send if self.driver.conn.state() == State::Ready => {
                let token = self.driver.send(None);
                self.ends.insert(token, 0);
            }
            Happening::Send => {}
            Happening::Answered => self.answer(),
            Happening::Passed(time) => self.driver.pass(ms(time)),
            Happening::Token(good) => {
                if let Some(id) = self.asked_for_token.take() {
                    let token = good.then(|| "token".into()).ok_or("none".to_string());
                    self.driver.conn.provide_token(id, token, now);
                }
            }
            Happening::Throttle(time) => self.driver.conn.throttle(time, now),
            Happening::Disconnect => self.driver.conn.disconnect(now),
            Happening::Reconnect if self.driver.conn.state() == State::Disconnected => {
                self.poll();
                self.driver.connect();
                self.poll();
                self.driver.conn.handle_dialed(now);
            }
            Happening::Reconnect => {}
            Happening::Eof => self.driver.conn.handle_eof(now),
            Happening::Polled => self.poll(),
        }
    }

    /// The broker answers the oldest request.
    fn answer(&mut self) {
        self.unanswered.extend(self.driver.received());
        if self.unanswered.is_empty() {
            return;
        }
        let request = self.unanswered.remove(0);
        let body = match request.header.api {
            ApiKey::ApiVersions => api_versions_body(&[(17, 0, 1), (36, 0, 2)]),
            ApiKey::SaslHandshake => handshake_body(0, &[]),
            ApiKey::SaslAuthenticate => Says {
                lifetime_ms: 3000,
                ..Says::default()
            }
            .body(2),
            _ => b"answer".to_vec(),
        };
        self.driver.feed(&answer_to(&request, &body));
    }

    fn poll(&mut self) {
        while let Some(event) = self.driver.conn.poll_event() {
            match event {
                Event::TokenNeeded { id } => self.asked_for_token = Some(id),
                Event::Answer { token, .. } => {
                    assert!(token > self.last_answered, "in order");
                    self.last_answered = token;
                    *self.ends.get_mut(&token).expect("sent") += 1;
                }
                Event::Failed { token, .. } => *self.ends.get_mut(&token).expect("sent") += 1,
                Event::Close => self.unanswered.clear(),
                Event::Error(text) => assert!(!text.contains("mismatch"), "{text}"),
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_damaged_tls_stream_ends_in_an_error_or_waits(
        damages in vec((0..4usize, damage()), 1..4),
        version in 0..2usize,
    ) {
        let listener = Listener { versions: EACH_VERSION[version], ..Listener::usual() };
        let mut peer = listener.accept();
        let mut driver = Driver::new();
        let trust = settings(&trusting(&Authority::usual().certificate));
        driver.conn.set_tls(Some(trust));
        driver.connect();
        driver.events();
        driver.conn.handle_dialed(driver.now);
        let mut events = Vec::new();
        for flight in 0..4 {
            peer.hear(&driver.take_sent());
            if !peer.heard.is_empty() {
                peer.heard.clear();
                peer.say(&api_versions(1, &[(0, 3, 11)]));
            }
            let mut bytes = peer.take();
            for (at, damage) in &damages {
                if *at == flight {
                    damage.apply(&mut bytes);
                }
            }
            driver.feed(&bytes);
            events.extend(driver.events());
            prop_assert!(driver.conn.buffered_bytes() < 1 << 20);
        }
        assert_ended_well(&events)?;
        driver.conn.handle_eof(driver.now);
        events.extend(driver.events());
        prop_assert_eq!(driver.conn.state(), State::Disconnected);
        assert_ended_well(&events)?;
    }

    #[test]
    fn random_bytes_are_no_tls(pieces in vec(vec(any::<u8>(), 0..100), 1..10)) {
        let mut driver = Driver::new();
        driver.conn.set_tls(Some(settings(&trusting(&Authority::usual().certificate))));
        driver.connect();
        driver.events();
        driver.conn.handle_dialed(driver.now);
        let mut events = Vec::new();
        for piece in pieces {
            driver.feed(&piece);
            events.extend(driver.events());
        }
        assert_ended_well(&events)?;
        prop_assert!(driver.conn.state() <= State::TlsHandshake);
    }

    #[test]
    fn a_tls_stream_may_be_cut_anywhere(
        bodies in vec(vec(any::<u8>(), 0..20_000), 1..10),
        cuts in vec((1..20_000usize, any::<bool>()), 1..20),
    ) {
        let mut driver = Driver::new();
        let mut peer = Listener::usual().accept();
        let trust = settings(&trusting(&Authority::usual().certificate));
        connect(&mut driver, Some(trust), HOST, &mut peer);
        peer.say(&api_versions(1, &[]));
        peer.exchange(&mut driver);
        prop_assert_eq!(driver.events(), [Event::Ready]);
        let tokens: Vec<_> = bodies.iter().map(|_| driver.send(None)).collect();
        peer.exchange(&mut driver);
        for (id, body) in (2..).zip(&bodies) {
            peer.say(&response(id, body));
        }
        let bytes = peer.take();
        let mut rest = &bytes[..];
        for &(cut, in_place) in cuts.iter().cycle() {
            let (mut piece, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            while in_place && !piece.is_empty() {
                let room = driver.conn.read_buffer();
                let n = room.len().min(piece.len());
                room[..n].copy_from_slice(&piece[..n]);
                driver.conn.handle_read(n, driver.now);
                piece = &piece[n..];
            }
            driver.feed(piece);
            if rest.is_empty() {
                break;
            }
        }
        let answers: Vec<_> = driver
            .events()
            .into_iter()
            .map(|event| match event {
                Event::Answer { token, body, .. } => (token, body.to_vec()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected: Vec<_> = tokens.into_iter().zip(bodies).collect();
        prop_assert_eq!(answers, expected);
    }

    #[test]
    fn random_answers_never_authenticate_a_server_of_scram(
        name in prop_oneof![Just("SCRAM-SHA-256"), Just("SCRAM-SHA-512")],
        messages in vec(scram_message(), 1..4),
    ) {
        let settings = SaslSettings::new(name, "alice", "secret");
        let mut driver = Driver::authenticating(settings, 2);
        let mut asked = driver.accept_mechanism();
        let (_, nonce) = ScramServer::new(name, "").hear(&auth_bytes(&asked));
        let mut events = Vec::new();
        for message in messages {
            let text = String::from_utf8_lossy(&message).replace("NONCE", &nonce);
            let bytes = if text.is_ascii() { text.into_bytes() } else { message };
            events.extend(driver.say(&asked, &Says { bytes: &bytes, ..Says::default() }));
            match driver.received().pop() {
                Some(next) => asked = next,
                None => break,
            }
        }
        prop_assert!(!events.contains(&Event::Ready));
        assert_ended_well(&events)?;
    }

    #[test]
    fn random_bodies_of_sasl_answers_do_no_harm(
        name in mechanisms(),
        version in 0..=2i16,
        handshake in vec(any::<u8>(), 0..40),
        accepted: bool,
        bodies in vec((any::<bool>(), vec(any::<u8>(), 0..60)), 0..4),
    ) {
        let settings = SaslSettings::new(name, "alice", "secret");
        let mut driver = Driver::authenticating(settings, version);
        let mut events = driver.events();
        let asked = driver.one_request();
        let body = if accepted { handshake_body(0, &[name]) } else { handshake };
        driver.feed(&answer_to(&asked, &body));
        events.extend(driver.events());
        for (good, mut body) in bodies {
            let Some(asked) = driver.received().pop() else { break };
            if good {
                body.splice(0..0, [0; 2]);
            }
            driver.feed(&answer_to(&asked, &body));
            events.extend(driver.events());
        }
        assert_ended_well(&events)?;
        prop_assert!(!events.contains(&Event::Ready) || ["PLAIN", "OAUTHBEARER"].contains(&name));
    }

    #[test]
    fn every_request_ends_exactly_once_across_renewals(
        happenings in vec(happening(), 0..300),
    ) {
        let mut play = Play::new();
        play.happens(Happening::Reconnect);
        for happening in happenings {
            play.happens(happening);
        }
        play.driver.conn.disconnect(play.driver.now);
        play.poll();
        prop_assert!(play.ends.values().all(|&ends| ends == 1), "{:?}", play.ends);
        prop_assert_eq!(play.driver.conn.pending(), 0);
        prop_assert_eq!(play.driver.conn.queued_bytes(), 0);
    }
}
