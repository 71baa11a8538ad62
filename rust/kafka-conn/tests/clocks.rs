//! When a request is late: its clock starts when it is written, and stands while bytes move.

mod support;

use kafka_conn::{Event, State, Token};
use kafka_wire::ApiKey;
use support::{answer, error, failed, metadata_body, ms, response, Driver};

/// Takes what waits to be sent, but for the last `left` bytes.
fn write_all_but(driver: &mut Driver, left: usize) {
    let len = driver
        .conn
        .poll_transmit()
        .map_or(0, |transmit| transmit.len());
    assert!(len > left, "there is so much to write");
    driver.conn.transmitted(len - left, driver.now);
}

fn lost(driver: &mut Driver) -> bool {
    driver.events();
    driver.conn.state() == State::Disconnected
}

#[test]
fn the_clock_of_a_request_starts_when_its_last_byte_is_written() {
    let mut driver = Driver::ready();
    driver.send(Some(ms(100)));
    write_all_but(&mut driver, 10);
    for _ in 0..5 {
        driver.pass(ms(90));
        let left = driver.conn.queued_bytes() - 1;
        write_all_but(&mut driver, left);
    }
    assert_eq!(driver.conn.queued_bytes(), 5);
    assert!(!lost(&mut driver), "its bytes make progress");
    write_all_but(&mut driver, 0);
    assert_eq!(driver.timer(), Some(ms(100)));
    driver.pass(ms(99));
    assert!(!lost(&mut driver));
    driver.pass(ms(1));
    assert!(lost(&mut driver));
}

#[test]
fn a_request_of_which_nothing_can_be_written_is_late_in_its_time() {
    let mut driver = Driver::ready();
    let token = driver.send(Some(ms(100)));
    driver.pass(ms(100));
    let text = "request timed out: Metadata v1";
    assert!(driver.events().contains(&failed(token, text)));
    assert!(driver.conn.is_unsent(token));
}

#[test]
fn what_waits_behind_a_hanging_request_costs_no_time_of_its_own() {
    let mut driver = Driver::ready();
    let first = driver.send(Some(ms(100)));
    assert_eq!(driver.received().len(), 1);
    driver.pass(ms(60));
    let second = driver.send(Some(ms(100)));
    assert_eq!(driver.received().len(), 1);
    let third = driver.send(Some(ms(100)));
    driver.pass(ms(40));
    let text = "request timed out: Metadata v1";
    let expected = [
        Event::Close,
        error(text),
        failed(first, text),
        failed(second, text),
        failed(third, text),
        Event::Disconnected,
    ];
    assert_eq!(driver.events(), expected, "100 ms after the first");
}

#[test]
fn an_answer_that_flows_in_is_not_late() {
    let mut driver = Driver::ready();
    let token = driver.send(Some(ms(100)));
    let behind = driver.send(Some(ms(100)));
    assert_eq!(driver.received().len(), 2);
    let bytes = response(2, &[7; 50]);
    let (last, first) = bytes.split_last().expect("not empty");
    for byte in first.chunks(10) {
        driver.pass(ms(90));
        driver.feed(byte);
        assert_eq!(driver.events(), []);
    }
    driver.pass(ms(99));
    driver.feed(&[*last]);
    assert_eq!(driver.events(), [answer(token, &[7; 50])]);
    assert_eq!(driver.timer(), Some(ms(100)), "the next one");
    driver.pass(ms(100));
    let text = "request timed out: Metadata v1";
    assert!(driver.events().contains(&failed(behind, text)));
}

#[test]
fn what_is_on_its_way_to_the_broker_is_not_late() {
    let mut driver = Driver::ready();
    driver.send(Some(ms(100)));
    let length = driver.conn.queued_bytes();
    driver.send(None);
    assert_eq!(driver.received().len(), 2);
    for left in [3, 2, 1] {
        driver.pass(ms(90));
        let left = length + left;
        driver.conn.handle_unacknowledged(left, driver.now);
    }
    driver.pass(ms(90));
    driver.conn.handle_unacknowledged(length, driver.now);
    assert!(!lost(&mut driver), "the request arrives just now");
    driver.pass(ms(99));
    driver.conn.handle_unacknowledged(0, driver.now);
    assert!(!lost(&mut driver));
    driver.pass(ms(1));
    assert!(lost(&mut driver), "what has arrived has its time");
}

#[test]
fn a_peer_that_takes_nothing_costs_the_time_of_one_request() {
    let mut driver = Driver::ready();
    driver.send(Some(ms(100)));
    assert_eq!(driver.received().len(), 1);
    for _ in 0..9 {
        driver.pass(ms(10));
        driver.conn.handle_unacknowledged(20, driver.now);
    }
    assert!(!lost(&mut driver));
    driver.pass(ms(20));
    assert!(lost(&mut driver));
}

#[test]
fn a_request_is_unsent_until_its_last_byte_is_written() {
    let mut driver = Driver::ready();
    let tokens: Vec<_> = (0..3).map(|_| driver.send(None)).collect();
    let length = driver.conn.queued_bytes() / 3;
    driver.conn.transmitted(2 * length - 1, driver.now);
    driver.conn.handle_eof(driver.now);
    assert!(lost(&mut driver));
    let unsent: Vec<_> = tokens.iter().map(|&t| driver.conn.is_unsent(t)).collect();
    assert_eq!(unsent, [false, true, true]);
    assert!(!driver.conn.is_unsent(0));
}

#[test]
fn a_request_without_an_answer_counts_among_the_bytes_before_others() {
    let mut driver = Driver::ready();
    let sent = driver
        .conn
        .send_oneway(ApiKey::Produce, 3, metadata_body(), driver.now);
    sent.expect("ready");
    let token = driver.send(Some(ms(100)));
    write_all_but(&mut driver, 1);
    driver.pass(ms(90));
    assert_eq!(driver.timer(), Some(ms(10)));
    write_all_but(&mut driver, 0);
    assert_eq!(driver.timer(), Some(ms(100)));
    driver.conn.handle_eof(driver.now);
    assert!(lost(&mut driver));
    assert!(!driver.conn.is_unsent(token));
}

#[test]
fn answers_that_come_before_their_request_is_written_upset_nothing() {
    let mut driver = Driver::ready();
    let tokens: Vec<_> = (0..2).map(|_| driver.send(Some(ms(100)))).collect();
    driver.feed(&response(2, b"early"));
    assert_eq!(driver.events(), [answer(tokens[0], b"early")]);
    assert_eq!(driver.timer(), Some(ms(100)));
    assert_eq!(driver.received().len(), 2);
    driver.feed(&response(3, b""));
    assert_eq!(driver.events(), [answer(tokens[1], b"")]);
    assert_eq!(driver.timer(), None);
}

fn send_unanswered(driver: &mut Driver, patience: Option<std::time::Duration>) -> Token {
    let sent =
        driver
            .conn
            .send_unanswered(ApiKey::Produce, 3, metadata_body(), patience, driver.now);
    sent.expect("ready")
}

#[test]
fn a_request_that_nobody_answers_has_left_with_its_last_byte() {
    let mut driver = Driver::ready();
    let first = send_unanswered(&mut driver, None);
    let second = send_unanswered(&mut driver, None);
    let length = driver.conn.queued_bytes() / 2;
    driver.conn.transmitted(length - 1, driver.now);
    assert_eq!(driver.events(), []);
    driver.conn.transmitted(length, driver.now);
    assert!(driver.conn.has_events());
    assert_eq!(driver.events(), [Event::Written { token: first }]);
    driver.conn.handle_eof(driver.now);
    let failed = driver.events().into_iter().find_map(|event| match event {
        Event::Failed { token, .. } => Some(token),
        _ => None,
    });
    assert_eq!(failed, Some(second), "and that is told only once of each");
    assert!(driver.conn.is_unsent(second));
}

#[test]
fn what_fails_fails_in_the_order_in_which_it_was_sent() {
    let mut driver = Driver::ready();
    let tokens = [
        send_unanswered(&mut driver, None),
        driver.send(None),
        send_unanswered(&mut driver, None),
    ];
    driver.conn.disconnect(driver.now);
    let failed: Vec<_> = driver
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Failed { token, .. } => Some(token),
            _ => None,
        })
        .collect();
    assert_eq!(failed, tokens);
    assert!(tokens.iter().all(|&token| driver.conn.is_unsent(token)));
}

#[test]
fn a_request_that_nobody_answers_is_given_up_when_nothing_moves() {
    let mut driver = Driver::ready();
    send_unanswered(&mut driver, Some(ms(100)));
    assert_eq!(driver.timer(), Some(ms(100)));
    driver.pass(ms(90));
    driver.conn.transmitted(1, driver.now);
    assert_eq!(driver.timer(), Some(ms(100)), "a byte has moved");
    driver.pass(ms(100));
    assert!(lost(&mut driver));
}
