//! Choosing a mechanism, PLAIN and OAUTHBEARER, and what brokers say to them.

mod support;

use kafka_conn::{Event, Extensions, SaslSettings, Secret, State, TokenRequestId};
use kafka_wire::ApiKey;
use support::sasl::*;
use support::*;

fn plain() -> SaslSettings {
    SaslSettings::new("PLAIN", "alice", "secret")
}

fn refusal(message: Option<&str>) -> Says<'_> {
    Says {
        code: 58,
        message,
        ..Says::default()
    }
}

#[test]
fn plain_sends_user_name_and_password_at_the_brokers_version() {
    for version in 0..=2 {
        let mut driver = Driver::authenticating(plain(), version);
        let asked = driver.accept_mechanism();
        assert_eq!(asked.header.version, version);
        assert_eq!(auth_bytes(&asked), &b"\0alice\0secret"[..]);
        assert_eq!(driver.say(&asked, &Says::default()), [Event::Ready]);
    }
}

#[test]
fn the_order_on_the_wire_and_the_states_are_those_of_the_protocol() {
    let mut driver = Driver::new();
    driver.conn.set_sasl(Some(plain()));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    assert_eq!(driver.conn.state(), State::ApiVersions);
    driver.answer_api_versions(2);
    assert_eq!(driver.events(), []);
    assert_eq!(driver.conn.state(), State::SaslHandshake);
    let asked = driver.one_request();
    assert_eq!(mechanism(&asked), "PLAIN");
    driver.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
    assert_eq!(driver.events(), []);
    assert_eq!(driver.conn.state(), State::SaslAuthenticate);
    let asked = driver.one_request();
    assert_eq!(asked.header.correlation_id, 3);
    assert_eq!(driver.say(&asked, &Says::default()), [Event::Ready]);
    assert_eq!(driver.conn.state(), State::Ready);
    assert_eq!(driver.conn.pending(), 0);
}

#[test]
fn apis_that_were_not_advertised_are_spoken_at_the_lowest_version_that_serves() {
    let mut driver = Driver::new();
    driver.conn.set_sasl(Some(plain()));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    let asked = driver.one_request();
    driver.feed(&api_versions(asked.header.correlation_id, &[]));
    let asked = driver.accept_mechanism();
    assert_eq!(asked.header.version, 0);
}

/// Authenticating at a broker before KIP-152, which has taken the mechanism.
fn bare(settings: SaslSettings) -> Driver {
    let mut driver = Driver::new();
    driver.conn.set_sasl(Some(settings));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    let asked = driver.one_request();
    driver.feed(&api_versions(
        asked.header.correlation_id,
        &[(3, 0, 4), (17, 0, 0)],
    ));
    assert_eq!(driver.events(), []);
    let asked = driver.one_request();
    assert_eq!(asked.header.version, 0);
    driver.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
    driver
}

/// A message with its length.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], message].concat()
}

#[test]
fn old_brokers_get_plain_bare_and_answer_nothing() {
    let mut driver = bare(plain());
    assert_eq!(driver.events(), []);
    assert_eq!(driver.conn.state(), State::SaslAuthenticate);
    assert_eq!(driver.take_sent(), framed(b"\0alice\0secret"));
    driver.feed(&framed(b"")[..3]);
    assert_eq!(driver.events(), []);
    driver.feed(&framed(b"")[3..]);
    assert_eq!(driver.events(), [Event::Ready]);
    // From here on it is Kafka's protocol again.
    let token = driver.send(None);
    let asked = driver.one_request();
    assert_eq!(asked.header.api, ApiKey::Metadata);
    driver.feed(&response(asked.header.correlation_id, b"body"));
    assert_eq!(driver.events(), [answer(token, b"body")]);
    driver.feed(&framed(b"abc"));
    assert_eq!(driver.events(), lost("response too short"));
}

#[test]
fn old_brokers_get_scram_bare() {
    let settings = SaslSettings::new("SCRAM-SHA-256", "alice", "secret");
    let mut driver = bare(settings);
    let mut server = ScramServer::new("SCRAM-SHA-256", "secret");
    assert_eq!(driver.events(), []);
    let first = server.first(&driver.take_sent()[4..]);
    driver.feed(&framed(&first));
    assert_eq!(driver.events(), []);
    let last = server
        .last(&driver.take_sent()[4..])
        .expect("the password is right");
    driver.feed(&framed(&last));
    assert_eq!(driver.events(), [Event::Ready]);
}

#[test]
fn an_old_broker_that_closes_has_refused() {
    let mut driver = bare(plain());
    driver.events();
    driver.conn.handle_eof(driver.now);
    let text = "SASL auth failed: the broker closed the connection, as those before Kafka 1.0 do \
                when user name or password are wrong";
    assert_eq!(driver.events(), lost(text));
    assert!(!driver.conn.may_connect_again());
}

#[test]
fn an_old_broker_that_closes_afterwards_has_not() {
    let mut driver = bare(plain());
    driver.events();
    driver.feed(&framed(b""));
    assert_eq!(driver.events(), [Event::Ready]);
    driver.conn.handle_eof(driver.now);
    assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
}

#[test]
fn bare_answers_are_not_believed_to_be_long() {
    let mut driver = bare(plain());
    driver.events();
    driver.feed(&i32::to_be_bytes((1 << 20) + 1));
    assert_eq!(driver.events(), lost("invalid response size"));
}

#[test]
fn each_phase_has_a_time_of_its_own() {
    let mut driver = Driver::authenticating(plain(), 2);
    driver.events();
    driver.pass(TIMEOUT - ms(1));
    assert_eq!(driver.timer(), Some(ms(1)));
    let asked = driver.accept_mechanism();
    assert_eq!(driver.timer(), Some(TIMEOUT));
    driver.pass(TIMEOUT - ms(1));
    assert_eq!(driver.events(), []);
    drop(asked);
    driver.pass(ms(1));
    assert_eq!(driver.events(), lost("handshake timeout"));

    let mut driver = Driver::authenticating(plain(), 2);
    driver.events();
    driver.pass(TIMEOUT);
    assert_eq!(driver.events(), lost("handshake timeout"));
}

#[test]
fn a_broker_that_closes_during_authentication_is_no_error() {
    let mut driver = Driver::authenticating(plain(), 2);
    driver.events();
    driver.conn.handle_eof(driver.now);
    assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
    let mut driver = Driver::authenticating(plain(), 2);
    driver.accept_mechanism();
    driver.conn.handle_eof(driver.now);
    assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
}

#[test]
fn a_broker_without_the_mechanism_says_which_it_has() {
    let refused = |body: &[u8]| {
        let mut driver = Driver::authenticating(plain(), 2);
        driver.events();
        let asked = driver.one_request();
        driver.feed(&answer_to(&asked, body));
        driver.events()
    };
    let text = "SASL handshake failed: mechanism not supported";
    assert_eq!(refused(&handshake_body(33, &[])), lost(text));
    assert_eq!(
        refused(&33i16.to_be_bytes()),
        lost(text),
        "whatever follows"
    );
    let offered = refused(&handshake_body(33, &["SCRAM-SHA-256", "GSSAPI\r\n"]));
    let text = format!("{text} (the broker has SCRAM-SHA-256, GSSAPI  )");
    assert_eq!(offered, lost(&text));
    assert_eq!(
        refused(&handshake_body(34, &[])),
        lost(
            "SASL handshake failed: ILLEGAL_SASL_STATE (code 34): this listener takes no SASL; leave \
             out sasl, or use the port of one that does"
        )
    );
}

#[test]
fn an_answer_to_sasl_handshake_that_is_cut_off_is_malformed() {
    let whole = handshake_body(0, &["PLAIN", "GSSAPI"]);
    for length in 0..whole.len() {
        let mut driver = Driver::authenticating(plain(), 2);
        driver.events();
        let asked = driver.one_request();
        driver.feed(&answer_to(&asked, &whole[..length]));
        assert_eq!(driver.events(), lost("malformed SaslHandshake response"));
    }
}

#[test]
fn an_answer_to_sasl_authenticate_that_is_cut_off_is_malformed() {
    for version in 0..=2 {
        let whole = Says::default().body(version);
        for length in 0..whole.len() {
            let mut driver = Driver::authenticating(plain(), version);
            let asked = driver.accept_mechanism();
            driver.feed(&answer_to(&asked, &whole[..length]));
            let text = "malformed SaslAuthenticate response";
            assert_eq!(
                driver.events(),
                lost(text),
                "version {version}, {length} bytes"
            );
        }
    }
}

#[test]
fn a_refusal_is_passed_on_in_the_brokers_words_or_else_by_name() {
    for version in 0..=2 {
        let refused = |says: &Says<'_>| {
            let mut driver = Driver::authenticating(plain(), version);
            let asked = driver.accept_mechanism();
            driver.say(&asked, says)
        };
        let text = "SASL auth failed: Invalid username or password";
        assert_eq!(refused(&refusal(Some(&text[18..]))), lost(text));
        let named = "SASL auth failed: SASL_AUTHENTICATION_FAILED (code 58)";
        assert_eq!(refused(&refusal(None)), lost(named));
        assert_eq!(refused(&refusal(Some(""))), lost(named));
        assert_eq!(
            refused(&refusal(Some("a\r\nb\0"))),
            lost("SASL auth failed: a  b ")
        );
    }
}

#[test]
fn an_unknown_mechanism_is_offered_to_the_broker_and_then_unsupported() {
    let settings = SaslSettings::new("GSSAPI", "alice", "secret");
    let mut driver = Driver::authenticating(settings.clone(), 2);
    driver.events();
    let asked = driver.one_request();
    assert_eq!(mechanism(&asked), "GSSAPI");
    driver.feed(&answer_to(&asked, &handshake_body(0, &["GSSAPI"])));
    assert_eq!(driver.events(), lost("unsupported SASL mechanism"));
    assert_eq!(settings.mechanism(), "GSSAPI");
}

#[test]
fn a_nul_byte_cannot_move_the_border_between_user_name_and_password() {
    for (username, password) in [("a\0b", "c"), ("a", "b\0c")] {
        let settings = SaslSettings::new("PLAIN", username, password);
        let mut driver = Driver::authenticating(settings, 2);
        driver.events();
        let asked = driver.one_request();
        driver.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
        assert_eq!(
            driver.events(),
            lost("PLAIN: NUL byte in username or password")
        );
    }
}

#[test]
fn a_fixed_token_is_sent_as_rfc_7628_has_it() {
    let settings = SaslSettings::new("OAUTHBEARER", "", "e30.e30.");
    let mut driver = Driver::authenticating(settings, 2);
    let asked = driver.accept_mechanism();
    assert_eq!(
        auth_bytes(&asked),
        &b"n,,\x01auth=Bearer e30.e30.\x01\x01"[..]
    );
    assert_eq!(driver.say(&asked, &Says::default()), [Event::Ready]);
}

#[test]
fn a_refused_token_is_acknowledged_and_the_code_follows() {
    let settings = SaslSettings::new("OAUTHBEARER", "", "expired");
    let mut driver = Driver::authenticating(settings, 2);
    let asked = driver.accept_mechanism();
    let json = Says {
        bytes: br#"{"status":"invalid_token"}"#,
        ..Says::default()
    };
    assert_eq!(driver.say(&asked, &json), []);
    assert_eq!(driver.conn.state(), State::SaslAuthenticate);
    let asked = driver.one_request();
    assert_eq!(auth_bytes(&asked), &b"\x01"[..]);
    assert_eq!(
        driver.say(&asked, &refusal(Some("{\"status\":\"invalid_token\"}"))),
        lost("SASL auth failed: {\"status\":\"invalid_token\"}")
    );
}

#[test]
fn a_refused_token_stays_refused_whatever_follows() {
    let settings = SaslSettings::new("OAUTHBEARER", "", "expired");
    let mut driver = Driver::authenticating(settings, 2);
    let asked = driver.accept_mechanism();
    let json = Says {
        bytes: b"no",
        ..Says::default()
    };
    driver.say(&asked, &json);
    let asked = driver.one_request();
    assert_eq!(
        driver.say(&asked, &Says::default()),
        lost("SASL auth failed: no")
    );
}

#[test]
fn extensions_follow_the_token() {
    let extensions = Extensions::new([
        (&b"logicalCluster"[..], &b"lkc-1"[..]),
        (b"pool", b"a b=c,\t~"),
    ])
    .expect("good");
    for token in [Some("e30.e30.".into()), None] {
        let on_demand = token.is_none();
        let settings = SaslSettings::oauthbearer(token, extensions.clone());
        let mut driver = Driver::authenticating(settings, 2);
        if on_demand {
            let [Event::TokenNeeded { id }] = driver.events()[..] else {
                panic!("a token")
            };
            let token = Ok("e30.e30.".into());
            driver.conn.provide_token(id, token, driver.now);
        }
        let asked = driver.accept_mechanism();
        assert_eq!(
            auth_bytes(&asked),
            &b"n,,\x01auth=Bearer e30.e30.\x01logicalCluster=lkc-1\x01pool=a b=c,\t~\x01\x01"[..]
        );
    }
}

#[test]
fn extensions_that_cannot_be_said_are_refused() {
    for (key, value) in [
        ("", "x"),
        ("auth", "x"),
        ("a b", "x"),
        ("a=", "x"),
        ("key1", "x"),
        ("key", ""),
        ("key", "a\x01b"),
        ("key", "\u{fc}"),
    ] {
        let text = Extensions::new([(key.as_bytes(), value.as_bytes())]).expect_err(key);
        assert!(text.starts_with(&format!("extension '{key}': ")), "{text}");
    }
}

#[test]
fn a_token_that_no_message_can_carry_is_not_sent() {
    for (token, text) in [
        ("", "OAUTHBEARER: token required"),
        ("a\x01b", "OAUTHBEARER: control character in token"),
    ] {
        let mut driver = Driver::authenticating(SaslSettings::new("OAUTHBEARER", "", token), 2);
        driver.events();
        let asked = driver.one_request();
        driver.feed(&answer_to(&asked, &handshake_body(0, &["OAUTHBEARER"])));
        assert_eq!(driver.events(), lost(text));
    }
}

/// Asks for a token on demand.
fn on_demand() -> (Driver, TokenRequestId) {
    let mut driver = Driver::authenticating(SaslSettings::oauthbearer_on_demand(), 2);
    let [Event::TokenNeeded { id }] = driver.events()[..] else {
        panic!("a token is needed")
    };
    assert_eq!(driver.conn.state(), State::SaslHandshake);
    assert_eq!(driver.take_sent(), []);
    (driver, id)
}

#[test]
fn a_token_can_be_given_later() {
    let (mut driver, id) = on_demand();
    driver.pass(ms(9_999));
    driver.conn.provide_token(id, Ok("late".into()), driver.now);
    assert_eq!(
        driver.timer(),
        Some(TIMEOUT),
        "SaslHandshake has its own time"
    );
    let asked = driver.accept_mechanism();
    assert_eq!(auth_bytes(&asked), &b"n,,\x01auth=Bearer late\x01\x01"[..]);
    assert_eq!(driver.say(&asked, &Says::default()), [Event::Ready]);
}

#[test]
fn a_token_that_is_not_to_be_had_ends_the_connection() {
    let (mut driver, id) = on_demand();
    driver
        .conn
        .provide_token(id, Err("login first".into()), driver.now);
    assert_eq!(
        driver.events(),
        lost("SASL auth failed: no token: login first")
    );

    let (mut driver, _) = on_demand();
    driver.pass(TIMEOUT);
    assert_eq!(driver.events(), lost("handshake timeout"));
}

#[test]
fn a_token_for_a_connection_that_is_gone_changes_nothing() {
    let (mut driver, id) = on_demand();
    driver
        .conn
        .provide_token(id + 1, Ok("other".into()), driver.now);
    assert_eq!(driver.take_sent(), []);
    driver.connect();
    assert_eq!(driver.events(), [Event::Close, dial()]);
    driver.conn.provide_token(id, Ok("late".into()), driver.now);
    driver.conn.handle_dialed(driver.now);
    driver.answer_api_versions(2);
    let events = driver.events();
    assert!(matches!(events[..], [Event::TokenNeeded { id: next }] if next != id));
    driver
        .conn
        .provide_token(id, Err("late".into()), driver.now);
    assert_eq!((driver.events(), driver.take_sent()), (vec![], vec![]));
}

#[test]
fn a_token_is_not_asked_for_any_more_when_the_connection_has_gone() {
    let mut driver = Driver::new();
    driver
        .conn
        .set_sasl(Some(SaslSettings::oauthbearer_on_demand()));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    driver.answer_api_versions(2);
    // The answer is taken, and the wish for a token queued behind the Close of a disconnect.
    driver.conn.disconnect(driver.now);
    assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
}

#[test]
fn settings_hold_from_the_next_connect_on() {
    let mut driver = Driver::ready();
    driver.conn.set_sasl(Some(plain()));
    assert_eq!(driver.conn.state(), State::Ready);
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    driver.answer_api_versions(2);
    driver.conn.set_sasl(None);
    let asked = driver.accept_mechanism();
    assert_eq!(driver.say(&asked, &Says::default()), [Event::Ready]);
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    driver.answer_api_versions(2);
    assert_eq!(driver.events(), [Event::Ready]);
}

#[test]
fn requests_are_refused_while_authenticating() {
    let mut driver = Driver::authenticating(plain(), 2);
    driver.events();
    for _ in 0..2 {
        let sent = driver
            .conn
            .send_oneway(ApiKey::Metadata, 1, metadata_body(), driver.now);
        assert!(sent.is_err());
        driver.conn.throttle(1000, driver.now);
        if driver.conn.state() == State::SaslHandshake {
            driver.accept_mechanism();
        }
    }
}

#[test]
fn nothing_that_is_printed_shows_a_secret() {
    let settings = SaslSettings::new("PLAIN", "alice", "hunter2");
    let mut driver = Driver::authenticating(settings.clone(), 2);
    driver.events();
    let before = format!(
        "{settings:?} {:?} {:?}",
        driver.conn,
        Secret::from("hunter2")
    );
    let asked = driver.one_request();
    driver.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
    driver.events();
    let during = format!("{:?}", driver.conn);
    for text in [before, during] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}
