//! What a connection counts, when it is asked to.

mod support;

use std::time::Duration;

use kafka_conn::{Connection, Event, Stats};
use kafka_wire::ApiKey;
use support::*;

fn counting() -> Driver {
    let mut driver = Driver::new();
    driver.conn.count();
    driver.connect();
    driver.events();
    driver.shake_hands();
    driver
}

fn stats(driver: &Driver) -> Stats {
    driver.conn.stats().cloned().expect("it counts")
}

fn is_near(found: Option<Duration>, expected: Duration) -> bool {
    found.is_some_and(|found| found.abs_diff(expected) * 16 <= expected)
}

#[test]
fn nothing_is_counted_unless_somebody_asks() {
    let mut driver = Driver::ready();
    driver.send(None);
    driver.take_sent();
    driver.feed(&response(2, b"x"));
    driver.events();
    assert!(driver.conn.stats().is_none());
}

#[test]
fn requests_answers_and_bytes_are_counted() {
    let mut driver = counting();
    let before = stats(&driver);
    assert_eq!(before.connects, 1);
    assert!(before.apis.is_empty(), "the handshake is not the caller's");
    driver.send(None);
    driver.send(None);
    let body = metadata_body();
    let sent = driver
        .conn
        .send_oneway(ApiKey::Produce, 3, body, driver.now);
    sent.expect("ready");
    let bytes_out = driver.take_sent().len() as u64;
    driver.pass(ms(20));
    let answers = [response(2, b"x"), response(3, b"yy")].concat();
    driver.feed(&answers);
    driver.events();

    let after = stats(&driver);
    assert_eq!(after.bytes_out - before.bytes_out, bytes_out);
    assert_eq!(after.bytes_in - before.bytes_in, answers.len() as u64);
    let counts: Vec<_> = after
        .apis
        .iter()
        .map(|api| (api.api, api.requests, api.round_trips.count))
        .collect();
    assert_eq!(counts, [(ApiKey::Metadata, 2, 2), (ApiKey::Produce, 1, 0)]);
    assert_eq!(after.apis[0].round_trips.total, ms(40));
    let recent = after.apis[0].round_trips.recent(driver.now);
    assert!(is_near(recent.percentile(0.5), ms(20)), "{recent:?}");
}

#[test]
fn a_round_trip_begins_when_the_request_has_been_written() {
    let mut driver = counting();
    driver.send(None);
    driver.pass(ms(500));
    driver.take_sent();
    driver.pass(ms(10));
    driver.feed(&response(2, b"x"));
    driver.events();
    assert_eq!(stats(&driver).apis[0].round_trips.total, ms(10));
}

#[test]
fn round_trips_are_forgotten_after_two_minutes() {
    let mut driver = counting();
    driver.send(None);
    driver.take_sent();
    driver.pass(ms(10));
    driver.feed(&response(2, b"x"));
    driver.events();
    let round_trips = stats(&driver).apis[0].round_trips.clone();
    let after = |seconds| round_trips.recent(driver.now + Duration::from_secs(seconds));
    assert!(is_near(after(59).percentile(1.0), ms(10)));
    assert!(is_near(after(61).percentile(1.0), ms(10)));
    assert_eq!(after(121).percentile(1.0), None);
    assert_eq!(round_trips.count, 1, "that it was there is not");
}

#[test]
fn what_was_asked_of_a_connection_that_is_lost_has_no_round_trip() {
    let mut driver = counting();
    driver.send(None);
    driver.take_sent();
    driver.connect();
    driver.events();
    driver.shake_hands();
    driver.send(None);
    driver.take_sent();
    driver.pass(ms(3));
    driver.feed(&response(2, b"x"));
    driver.events();
    let stats = stats(&driver);
    assert_eq!(stats.connects, 2);
    assert_eq!(stats.apis[0].requests, 2);
    assert_eq!(stats.apis[0].round_trips.count, 1);
    assert_eq!(stats.apis[0].round_trips.total, ms(3));
}

#[test]
fn throttling_is_counted_and_told_to_whoever_asks() {
    let mut driver = counting();
    driver.conn.throttled(ApiKey::Produce, 0);
    driver.conn.throttled(ApiKey::Produce, 30);
    assert_eq!(driver.events(), [], "nobody has asked");
    driver.conn.tell_of_throttling(true);
    driver.conn.throttled(ApiKey::Fetch, 12);
    let told = Event::Throttled {
        api: ApiKey::Fetch,
        throttle_time_ms: 12,
    };
    assert_eq!(driver.events(), [told]);
    assert_eq!(stats(&driver).throttled, (2, ms(42)));
}

#[test]
fn connections_add_up_and_one_takes_over_from_another() {
    let mut drivers = [counting(), counting()];
    for driver in &mut drivers {
        driver.send(None);
        driver.take_sent();
        driver.pass(ms(10));
        driver.feed(&response(2, b"x"));
        driver.events();
    }
    let all = drivers.each_ref().map(stats);
    let sum = Stats::sum(&all, drivers[0].now);
    assert_eq!(sum.bytes_out, all[0].bytes_out + all[1].bytes_out);
    assert_eq!(
        (sum.apis[0].requests, sum.apis[0].round_trips.count),
        (2, 2)
    );
    let recent = sum.apis[0].round_trips.recent(drivers[0].now);
    assert!(is_near(recent.percentile(1.0), ms(10)));

    let mut next = Connection::new(config());
    next.go_on_counting(&mut drivers[0].conn);
    assert!(drivers[0].conn.stats().is_none());
    assert_eq!(next.stats().map(|stats| stats.apis[0].requests), Some(1));
}
