//! Secrets are wiped from memory: no block that a connection gives back still holds one.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::num::NonZeroU32;

use kafka_conn::{Config, Connection, Event, SaslSettings, Secret, State};
use ring::pbkdf2;
use support::sasl::*;
use support::tls::*;
use support::*;

const PASSWORD: &str = "correct horse battery staple";
const USERNAME: &str = "somebody, whose name = long";
/// How much of a secret tells it apart from what memory holds by chance.
const PIECE: usize = 8;

/// The system's allocator, which looks at what is given back while [`watched`] runs.
struct Watching;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
    /// What PASSWORD becomes for SCRAM.
    static SALTED: Cell<[u8; 32]> = const { Cell::new([0; 32]) };
}

// `realloc` is the trait's own: it allocates, copies, and gives the old block back to be looked at.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, or a new block could hold what somebody else left there.
        System.alloc_zeroed(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WATCHED.get() && holds_secret(std::slice::from_raw_parts(block, layout.size())) {
            FOUND.set(FOUND.get() + 1);
        }
        System.dealloc(block, layout)
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn holds_secret(block: &[u8]) -> bool {
    let salted = SALTED.get();
    let secrets = [PASSWORD.as_bytes(), USERNAME.as_bytes(), &salted];
    block.windows(PIECE).any(|window| {
        window != [0; PIECE] && {
            let mut pieces = secrets.iter().flat_map(|secret| secret.chunks_exact(PIECE));
            pieces.any(|piece| piece == window)
        }
    })
}

/// Runs what is the connection's doing; the test's own copies are outside.
fn watched<R>(run: impl FnOnce() -> R) -> R {
    WATCHED.set(true);
    let result = run();
    WATCHED.set(false);
    result
}

/// How many blocks with a secret were given back since it was last asked.
fn found() -> usize {
    FOUND.replace(0)
}

/// A connection that is watched, and its broker.
struct Watch {
    conn: Connection,
    peer: Option<TlsPeer>,
    driver: Driver,
}

impl Watch {
    fn new(settings: SaslSettings, encrypted: bool) -> Self {
        let driver = Driver::new();
        let mut conn = watched(|| Connection::new(Config::default()));
        if encrypted {
            let trust = trusting(&Authority::usual().certificate);
            conn.set_tls(Some(support::tls::settings(&trust)));
        }
        watched(|| {
            conn.set_sasl(Some(settings));
            conn.connect(HOST, 9092, None, driver.now);
            assert!(matches!(conn.poll_event(), Some(Event::Dial { .. })));
            conn.handle_dialed(driver.now);
        });
        let peer = encrypted.then(|| Listener::usual().accept());
        Watch { conn, peer, driver }
    }

    /// What the connection has to send.
    fn sent(&mut self) -> Vec<u8> {
        let Some(transmit) = watched(|| self.conn.poll_transmit()) else {
            return Vec::new();
        };
        let bytes: Vec<u8> = transmit.segments().flatten().copied().collect();
        watched(|| self.conn.transmitted(bytes.len(), self.driver.now));
        bytes
    }

    fn feed(&mut self, bytes: &[u8]) {
        watched(|| self.conn.handle_data(bytes, self.driver.now));
    }

    fn event(&mut self) -> Option<Event> {
        let now = self.driver.now;
        loop {
            match watched(|| self.conn.poll_event()) {
                Some(Event::SaltingNeeded { id, salting }) => watched(|| {
                    let salted = salting.run();
                    self.conn.provide_salted(id, &salted, now);
                }),
                event => return event,
            }
        }
    }

    /// The next request that the broker sees.
    fn request(&mut self) -> Received {
        if self.peer.is_none() {
            let bytes = self.sent();
            return received(&bytes);
        }
        loop {
            let up = self.sent();
            let peer = self.peer.as_mut().expect("encrypted");
            peer.hear(&up);
            let down = peer.take();
            if up.is_empty() && down.is_empty() {
                return received(&std::mem::take(&mut peer.heard));
            }
            self.feed(&down);
        }
    }

    fn answer(&mut self, answer: &[u8]) {
        let bytes = match &mut self.peer {
            None => answer.to_vec(),
            Some(peer) => {
                peer.say(answer);
                peer.take()
            }
        };
        self.feed(&bytes);
    }

    /// Up to where the mechanism is chosen.
    fn choose_mechanism(&mut self, provide: Option<&str>) {
        let asked = self.request();
        let versions = [(3, 0, 1), (17, 0, 1), (36, 0, 2)];
        self.answer(&api_versions(asked.header.correlation_id, &versions));
        match (self.event(), provide) {
            (None, None) => {}
            (Some(Event::TokenNeeded { id }), Some(token)) => {
                let now = self.driver.now;
                watched(|| self.conn.provide_token(id, Ok(Secret::from(token)), now));
                assert_eq!(self.event(), None);
            }
            other => panic!("{other:?}"),
        }
        let asked = self.request();
        mechanism(&asked);
        let offered = handshake_body(0, &["PLAIN"]);
        self.answer(&answer_to(&asked, &offered));
        assert_eq!(self.event(), None);
    }

    /// Answers a SaslAuthenticate; gives what becomes of that.
    fn exchange(&mut self, says: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<Event> {
        let asked = self.request();
        let bytes = says(&auth_bytes(&asked));
        let says = Says {
            bytes: &bytes,
            ..Says::default()
        };
        self.answer(&answer_to(&asked, &says.body(2)));
        self.event()
    }

    /// Sees it ready, and ends it.
    fn end(self) {
        assert_eq!(self.conn.state(), State::Ready);
        let conn = self.conn;
        watched(move || drop(conn));
    }
}

fn received(bytes: &[u8]) -> Received {
    let mut reader = kafka_wire::Reader::new(bytes::Bytes::copy_from_slice(&bytes[4..]));
    let header = kafka_wire::RequestHeader::decode(&mut reader).expect("a header");
    Received {
        header,
        body: reader.into_rest(),
    }
}

fn credentials(mechanism: &str) -> SaslSettings {
    watched(|| SaslSettings::new(mechanism, USERNAME, PASSWORD))
}

#[test]
fn what_is_not_wiped_is_found() {
    watched(|| drop(PASSWORD.to_owned()));
    assert_eq!(found(), 1);
    watched(|| {
        let mut growing = PASSWORD[..9].to_owned();
        growing.shrink_to_fit();
        growing.push_str(&"x".repeat(1000));
        growing.replace_range(..9, "");
        growing.clear();
    });
    assert_eq!(found(), 1, "also what growing leaves behind");
    watched(|| drop(Secret::from(PASSWORD)));
    assert_eq!(found(), 0);
}

#[test]
fn plain_leaves_no_password() {
    for encrypted in [false, true] {
        let mut watch = Watch::new(credentials("PLAIN"), encrypted);
        watch.choose_mechanism(None);
        let outcome = watch.exchange(|message| {
            assert_eq!(message, format!("\0{USERNAME}\0{PASSWORD}").as_bytes());
            Vec::new()
        });
        assert_eq!(outcome, Some(Event::Ready));
        watch.end();
        assert_eq!(found(), 0, "encrypted: {encrypted}");
    }
}

#[test]
fn scram_leaves_neither_the_password_nor_what_becomes_of_it() {
    for encrypted in [false, true] {
        let mut server = ScramServer::new("SCRAM-SHA-256", PASSWORD);
        let mut salted = [0; 32];
        let iterations = NonZeroU32::new(server.iterations).expect("not 0");
        let password = PASSWORD.as_bytes();
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            server.salt,
            password,
            &mut salted,
        );
        SALTED.set(salted);
        let mut watch = Watch::new(credentials("SCRAM-SHA-256"), encrypted);
        watch.choose_mechanism(None);
        assert_eq!(watch.exchange(|message| server.first(message)), None);
        let outcome = watch.exchange(|message| server.last(message).expect("the right proof"));
        assert_eq!(outcome, Some(Event::Ready));
        watch.end();
        assert_eq!(found(), 0, "encrypted: {encrypted}");
    }
}

#[test]
fn oauthbearer_leaves_no_token() {
    for on_demand in [false, true] {
        let settings = match on_demand {
            true => SaslSettings::oauthbearer_on_demand(),
            false => credentials("OAUTHBEARER"),
        };
        let mut watch = Watch::new(settings, false);
        watch.choose_mechanism(on_demand.then_some(PASSWORD));
        let outcome = watch.exchange(|message| {
            assert!(message.ends_with(format!("Bearer {PASSWORD}\x01\x01").as_bytes()));
            Vec::new()
        });
        assert_eq!(outcome, Some(Event::Ready));
        watch.end();
        assert_eq!(found(), 0, "on demand: {on_demand}");
    }
}

#[test]
fn a_password_that_was_not_sent_is_wiped_too() {
    for encrypted in [false, true] {
        let mut watch = Watch::new(credentials("PLAIN"), encrypted);
        watch.choose_mechanism(None);
        assert!(watch.conn.queued_bytes() > 0);
        watched(|| watch.conn.disconnect(watch.driver.now));
        let conn = watch.conn;
        watched(move || drop(conn));
        assert_eq!(found(), 0, "encrypted: {encrypted}");
    }
}

#[test]
fn a_destroyed_connection_holds_no_credentials() {
    let mut watch = Watch::new(credentials("PLAIN"), false);
    watched(|| watch.conn.destroy());
    let text = format!("{:?}", watch.conn);
    assert!(text.contains("tls: None, sasl: None"), "{text}");
    assert_eq!(found(), 0);
}

#[test]
fn a_file_is_read_without_a_trace_whatever_its_length() {
    for length in [0, 1, 16 << 10, (16 << 10) + 1, 100_000] {
        let file = PASSWORD.repeat(length / PASSWORD.len() + 1);
        let file = &file.as_bytes()[..length];
        let read = watched(|| Secret::read(file, 1 << 20)).expect("a slice does not fail");
        assert_eq!(read.len(), length);
        let longer = watched(|| Secret::read(file, length / 2)).expect("a slice does not fail");
        assert_eq!(
            longer.len(),
            length.min(length / 2 + 1),
            "one more than asked for"
        );
        watched(|| drop((read, longer)));
        assert_eq!(found(), 0, "{length} bytes");
    }
}
