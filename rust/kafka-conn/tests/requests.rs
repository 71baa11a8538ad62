//! Requests, their answers, their deadlines.

mod support;

use std::io::IoSlice;

use bytes::Bytes;
use kafka_conn::{Event, State};
use kafka_wire::{ApiKey, Writer};
use support::*;

#[test]
fn requests_are_numbered_in_the_order_in_which_they_are_sent() {
    let mut driver = Driver::ready();
    let tokens = [driver.send(None), driver.send(None)];
    driver
        .conn
        .send_oneway(ApiKey::Produce, 3, metadata_body(), driver.now)
        .expect("ready");
    let last = driver.send(None);
    let requests = driver.received();
    let ids: Vec<_> = requests
        .iter()
        .map(|request| request.header.correlation_id)
        .collect();
    assert_eq!(ids, [2, 3, 4, 5]);
    assert_eq!(requests[0].header.api, ApiKey::Metadata);
    assert_eq!(requests[0].header.version, 1);
    assert_eq!(requests[0].body, metadata_body().into_bytes());
    assert!(tokens[0] < tokens[1] && tokens[1] < last);
    assert_eq!(
        driver.conn.pending(),
        3,
        "nobody awaits the one without an answer"
    );
}

#[test]
fn a_request_without_an_answer_does_not_disturb_the_order() {
    let mut driver = Driver::ready();
    driver
        .conn
        .send_oneway(ApiKey::Produce, 3, metadata_body(), driver.now)
        .expect("ready");
    let token = driver.send(None);
    driver.feed(&response(3, b"x"));
    assert_eq!(driver.events(), [answer(token, b"x")]);
}

#[test]
fn tokens_are_not_used_again_after_a_reconnect() {
    let mut driver = Driver::ready();
    let first = driver.send(None);
    driver.connect();
    driver.events();
    driver.shake_hands();
    assert_ne!(driver.send(None), first);
}

#[test]
fn answers_are_matched_first_in_first_out() {
    let mut driver = Driver::ready();
    let (first, second) = (driver.send(None), driver.send(None));
    driver.feed(&response(2, b"one"));
    assert_eq!(driver.events(), [answer(first, b"one")]);
    assert_eq!(driver.conn.pending(), 1);
    driver.feed(&response(3, b"two"));
    assert_eq!(driver.events(), [answer(second, b"two")]);
    assert_eq!(driver.conn.pending(), 0);
}

#[test]
fn answers_out_of_order_end_the_connection() {
    let mut driver = Driver::ready();
    let (first, second) = (driver.send(None), driver.send(None));
    driver.feed(&[response(3, b"two"), response(2, b"one")].concat());
    let text = "correlation ID mismatch: expected 2, got 3";
    let expected = [
        Event::Close,
        error(text),
        failed(first, text),
        failed(second, text),
        Event::Disconnected,
    ];
    assert_eq!(driver.events(), expected);
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    let mut driver = Driver::ready();
    driver.feed(&response(2, b"surprise"));
    assert_eq!(
        driver.events(),
        lost("correlation ID mismatch: expected none, got 2")
    );
}

#[test]
fn the_header_of_a_flexible_answer_is_taken_off_with_its_tagged_fields() {
    let mut driver = Driver::ready();
    let body = metadata_body();
    let token = driver
        .conn
        .send(ApiKey::Metadata, 9, body, None, driver.now)
        .expect("ready");
    assert_eq!(driver.received()[0].header.version, 9);
    // One tagged field: tag 5, two bytes.
    driver.feed(&response(2, &[1, 5, 2, 0xaa, 0xbb, b'b', b'o', b'd', b'y']));
    let (api, version, body) = (ApiKey::Metadata, 9, Bytes::from_static(b"body"));
    assert_eq!(
        driver.events(),
        [Event::Answer {
            token,
            api,
            version,
            body
        }]
    );
}

#[test]
fn a_flexible_answer_that_ends_in_its_header_is_too_short() {
    for header in [&[][..], &[1], &[1, 5, 200, 1, 0], &[0xff; 6]] {
        let mut driver = Driver::ready();
        let body = metadata_body();
        let token = driver
            .conn
            .send(ApiKey::Metadata, 9, body, None, driver.now)
            .expect("ready");
        driver.feed(&response(2, header));
        let text = "response too short";
        let expected = [
            Event::Close,
            error(text),
            failed(token, text),
            Event::Disconnected,
        ];
        assert_eq!(driver.events(), expected, "{header:?}");
    }
}

#[test]
fn an_unanswered_request_fails_at_its_deadline_and_takes_the_connection_with_it() {
    let mut driver = Driver::ready();
    let patient = driver.send(None);
    let hasty = driver.send(Some(ms(300)));
    assert_eq!(driver.timer(), Some(ms(300)));
    driver.pass(ms(299));
    assert_eq!(driver.events(), []);
    driver.pass(ms(1));
    let text = "request timed out: Metadata v1";
    let expected = [
        Event::Close,
        error(text),
        failed(patient, text),
        failed(hasty, text),
        Event::Disconnected,
    ];
    assert_eq!(driver.events(), expected);
}

#[test]
fn the_timer_follows_the_earliest_deadline_of_the_unanswered_requests() {
    let mut driver = Driver::ready();
    assert_eq!(driver.timer(), None);
    let expect = |driver: &mut Driver, send: Option<u64>, timer: Option<u64>| {
        driver.send(send.map(ms));
        assert_eq!(driver.received().len(), 1);
        assert_eq!(driver.timer(), timer.map(ms));
    };
    expect(&mut driver, Some(500), Some(500));
    expect(&mut driver, None, Some(500));
    expect(&mut driver, Some(200), Some(200));
    expect(&mut driver, Some(900), Some(200));
    expect(&mut driver, Some(700), Some(200));
    for (id, timer) in [
        (2, Some(200)),
        (3, Some(200)),
        (4, Some(700)),
        (5, Some(700)),
        (6, None),
    ] {
        driver.feed(&response(id, b""));
        driver.events();
        assert_eq!(driver.timer(), timer.map(ms), "after answer {id}");
    }
}

#[test]
fn an_answer_that_arrived_before_the_deadline_is_delivered_after_it() {
    let mut driver = Driver::ready();
    let token = driver.send(Some(ms(100)));
    driver.feed(&response(2, b"x"));
    driver.pass(ms(200));
    assert_eq!(driver.events(), [answer(token, b"x")]);
    driver.pass(ms(200));
    assert_eq!(driver.events(), []);
}

#[test]
fn half_an_answer_does_not_keep_a_deadline_from_passing() {
    let mut driver = Driver::ready();
    driver.send(Some(ms(100)));
    driver.feed(&response(2, b"x")[..6]);
    driver.pass(ms(100));
    assert_eq!(driver.events().len(), 4);
}

#[test]
fn a_throttled_connection_sends_nothing_until_the_time_is_over() {
    let mut driver = Driver::ready();
    driver.send(None);
    assert_eq!(driver.received().len(), 1);
    driver.feed(&response(2, b"slow down"));
    assert_eq!(driver.events().len(), 1);
    driver.conn.throttle(250, driver.now);
    driver.send(None);
    driver
        .conn
        .send_oneway(ApiKey::Produce, 3, metadata_body(), driver.now)
        .expect("ready");
    assert_eq!(driver.received().len(), 0);
    assert_eq!(driver.timer(), Some(ms(250)));
    driver.pass(ms(249));
    assert_eq!(driver.received().len(), 0);
    driver.pass(ms(1));
    assert_eq!(driver.received().len(), 2);
    assert_eq!(driver.timer(), None);
}

#[test]
fn deadlines_leave_throttled_time_out() {
    let mut driver = Driver::ready();
    let before = driver.send(Some(ms(100)));
    driver.conn.throttle(1000, driver.now);
    let during = driver.send(Some(ms(50)));
    driver.pass(ms(1000));
    assert_eq!(driver.received().len(), 2);
    assert_eq!(driver.timer(), Some(ms(50)));
    driver.pass(ms(49));
    assert_eq!(driver.events(), []);
    driver.pass(ms(1));
    let text = "request timed out: Metadata v1";
    assert!(
        driver.events().contains(&failed(before, text)),
        "it was sent after the other"
    );
    assert_ne!(before, during);
}

#[test]
fn overlapping_throttles_are_not_added_up() {
    let mut driver = Driver::ready();
    driver.send(Some(ms(100)));
    driver.conn.throttle(1000, driver.now);
    driver.conn.throttle(400, driver.now);
    driver.pass(ms(500));
    driver.conn.throttle(700, driver.now);
    assert_eq!(driver.timer(), Some(ms(700)));
    driver.pass(ms(700));
    assert_eq!(
        driver.timer(),
        Some(ms(100)),
        "1200 ms were left out, not 2100"
    );
}

#[test]
fn a_throttle_time_that_is_no_time_is_ignored() {
    let mut driver = Driver::ready();
    driver.send(Some(ms(100)));
    for time in [0, -1, i32::MIN] {
        driver.conn.throttle(time, driver.now);
    }
    assert_eq!(driver.timer(), Some(ms(100)));
    assert_eq!(driver.received().len(), 1);
    let mut driver = Driver::shaking_hands();
    driver.conn.throttle(1000, driver.now);
    assert_eq!(
        driver.timer(),
        Some(TIMEOUT),
        "nobody throttles a handshake"
    );
}

#[test]
fn a_throttle_ends_with_its_connection() {
    let mut driver = Driver::ready();
    driver.conn.throttle(i32::MAX, driver.now);
    driver.connect();
    driver.events();
    driver.shake_hands();
    driver.send(None);
    assert_eq!(driver.received().len(), 1);
}

#[test]
fn partial_writes_continue_where_they_stopped() {
    let mut driver = Driver::ready();
    driver.send(None);
    driver.send(None);
    let whole = {
        let transmit = driver.conn.poll_transmit().expect("something to send");
        transmit.segments().flatten().copied().collect::<Vec<u8>>()
    };
    let mut pieces = Vec::new();
    while let Some(transmit) = driver.conn.poll_transmit() {
        pieces.push(transmit.segments().next().expect("a segment")[0]);
        driver.conn.transmitted(1, driver.now);
    }
    assert_eq!(pieces, whole);
    assert_eq!(driver.conn.queued_bytes(), 0);
    driver.conn.transmitted(1, driver.now);
    assert_eq!(driver.conn.queued_bytes(), 0);
}

#[test]
fn what_is_queued_while_a_write_is_under_way_comes_after_it() {
    let mut driver = Driver::ready();
    driver.send(None);
    assert!(driver.conn.poll_transmit().is_some());
    driver.send(None);
    driver.conn.transmitted(3, driver.now);
    let mut sent = vec![0; 3];
    sent.extend(driver.take_sent());
    let length = sent.len() / 2;
    // Size field and API key, version, correlation id.
    assert_eq!(sent[length + 8..length + 12], 3i32.to_be_bytes());
}

#[test]
fn large_bodies_are_sent_without_being_copied() {
    let mut driver = Driver::ready();
    let records = Bytes::from(vec![7; 100_000]);
    let mut body = Writer::new();
    body.put_slice(b"before");
    body.put_shared(records.clone());
    body.put_slice(b"after");
    driver
        .conn
        .send(ApiKey::Produce, 3, body, None, driver.now)
        .expect("ready");
    let transmit = driver.conn.poll_transmit().expect("something to send");
    let pointers: Vec<_> = transmit.segments().map(<[u8]>::as_ptr).collect();
    assert_eq!(pointers.len(), 3);
    assert_eq!(pointers[1], records.as_ptr());
    let mut slices = [IoSlice::new(&[]); 2];
    assert_eq!(transmit.io_slices(&mut slices), 2, "as many as fit");
    assert_eq!(slices[1].as_ptr(), records.as_ptr());
    let mut slices = [IoSlice::new(&[]); 8];
    assert_eq!(transmit.io_slices(&mut slices), 3);
    assert_eq!(slices[2][..], b"after"[..]);
}

#[test]
fn pieces_of_a_body_may_be_written_in_any_parts() {
    for step in [1, 3, 61, 4_095, 4_096, 4_097, 20_011, usize::MAX] {
        let mut driver = Driver::ready();
        let mut expected = Vec::new();
        for request in 0..3u8 {
            let mut body = Writer::new();
            for len in [5, 5_000, 20, 9_000, 1, 4_095, 4_096] {
                let piece = vec![request ^ len as u8; len];
                expected.extend_from_slice(&piece);
                body.put_shared(piece.into());
            }
            let sent = driver.conn.send(ApiKey::Produce, 3, body, None, driver.now);
            sent.expect("ready");
        }
        let mut written: Vec<u8> = Vec::new();
        while let Some(transmit) = driver.conn.poll_transmit() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = transmit.io_slices(&mut slices);
            let offered = slices[..count].iter().flat_map(|slice| slice.iter());
            let before = written.len();
            written.extend(offered.take(step));
            let n = written.len() - before;
            driver.conn.transmitted(n, driver.now);
        }
        let request = written.len() / 3;
        let header = request - expected.len() / 3;
        let bodies = written
            .chunks(request)
            .flat_map(|request| &request[header..]);
        assert!(bodies.eq(&expected), "{step} bytes at a time");
    }
}

#[test]
fn many_small_requests_leave_in_few_segments() {
    let mut driver = Driver::ready();
    for _ in 0..1000 {
        driver.send(None);
    }
    let transmit = driver.conn.poll_transmit().expect("something to send");
    assert!(
        transmit.segments().count() <= 2,
        "{}",
        transmit.segments().count()
    );
    assert_eq!(driver.received().len(), 1000);
}

#[test]
fn a_throttle_time_of_days_is_not_obeyed_for_longer_than_five_minutes() {
    let mut driver = Driver::ready();
    driver.conn.throttle(i32::MAX, driver.now);
    driver.send(Some(ms(1000)));
    assert!(driver.received().is_empty());
    driver.pass(ms(299_999));
    assert!(driver.received().is_empty());
    driver.pass(ms(1));
    assert_eq!(driver.received().len(), 1);
    driver.pass(ms(1000));
    assert_eq!(
        driver.conn.state(),
        State::Disconnected,
        "its own deadline holds then"
    );
}

/// A Produce request with acks 0; its body is of no interest here.
fn send_oneway(driver: &mut Driver) {
    driver
        .conn
        .send_oneway(ApiKey::Produce, 3, Writer::new(), driver.now)
        .expect("ready");
}

#[test]
fn answers_that_nobody_wants_are_passed_over() {
    let mut driver = Driver::ready();
    send_oneway(&mut driver);
    send_oneway(&mut driver);
    let token = driver.send(None);
    send_oneway(&mut driver);
    assert_eq!(driver.received().len(), 4);
    driver.feed(
        &[
            response(2, b"x"),
            response(3, b"y"),
            response(4, b"z"),
            response(5, b"w"),
        ]
        .concat(),
    );
    assert_eq!(driver.events(), [answer(token, b"z")]);
    assert_eq!(driver.conn.state(), State::Ready);
    let token = driver.send(None);
    driver.feed(&response(6, b"v"));
    assert_eq!(
        driver.events(),
        [answer(token, b"v")],
        "some are answered, and some are not"
    );
}

#[test]
fn an_answer_that_nobody_wants_comes_once_and_in_order() {
    for ids in [[2, 2], [3, 2], [1, 2], [5, 2]] {
        let mut driver = Driver::ready();
        send_oneway(&mut driver);
        send_oneway(&mut driver);
        driver.feed(&ids.map(|id| response(id, b"")).concat());
        let events = driver.events();
        let wrong = ids.iter().find(|&&id| id != 2 && id != 3).unwrap_or(&2);
        let text = format!("correlation ID mismatch: expected none, got {wrong}");
        assert_eq!(events, lost(&text), "{ids:?}");
    }
}
