//! Authenticating again before the broker's session ends (KIP-368).

mod support;

use std::time::Duration;

use kafka_conn::{Event, SaslSettings, State, Token};
use kafka_wire::ApiKey;
use support::sasl::*;
use support::*;

fn plain() -> SaslSettings {
    SaslSettings::new("PLAIN", "alice", "secret")
}

fn granted(lifetime_ms: i64) -> Says<'static> {
    Says {
        lifetime_ms,
        ..Says::default()
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Answers requests that the driver sent with `answer`, in order.
fn answer_all(driver: &mut Driver, requests: &[Received]) {
    for request in requests {
        driver.feed(&answer_to(request, b"answer"));
    }
}

#[test]
fn it_begins_before_the_session_ends_and_leaves_time_for_what_is_in_flight() {
    for (lifetime_ms, after_ms) in [
        (3_600_000, 3_060_000),
        (60_000, 50_000),
        (10_000, 5_000),
        (3_000, 1_500),
    ] {
        let driver = Driver::authenticated(plain(), lifetime_ms);
        assert_eq!(driver.timer(), Some(ms(after_ms)), "{lifetime_ms}");
    }
}

#[test]
fn a_session_without_an_end_is_not_renewed() {
    for lifetime_ms in [0, -1, i64::MIN] {
        let driver = Driver::authenticated(plain(), lifetime_ms);
        assert_eq!(driver.timer(), None);
    }
    // Too far away to be a point in time on every system; what counts is that nothing overflows.
    Driver::authenticated(plain(), i64::MAX);
}

#[test]
fn requests_wait_from_sasl_handshake_until_it_is_over_and_the_state_stays_ready() {
    let mut driver = Driver::authenticated(plain(), 60_000);
    let before = driver.send(None);
    let sent_before = driver.received();
    driver.pass(secs(50));
    let during = driver.send(None);
    driver
        .conn
        .send_oneway(ApiKey::Metadata, 1, metadata_body(), driver.now)
        .expect("ready");
    assert_eq!(driver.conn.state(), State::Ready);
    assert_eq!(driver.conn.pending(), 2);
    let asked = driver.one_request();
    assert_eq!(mechanism(&asked), "PLAIN");
    assert!(driver.conn.queued_bytes() > 0, "what is held counts");

    answer_all(&mut driver, &sent_before);
    assert_eq!(driver.events(), [answer(before, b"answer")]);
    driver.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
    assert_eq!(driver.events(), []);
    let asked = driver.one_request();
    assert_eq!(auth_bytes(&asked), &b"\0alice\0secret"[..]);
    assert_eq!(driver.conn.state(), State::Ready);
    assert_eq!(driver.say(&asked, &granted(60_000)), [], "no second Ready");

    let held = driver.received();
    let ids: Vec<_> = held
        .iter()
        .map(|request| request.header.correlation_id)
        .collect();
    assert_eq!(ids, [7, 8], "numbered when they leave");
    answer_all(&mut driver, &held[..1]);
    assert_eq!(driver.events(), [answer(during, b"answer")]);
    assert_eq!(driver.timer(), Some(secs(50)), "and so on");
}

#[test]
fn scram_runs_through_all_its_rounds_again() {
    let settings = SaslSettings::new("SCRAM-SHA-256", "alice", "secret");
    let mut driver = Driver::authenticating(settings, 2);
    let mut server = ScramServer::new("SCRAM-SHA-256", "secret");
    for round in 0..3 {
        let asked = driver.accept_mechanism();
        let bytes = server.first(&auth_bytes(&asked));
        let first = Says {
            bytes: &bytes,
            ..Says::default()
        };
        assert_eq!(driver.say(&asked, &first), []);
        let asked = driver.one_request();
        let bytes = server.last(&auth_bytes(&asked)).expect("the right proof");
        let last = Says {
            bytes: &bytes,
            lifetime_ms: 60_000,
            ..Says::default()
        };
        let events = driver.say(&asked, &last);
        assert_eq!(events.len(), usize::from(round == 0), "{events:?}");
        driver.pass(secs(50));
    }
}

#[test]
fn it_happens_at_most_once_a_second_however_short_the_session() {
    let mut driver = Driver::authenticated(plain(), 300);
    let mut last = driver.now;
    for _ in 0..5 {
        while driver.conn.queued_bytes() == 0 {
            let wait = driver.timer().expect("a renewal");
            driver.pass(wait);
        }
        assert!(driver.now - last > secs(1));
        last = driver.now;
        let asked = driver.accept_mechanism();
        assert_eq!(driver.say(&asked, &granted(300)), []);
    }
}

#[test]
fn requests_wait_as_soon_as_the_session_is_as_good_as_over() {
    let mut driver = Driver::authenticated(plain(), 300);
    driver.pass(ms(285));
    let token = driver.send(None);
    assert_eq!(driver.take_sent(), []);
    driver.pass(ms(815));
    let asked = driver.accept_mechanism();
    assert_eq!(driver.say(&asked, &granted(0)), []);
    let held = driver.received();
    answer_all(&mut driver, &held);
    assert_eq!(driver.events(), [answer(token, b"answer")]);
}

#[test]
fn a_token_is_asked_for_each_time_and_requests_leave_until_it_is_there() {
    let mut driver = Driver::authenticating(SaslSettings::oauthbearer_on_demand(), 2);
    let mut ids = Vec::new();
    let provide = |driver: &mut Driver, ids: &mut Vec<u64>, token: &str| {
        let [Event::TokenNeeded { id }] = driver.events()[..] else {
            panic!("a token is needed")
        };
        assert!(!ids.contains(&id));
        ids.push(id);
        driver.send_if_ready();
        let requests = driver.received();
        driver.conn.provide_token(id, Ok(token.into()), driver.now);
        let asked = driver.accept_mechanism_after(&requests);
        assert!(auth_bytes(&asked)
            .windows(token.len())
            .any(|at| at == token.as_bytes()));
        asked
    };
    let asked = provide(&mut driver, &mut ids, "first");
    assert_eq!(driver.say(&asked, &granted(60_000)), [Event::Ready]);
    for token in ["second", "third"] {
        driver.pass(secs(50));
        let asked = provide(&mut driver, &mut ids, token);
        assert_eq!(driver.say(&asked, &granted(60_000)), []);
    }
}

#[test]
fn a_token_that_comes_after_the_sessions_end_still_serves() {
    let mut driver = Driver::authenticating(SaslSettings::oauthbearer_on_demand(), 2);
    let token = |driver: &mut Driver| match driver.events()[..] {
        [Event::TokenNeeded { id }] => id,
        _ => panic!("a token is needed"),
    };
    let id = token(&mut driver);
    driver
        .conn
        .provide_token(id, Ok("first".into()), driver.now);
    let asked = driver.accept_mechanism();
    driver.say(&asked, &granted(60_000));
    driver.pass(secs(50));
    let id = token(&mut driver);
    driver.pass(secs(7));
    let held = driver.send(None);
    assert_eq!(driver.take_sent(), []);
    driver.pass(secs(8));
    driver
        .conn
        .provide_token(id, Ok("second".into()), driver.now);
    let asked = driver.accept_mechanism();
    assert_eq!(driver.say(&asked, &granted(60_000)), []);
    let requests = driver.received();
    answer_all(&mut driver, &requests);
    assert_eq!(driver.events(), [answer(held, b"answer")]);
}

#[test]
fn a_token_that_never_comes_is_a_handshake_timeout() {
    let mut driver = Driver::authenticating(SaslSettings::oauthbearer_on_demand(), 2);
    let [Event::TokenNeeded { id }] = driver.events()[..] else {
        panic!("a token is needed")
    };
    driver
        .conn
        .provide_token(id, Ok("first".into()), driver.now);
    let asked = driver.accept_mechanism();
    driver.say(&asked, &granted(60_000));
    driver.pass(secs(50));
    assert!(matches!(driver.events()[..], [Event::TokenNeeded { .. }]));
    driver.pass(secs(10));
    assert_eq!(driver.events(), []);
    driver.pass(TIMEOUT);
    assert_eq!(driver.events(), lost("handshake timeout"));
}

#[test]
fn a_refusal_ends_the_connection_and_what_was_held() {
    let mut driver = Driver::authenticated(plain(), 60_000);
    let sent = driver.send(None);
    driver.received();
    driver.pass(secs(50));
    let held = driver.send(None);
    let asked = driver.one_request();
    let text = "SASL handshake failed: mechanism not supported";
    driver.feed(&response(4, b"answer"));
    driver.feed(&answer_to(&asked, &handshake_body(33, &[])));
    assert_eq!(
        driver.events(),
        [
            answer(sent, b"answer"),
            Event::Close,
            error(text),
            failed(held, text),
            Event::Disconnected
        ]
    );
    assert_eq!(driver.conn.pending(), 0);
}

#[test]
fn a_broker_that_does_not_answer_is_a_handshake_timeout() {
    let mut driver = Driver::authenticated(plain(), 60_000);
    driver.pass(secs(50));
    let held = driver.send(None);
    driver.pass(TIMEOUT - ms(1));
    assert_eq!(driver.events(), []);
    driver.pass(ms(1));
    let text = "handshake timeout";
    assert_eq!(
        driver.events(),
        [
            Event::Close,
            error(text),
            failed(held, text),
            Event::Disconnected
        ]
    );
}

#[test]
fn its_time_does_not_run_while_the_broker_works_off_what_came_before() {
    let mut driver = Driver::authenticated(plain(), 60_000);
    // A JoinGroup, say, that waits for minutes.
    let waiting = driver.send(None);
    driver.received();
    driver.pass(secs(50));
    let asked = driver.one_request();
    driver.pass(secs(300));
    assert_eq!(driver.events(), []);
    driver.feed(&response(4, b"answer"));
    assert_eq!(driver.events(), [answer(waiting, b"answer")]);
    assert_eq!(driver.timer(), Some(TIMEOUT));
    driver.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
    assert_eq!(driver.events(), []);
    let asked = driver.one_request();
    assert_eq!(driver.say(&asked, &granted(60_000)), []);
}

#[test]
fn a_held_request_keeps_its_own_deadline() {
    let mut driver = Driver::authenticated(plain(), 60_000);
    driver.pass(secs(50));
    let held = driver.send(Some(ms(100)));
    assert_eq!(driver.timer(), Some(ms(100)));
    driver.pass(ms(100));
    let text = "request timed out: Metadata v1";
    assert_eq!(
        driver.events(),
        [
            Event::Close,
            error(text),
            failed(held, text),
            Event::Disconnected
        ]
    );
}

#[test]
fn throttled_time_is_left_out_and_what_it_would_keep_too_long_is_held() {
    let mut driver = Driver::authenticated(plain(), 60_000);
    driver.pass(secs(45));
    driver.conn.throttle(20_000, driver.now);
    let held = driver.send(None);
    driver.pass(secs(5));
    assert_eq!(driver.take_sent(), []);
    driver.pass(secs(15));
    let asked = driver.one_request();
    assert_eq!(mechanism(&asked), "PLAIN");
    assert_eq!(driver.timer(), Some(TIMEOUT));
    driver.conn.throttle(1_000, driver.now);
    assert_eq!(driver.timer(), Some(secs(1)));
    driver.pass(secs(1));
    assert_eq!(driver.timer(), Some(TIMEOUT));
    driver.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
    assert_eq!(driver.events(), []);
    let asked = driver.one_request();
    assert_eq!(driver.say(&asked, &granted(60_000)), []);
    let requests = driver.received();
    answer_all(&mut driver, &requests);
    assert_eq!(driver.events(), [answer(held, b"answer")]);
}

#[test]
fn disconnecting_meanwhile_fails_what_was_held() {
    let mut driver = Driver::authenticated(plain(), 60_000);
    driver.pass(secs(50));
    let held = driver.send(None);
    driver.conn.disconnect(driver.now);
    assert_eq!(
        driver.events(),
        [
            Event::Close,
            failed(held, "disconnected"),
            Event::Disconnected
        ]
    );
}

#[test]
fn the_mechanism_and_credentials_stay_those_of_the_connection() {
    let mut driver = Driver::authenticated(plain(), 60_000);
    let others = SaslSettings::new("SCRAM-SHA-256", "bob", "other");
    driver.conn.set_sasl(Some(others));
    driver.pass(secs(50));
    let asked = driver.accept_mechanism();
    assert_eq!(auth_bytes(&asked), &b"\0alice\0secret"[..]);
}

/// Under a load that never pauses, with a broker that answers some milliseconds late, every
/// request is answered, in order, through two hundred sessions.
#[test]
fn under_load_nothing_is_lost() {
    const LIFETIME: u64 = 3000;
    let mut driver = Driver::authenticated(plain(), LIFETIME as i64);
    let mut authenticated_at = driver.now;
    let (mut expected, mut renewals): (Vec<Token>, u32) = (Vec::new(), 0);
    let mut on_its_way = Vec::new();
    for turn in 0..60_000u32 {
        expected.push(driver.send(Some(secs(30))));
        // What the broker heard ten milliseconds ago is answered now.
        let heard = driver.received();
        for request in std::mem::replace(&mut on_its_way, heard) {
            let body = match request.header.api {
                ApiKey::SaslHandshake => handshake_body(0, &["PLAIN"]),
                ApiKey::SaslAuthenticate => {
                    (authenticated_at, renewals) = (driver.now, renewals + 1);
                    granted(LIFETIME as i64).body(2)
                }
                _ => {
                    let session = driver.now - authenticated_at;
                    assert!(session < ms(LIFETIME), "a broker would close now");
                    b"answer".to_vec()
                }
            };
            driver.feed(&answer_to(&request, &body));
        }
        let answered = driver.events();
        let tokens = expected.drain(..answered.len());
        let in_order: Vec<_> = tokens.map(|token| answer(token, b"answer")).collect();
        assert_eq!(answered, in_order, "turn {turn}");
        assert!(expected.len() < 20, "held for too long");
        driver.pass(ms(10));
    }
    assert!(renewals > 200, "{renewals}");
    assert_eq!(driver.conn.pending(), expected.len());
}

/// A SCRAM exchange up to the server's first message; gives the server.
fn first_message(driver: &mut Driver, salt: &'static [u8]) -> ScramServer {
    let mut server = ScramServer::new("SCRAM-SHA-256", "secret");
    server.salt = salt;
    let asked = driver.accept_mechanism();
    let bytes = server.first(&auth_bytes(&asked));
    let says = Says {
        bytes: &bytes,
        ..Says::default()
    };
    driver.feed(&answer_to(&asked, &says.body(2)));
    server
}

/// Answers the client's last message; what comes of that.
fn last_message(driver: &mut Driver, server: &ScramServer) -> Vec<Event> {
    let asked = driver.one_request();
    let bytes = server.last(&auth_bytes(&asked)).expect("the right proof");
    let says = Says {
        bytes: &bytes,
        lifetime_ms: 60_000,
        ..Says::default()
    };
    driver.say(&asked, &says)
}

#[test]
fn requests_wait_while_a_password_is_salted_anew() {
    let settings = SaslSettings::new("SCRAM-SHA-256", "alice", "secret");
    let mut driver = Driver::authenticating(settings, 2);
    let server = first_message(&mut driver, b"salt");
    assert_eq!(driver.events(), [], "the password is salted");
    assert_eq!(last_message(&mut driver, &server), [Event::Ready]);

    driver.pass(secs(50));
    let server = first_message(&mut driver, b"pepper");
    let Some(Event::SaltingNeeded { id, salting }) = driver.conn.poll_event() else {
        panic!("nothing to salt");
    };
    let held = driver.send(None);
    assert_eq!(driver.conn.state(), State::Ready);
    assert!(driver.received().is_empty(), "nothing leaves meanwhile");
    driver.conn.provide_salted(id, &salting.run(), driver.now);
    assert_eq!(last_message(&mut driver, &server), []);
    let sent = driver.received();
    answer_all(&mut driver, &sent);
    assert_eq!(driver.events(), [answer(held, b"answer")]);

    driver.pass(secs(50));
    let server = first_message(&mut driver, b"pepper");
    assert_eq!(driver.conn.poll_event(), None, "the last one is known");
    assert_eq!(last_message(&mut driver, &server), []);
}
