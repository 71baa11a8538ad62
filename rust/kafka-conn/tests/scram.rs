//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802) against a server that knows the rules, and
//! against some that do not.

mod support;

use kafka_conn::{Event, Salting, SaslSettings, State};
use support::sasl::*;
use support::*;

const MECHANISMS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

fn says(bytes: &[u8]) -> Says<'_> {
    Says {
        bytes,
        ..Says::default()
    }
}

/// What happens when the server answers the client-first-message with what `reply` makes of the
/// client's nonce.
fn after_server_first(reply: impl Fn(&str) -> String) -> Vec<Event> {
    let settings = SaslSettings::new("SCRAM-SHA-256", "alice", "secret");
    let mut driver = Driver::authenticating(settings, 2);
    let asked = driver.accept_mechanism();
    let (_, nonce) = ScramServer::new("SCRAM-SHA-256", "secret").hear(&auth_bytes(&asked));
    driver.say(&asked, &says(reply(&nonce).as_bytes()))
}

/// What happens when the server answers the client-final-message with what `reply` makes of the
/// right answer.
fn after_server_final(reply: impl Fn(&str) -> String) -> Vec<Event> {
    let settings = SaslSettings::new("SCRAM-SHA-256", "alice", "secret");
    let mut driver = Driver::authenticating(settings, 2);
    let mut server = ScramServer::new("SCRAM-SHA-256", "secret");
    let asked = driver.accept_mechanism();
    let first = server.first(&auth_bytes(&asked));
    assert_eq!(driver.say(&asked, &says(&first)), []);
    let asked = driver.one_request();
    let last = server.last(&auth_bytes(&asked)).expect("proved");
    let last = String::from_utf8(last).expect("ASCII");
    driver.say(&asked, &says(reply(&last).as_bytes()))
}

#[test]
fn a_client_and_a_server_that_share_a_password_agree() {
    for mechanism in MECHANISMS {
        for version in 0..=2 {
            let settings = SaslSettings::new(mechanism, "alice", "secret");
            let mut driver = Driver::authenticating(settings, version);
            let mut server = ScramServer::new(mechanism, "secret");
            let asked = driver.accept_mechanism();
            assert_eq!(driver.conn.state(), State::SaslAuthenticate);
            assert_eq!(asked.header.version, version);
            let first = server.first(&auth_bytes(&asked));
            assert_eq!(driver.say(&asked, &says(&first)), []);
            assert_eq!(driver.conn.state(), State::SaslAuthenticate);
            let asked = driver.one_request();
            let last = server.last(&auth_bytes(&asked)).expect("the right proof");
            assert_eq!(driver.say(&asked, &says(&last)), [Event::Ready]);
            assert_eq!(driver.conn.state(), State::Ready);
        }
    }
}

#[test]
fn the_mechanism_is_named_to_the_broker() {
    for name in MECHANISMS {
        let mut driver = Driver::authenticating(SaslSettings::new(name, "alice", "secret"), 2);
        assert_eq!(driver.events(), []);
        assert_eq!(mechanism(&driver.one_request()), name);
    }
}

#[test]
fn another_password_gives_no_proof() {
    let settings = SaslSettings::new("SCRAM-SHA-512", "alice", "wrong");
    let mut driver = Driver::authenticating(settings, 2);
    let mut server = ScramServer::new("SCRAM-SHA-512", "secret");
    let asked = driver.accept_mechanism();
    let first = server.first(&auth_bytes(&asked));
    driver.say(&asked, &says(&first));
    let asked = driver.one_request();
    assert_eq!(server.last(&auth_bytes(&asked)), None);
    let refusal = Says {
        code: 58,
        message: Some("Authentication failed"),
        ..Says::default()
    };
    assert_eq!(
        driver.say(&asked, &refusal),
        lost("SASL auth failed: Authentication failed")
    );
}

#[test]
fn commas_and_equals_signs_in_a_user_name_are_escaped() {
    let settings = SaslSettings::new("SCRAM-SHA-256", "a,b=c=2C", "secret");
    let mut driver = Driver::authenticating(settings, 2);
    let asked = driver.accept_mechanism();
    let (name, _) = ScramServer::new("SCRAM-SHA-256", "secret").hear(&auth_bytes(&asked));
    assert_eq!(name, "a=2Cb=3Dc=3D2C");
}

#[test]
fn every_exchange_has_a_nonce_of_its_own_without_commas() {
    let nonce = || {
        let settings = SaslSettings::new("SCRAM-SHA-256", "alice", "secret");
        let mut driver = Driver::authenticating(settings, 2);
        let asked = driver.accept_mechanism();
        ScramServer::new("SCRAM-SHA-256", "")
            .hear(&auth_bytes(&asked))
            .1
    };
    let (first, second) = (nonce(), nonce());
    assert!(first.len() >= 24 && first != second);
    assert!(first
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b','));
}

#[test]
fn a_user_name_is_required_once_the_broker_has_the_mechanism() {
    for mechanism in MECHANISMS {
        let settings = SaslSettings::new(mechanism, "", "secret");
        let mut driver = Driver::authenticating(settings, 2);
        assert_eq!(driver.events(), []);
        let asked = driver.one_request();
        driver.feed(&answer_to(&asked, &handshake_body(0, &[mechanism])));
        assert_eq!(driver.events(), lost("SCRAM: username required"));
    }
}

#[test]
fn a_server_first_message_out_of_form_is_malformed() {
    let malformed = [
        "r=NONCEx,s=c2FsdA==",
        "r=NONCEx,i=4096",
        "s=c2FsdA==,i=4096",
        "garbage",
        "v=c2FsdA==",
        ",",
        "r=NONCEx,s=c2FsdA==,i=",
        "r=NONCEx,s=c2FsdA==,i=0",
        "r=NONCEx,s=c2FsdA==,i=-1",
        "r=NONCEx,s=c2FsdA==,i=+1",
        "r=NONCEx,s=c2FsdA==,i=01",
        "r=NONCEx,s=c2FsdA==,i=4096x",
        "r=NONCEx,s=c2FsdA==,i=1048577",
        "r=NONCEx,s=c2FsdA==,i=99999999999999999999",
        "r=NONCEx,s=c2FsdA==,i=1",
        "r=NONCEx,s=c2FsdA==,i=4095",
        "m=ext,r=NONCEx,s=c2FsdA==,i=4096",
        "s=c2FsdA==,r=NONCEx,i=4096",
    ];
    for message in malformed {
        assert_eq!(
            after_server_first(|nonce| message.replace("NONCE", nonce)),
            lost("SCRAM: malformed server-first-message"),
            "{message}"
        );
    }
}

#[test]
fn iterations_from_4096_to_the_limit_are_accepted_and_so_are_extensions() {
    for message in [
        "r=NONCEx,s=c2FsdA==,i=4096",
        "r=NONCEx,s=c2FsdA==,i=1048576",
        "r=NONCEx,s=c2FsdA==,i=4096,x=more",
    ] {
        let events = after_server_first(|nonce| message.replace("NONCE", nonce));
        assert_eq!(events, [], "{message}");
    }
}

#[test]
fn a_nonce_that_does_not_continue_the_clients_is_a_mismatch() {
    for message in [
        "r=,s=c2FsdA==,i=4096",
        "r=other,s=c2FsdA==,i=4096",
        "r=xNONCE,s=c2FsdA==,i=4096",
        "r=NONCE,s=c2FsdA==,i=4096",
    ] {
        assert_eq!(
            after_server_first(|nonce| message.replace("NONCE", nonce)),
            lost("SCRAM: server nonce mismatch"),
            "{message}"
        );
    }
}

#[test]
fn a_salt_that_is_empty_or_not_base64_is_bad() {
    for salt in ["", "****", "c2FsdA", "c2FsdA==="] {
        assert_eq!(
            after_server_first(|nonce| format!("r={nonce}x,s={salt},i=4096")),
            lost("SCRAM: bad salt"),
            "{salt}"
        );
    }
}

#[test]
fn a_broker_that_says_yes_at_once_ends_an_incomplete_exchange() {
    assert_eq!(
        after_server_first(|_| String::new()),
        lost("SASL: incomplete SCRAM exchange")
    );
}

#[test]
fn a_server_that_does_not_prove_itself_is_not_trusted() {
    for last in ["", "x", "V=abc", "r=abc"] {
        assert_eq!(
            after_server_final(|_| last.into()),
            lost("SCRAM: missing server signature"),
            "{last}"
        );
    }
    for last in ["v=", "v=AAAA", "v=****"] {
        assert_eq!(
            after_server_final(|_| last.into()),
            lost("SCRAM: server signature mismatch"),
            "{last}"
        );
    }
    let cut = |right: &str| right[..right.len() - 4].to_string();
    assert_eq!(
        after_server_final(cut),
        lost("SCRAM: server signature mismatch")
    );
    assert_eq!(
        after_server_final(|right| format!("{right},x=more")),
        [Event::Ready]
    );
}

#[test]
fn an_error_in_the_server_final_message_is_passed_on() {
    assert_eq!(
        after_server_final(|_| "e=invalid-proof".into()),
        lost("SASL auth failed: invalid-proof")
    );
}

/// A connection whose password is to be salted, and the work.
fn salting() -> (Driver, ScramServer, u64, Salting) {
    let settings = SaslSettings::new("SCRAM-SHA-256", "alice", "secret");
    let mut driver = Driver::authenticating(settings, 2);
    let mut server = ScramServer::new("SCRAM-SHA-256", "secret");
    let asked = driver.accept_mechanism();
    let first = says(&server.first(&auth_bytes(&asked))).body(2);
    driver.feed(&answer_to(&asked, &first));
    let Some(Event::SaltingNeeded { id, salting }) = driver.conn.poll_event() else {
        panic!("nothing to salt");
    };
    assert_eq!(driver.conn.poll_event(), None);
    (driver, server, id, salting)
}

#[test]
fn a_password_is_salted_outside_of_the_connection() {
    let (mut driver, server, id, salting) = salting();
    assert_eq!(driver.conn.state(), State::SaslAuthenticate);
    assert!(driver.received().is_empty(), "nothing is sent before");
    driver.conn.provide_salted(id, &salting.run(), driver.now);
    let asked = driver.one_request();
    let last = server.last(&auth_bytes(&asked)).expect("the right proof");
    assert_eq!(driver.say(&asked, &says(&last)), [Event::Ready]);
}

#[test]
fn a_salted_password_that_comes_too_late_changes_nothing() {
    let (mut driver, _, id, salting) = salting();
    let salted = salting.run();
    driver.conn.provide_salted(id + 1, &salted, driver.now);
    assert!(driver.received().is_empty(), "not the one that is awaited");
    driver.pass(TIMEOUT);
    assert_eq!(driver.events(), lost("handshake timeout"));
    driver.conn.provide_salted(id, &salted, driver.now);
    assert_eq!(driver.events(), []);
    driver.connect();
    assert_eq!(driver.events(), [dial()]);
    driver.conn.handle_dialed(driver.now);
    driver.conn.provide_salted(id, &salted, driver.now);
    driver.answer_api_versions(2);
    driver.accept_mechanism();
}

#[test]
fn a_broker_that_answers_while_a_password_is_salted_is_not_believed() {
    let (mut driver, _, id, salting) = salting();
    driver.feed(&response(9, &[]));
    let events = driver.events();
    assert!(
        matches!(&events[..], [Event::Close, Event::Error(text), Event::Disconnected]
            if text.contains("correlation ID mismatch")),
        "{events:?}"
    );
    driver.conn.provide_salted(id, &salting.run(), driver.now);
    assert_eq!(driver.events(), []);
}

#[test]
fn connections_that_share_their_settings_salt_once() {
    let settings = SaslSettings::new("SCRAM-SHA-512", "alice", "secret");
    for salts in [1, 0] {
        let mut driver = Driver::authenticating(settings.clone(), 2);
        let mut server = ScramServer::new("SCRAM-SHA-512", "secret");
        let asked = driver.accept_mechanism();
        let first = says(&server.first(&auth_bytes(&asked))).body(2);
        driver.feed(&answer_to(&asked, &first));
        let mut salted = 0;
        while let Some(event) = driver.conn.poll_event() {
            let Event::SaltingNeeded { id, salting } = event else {
                panic!("{event:?}");
            };
            driver.conn.provide_salted(id, &salting.run(), driver.now);
            salted += 1;
        }
        assert_eq!(salted, salts);
        let asked = driver.one_request();
        assert!(server.last(&auth_bytes(&asked)).is_some());
    }
}
