//! What the answer to ApiVersions may look like, and which versions follow from it.

mod support;

use kafka_conn::{Event, SendError, State};
use kafka_wire::ApiKey;
use support::*;

fn lost_after_answer(body: &[u8]) -> Vec<Event> {
    let mut driver = Driver::shaking_hands();
    driver.feed(&response(1, body));
    let events = driver.events();
    assert_eq!(driver.conn.state(), State::Disconnected);
    assert_eq!(driver.conn.api_versions(), None);
    events
}

#[test]
fn an_api_versions_answer_cut_off_anywhere_is_malformed() {
    let whole = api_versions_body(&[(0, 0, 11), (18, 0, 4)]);
    for length in 0..whole.len() {
        let events = lost_after_answer(&whole[..length]);
        assert_eq!(
            events,
            lost("malformed ApiVersions response"),
            "{length} bytes"
        );
    }
}

#[test]
fn an_api_versions_answer_that_promises_too_much_is_malformed() {
    for count in [i32::MAX, 1_000_000, 2, -2, i32::MIN] {
        let mut body = api_versions_body(&[(0, 0, 11)]);
        body[2..6].copy_from_slice(&count.to_be_bytes());
        assert_eq!(
            lost_after_answer(&body),
            lost("malformed ApiVersions response"),
            "{count}"
        );
    }
}

#[test]
fn an_api_versions_answer_with_bytes_after_its_end_is_accepted() {
    let mut driver = Driver::shaking_hands();
    let mut body = api_versions_body(&[(3, 0, 12)]);
    body.extend([0, 0, 0, 0]);
    driver.feed(&response(1, &body));
    assert_eq!(driver.events(), [Event::Ready]);
}

#[test]
fn an_api_versions_error_is_reported_with_its_code_whatever_follows_it() {
    let with_keys = [
        &35i16.to_be_bytes()[..],
        &api_versions_body(&[(18, 0, 4)])[2..],
    ]
    .concat();
    assert_eq!(lost_after_answer(&with_keys), lost("ApiVersions error: 35"));
    assert_eq!(
        lost_after_answer(&42i16.to_be_bytes()),
        lost("ApiVersions error: 42")
    );
    assert_eq!(
        lost_after_answer(&(-1i16).to_be_bytes()),
        lost("ApiVersions error: -1")
    );
}

#[test]
fn an_answer_to_something_else_ends_the_handshake() {
    let mut driver = Driver::shaking_hands();
    driver.feed(&api_versions(2, &[]));
    assert_eq!(
        driver.events(),
        lost("correlation ID mismatch: expected 1, got 2")
    );
}

#[test]
fn a_second_answer_to_api_versions_answers_nothing() {
    let mut driver = Driver::shaking_hands();
    driver.feed(&[api_versions(1, &[]), api_versions(1, &[])].concat());
    let mut expected = vec![Event::Ready];
    expected.extend(lost("correlation ID mismatch: expected none, got 1"));
    assert_eq!(driver.events(), expected);
}

#[test]
fn the_version_is_the_highest_that_both_sides_know() {
    let ours = ApiKey::Fetch.versions();
    let (low, high) = (*ours.start(), *ours.end());
    let cases = [
        ((0, 100), high),
        ((low, high), high),
        ((0, high - 1), high - 1),
        ((high, 100), high),
        ((0, low), low),
    ];
    for ((min, max), version) in cases {
        let driver = Driver::ready_with(&[(1, min, max)]);
        assert_eq!(
            driver.conn.version(ApiKey::Fetch),
            Ok(version),
            "broker {min} to {max}"
        );
    }
}

#[test]
fn an_api_that_was_not_advertised_is_spoken_at_its_fallback_version() {
    for driver in [
        Driver::new(),
        Driver::ready(),
        Driver::ready_with(&[(0, 3, 11)]),
    ] {
        for &api in ApiKey::ALL.iter().filter(|&&api| api != ApiKey::Produce) {
            assert_eq!(
                driver.conn.version(api),
                Ok(api.fallback_version()),
                "{api}"
            );
        }
    }
}

#[test]
fn no_common_version_is_a_clear_error() {
    let driver = Driver::ready_with(&[(1, 100, 101), (3, -3, -1), (10, 5, 2), (18, 99, 99)]);
    let text = |api| driver.conn.version(api).expect_err("none").to_string();
    assert_eq!(
        text(ApiKey::Fetch),
        "Fetch: unsupported version: the broker speaks versions 100 to 101, this client versions \
         4 to 18"
    );
    assert!(text(ApiKey::Metadata).starts_with("Metadata: unsupported version"));
    assert!(text(ApiKey::ApiVersions).contains("the broker speaks version 99, this"));
    assert!(
        driver.conn.version(ApiKey::FindCoordinator).is_err(),
        "an empty range has no version"
    );
}

#[test]
fn a_version_that_the_broker_does_not_speak_is_not_sent() {
    let mut driver = Driver::ready_with(&[(3, 4, 9)]);
    for version in [3, 10] {
        let sent = driver
            .conn
            .send(ApiKey::Metadata, version, metadata_body(), None, driver.now);
        let Err(SendError::Version(error)) = sent else {
            panic!("{sent:?}")
        };
        assert_eq!(
            (error.wanted, error.broker),
            ((version, version), Some((4, 9)))
        );
        let sent = driver
            .conn
            .send_oneway(ApiKey::Metadata, version, metadata_body(), driver.now);
        assert_eq!(sent, Err(SendError::Version(error)));
    }
    assert_eq!(driver.conn.pending(), 0);
    assert_eq!(driver.take_sent(), []);
}

#[test]
fn the_next_connection_asks_again() {
    let mut driver = Driver::ready_with(&[(3, 0, 5)]);
    driver.conn.handle_eof(driver.now);
    driver.events();
    assert!(
        driver.conn.api_versions().is_some(),
        "still readable after the loss"
    );
    driver.connect();
    assert_eq!(driver.conn.api_versions(), None);
    assert_eq!(driver.events(), [dial()]);
    driver.conn.handle_dialed(driver.now);
    assert_eq!(
        driver.received()[0].header.correlation_id,
        1,
        "numbering starts over"
    );
    driver.feed(&api_versions(1, &[(3, 0, 9)]));
    assert_eq!(driver.events(), [Event::Ready]);
    assert_eq!(driver.conn.version(ApiKey::Metadata), Ok(9));
}

#[test]
fn what_a_broker_does_not_advertise_is_not_sent() {
    let refused = "the broker does not offer Metadata";
    for listed in [15, 16] {
        let mut driver = Driver::ready_with(&[(listed, 0, 4)]);
        let error = driver.conn.version(ApiKey::Metadata).expect_err("none");
        assert_eq!(error.to_string(), refused);
        let sent = driver
            .conn
            .send(ApiKey::Metadata, 1, metadata_body(), None, driver.now);
        assert_eq!(sent.expect_err("refused").to_string(), refused);
        assert!(driver.received().is_empty());
        assert!(!driver.conn.is_stand_in());
    }
}

#[test]
fn who_stands_in_for_a_broker_is_asked_for_what_it_does_not_advertise() {
    for mut driver in [
        Driver::ready(),
        Driver::ready_with(&[(0, 3, 11), (3, 4, 9)]),
    ] {
        assert!(driver.conn.is_stand_in());
        let (api, version) = (ApiKey::Heartbeat, 0);
        assert_eq!(driver.conn.version(api), Ok(version));
        let sent = driver
            .conn
            .send(api, version, metadata_body(), None, driver.now);
        assert!(sent.is_ok());
        assert_eq!(driver.received().len(), 1);
    }
}
