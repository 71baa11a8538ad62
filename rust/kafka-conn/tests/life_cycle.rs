//! From the wish to connect to the loss of the connection.

mod support;

use kafka_conn::{DialError, Event, SendError, State};
use kafka_wire::messages::ApiVersionsRequest;
use kafka_wire::{ApiKey, Message, Reader};
use support::*;

#[test]
fn a_new_connection_is_disconnected_and_wants_nothing() {
    let mut driver = Driver::new();
    assert_eq!(driver.conn.state(), State::Disconnected);
    assert_eq!(driver.conn.pending(), 0);
    assert_eq!(driver.conn.api_versions(), None);
    assert_eq!(driver.conn.client_id(), "ev-kafka");
    assert_eq!(driver.events(), []);
    assert_eq!(driver.take_sent(), []);
    assert_eq!(driver.timer(), None);
}

#[test]
fn connecting_dials_then_asks_for_api_versions_then_is_ready() {
    let mut driver = Driver::new();
    driver.connect();
    assert_eq!(driver.conn.state(), State::Connecting);
    assert_eq!(driver.events(), [dial()]);

    driver.conn.handle_dialed(driver.now);
    assert_eq!(driver.conn.state(), State::ApiVersions);
    assert_eq!(driver.events(), []);
    let requests = driver.received();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header.api, ApiKey::ApiVersions);
    assert_eq!(requests[0].header.version, 0);
    assert_eq!(requests[0].header.correlation_id, 1);
    assert_eq!(
        requests[0].header.client_id.as_deref(),
        Some(&b"ev-kafka"[..])
    );
    let mut body = Reader::new(requests[0].body.clone());
    assert_eq!(
        ApiVersionsRequest::decode(&mut body, 0),
        Ok(ApiVersionsRequest::default())
    );
    assert!(body.is_empty());
    assert_eq!(
        driver.conn.pending(),
        0,
        "the handshake is not the caller's"
    );

    driver.feed(&api_versions(1, &[(0, 3, 11), (3, 0, 13), (999, 4, 5)]));
    assert_eq!(driver.events(), [Event::Ready]);
    assert_eq!(driver.conn.state(), State::Ready);
    let advertised = driver.conn.api_versions().expect("advertised");
    assert_eq!(advertised.get(&0), Some(&(3, 11)));
    assert_eq!(
        advertised.get(&999),
        Some(&(4, 5)),
        "also of APIs that are unknown here"
    );
    assert_eq!(driver.timer(), None);
}

#[test]
fn states_have_the_numbers_that_programs_see() {
    use State::*;
    let all = [
        Disconnected,
        Connecting,
        TlsHandshake,
        SaslHandshake,
        SaslAuthenticate,
        ApiVersions,
        Ready,
    ];
    assert_eq!(all.map(State::number), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_failed_dial_is_an_error_in_the_drivers_words() {
    let cases = [
        (
            DialError::Resolve("Name or service not known".into()),
            "resolve: Name or service not known",
        ),
        (
            DialError::Connect("Connection refused".into()),
            "connect: Connection refused",
        ),
        (
            DialError::AllAddressesFailed,
            "connect: all addresses failed",
        ),
    ];
    for (reason, text) in cases {
        let mut driver = Driver::dialing();
        driver.conn.handle_dial_failed(reason, driver.now);
        assert_eq!(driver.conn.state(), State::Disconnected);
        assert_eq!(driver.events(), lost(text));
        assert_eq!(driver.timer(), None);
    }
}

#[test]
fn requests_are_refused_in_every_state_but_ready() {
    for mut driver in [Driver::new(), Driver::dialing(), Driver::shaking_hands()] {
        let now = driver.now;
        let refused = driver
            .conn
            .send(ApiKey::Metadata, 1, metadata_body(), None, now);
        assert_eq!(refused, Err(SendError::NotConnected));
        assert_eq!(SendError::NotConnected.to_string(), "not connected");
        let refused = driver
            .conn
            .send_oneway(ApiKey::Produce, 3, metadata_body(), driver.now);
        assert_eq!(refused, Err(SendError::NotConnected));
        assert_eq!(driver.take_sent(), []);
        assert_eq!(driver.conn.pending(), 0);
    }
}

#[test]
fn a_stall_while_dialing_is_a_connect_timeout() {
    let mut driver = Driver::dialing();
    assert_eq!(driver.timer(), Some(TIMEOUT));
    driver.pass(TIMEOUT - ms(1));
    assert_eq!(driver.events(), []);
    driver.pass(ms(1));
    assert_eq!(driver.events(), lost("connect timeout"));
    assert_eq!(driver.conn.state(), State::Disconnected);
}

#[test]
fn a_stall_in_the_handshake_is_a_handshake_timeout_with_a_time_of_its_own() {
    let mut driver = Driver::dialing();
    driver.pass(TIMEOUT - ms(1));
    driver.conn.handle_dialed(driver.now);
    assert_eq!(driver.timer(), Some(TIMEOUT), "the time starts over");
    driver.pass(TIMEOUT - ms(1));
    assert_eq!(driver.events(), []);
    driver.feed(&api_versions(1, &[])[..7]);
    driver.pass(ms(1));
    assert_eq!(driver.events(), lost("handshake timeout"));
}

#[test]
fn a_ready_connection_that_awaits_nothing_never_times_out() {
    let mut driver = Driver::ready();
    driver.pass(TIMEOUT * 1000);
    assert_eq!(driver.events(), []);
    assert_eq!(driver.conn.state(), State::Ready);
}

#[test]
fn without_a_timeout_connecting_and_handshake_take_as_long_as_they_take() {
    let mut driver = Driver::new();
    driver.conn.connect("kafka.example", 9092, None, driver.now);
    assert_eq!(driver.events(), [dial()]);
    assert_eq!(driver.timer(), None);
    driver.pass(TIMEOUT * 1000);
    driver.conn.handle_dialed(driver.now);
    assert_eq!(driver.timer(), None);
    driver.pass(TIMEOUT * 1000);
    assert_eq!(driver.events(), []);
    assert_eq!(driver.conn.state(), State::ApiVersions);
}

#[test]
fn an_answer_that_arrived_in_time_counts_even_when_nobody_looked_yet() {
    let mut driver = Driver::shaking_hands();
    driver.feed(&api_versions(1, &[]));
    driver.pass(TIMEOUT * 2);
    assert_eq!(driver.events(), [Event::Ready]);
}

#[test]
fn a_close_that_was_heard_in_time_is_no_timeout() {
    let mut driver = Driver::shaking_hands();
    driver.conn.handle_eof(driver.now);
    driver.pass(TIMEOUT);
    assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
}

#[test]
fn a_broker_that_closes_in_any_state_is_no_error() {
    for mut driver in Driver::with_socket() {
        driver.conn.handle_eof(driver.now);
        assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
        assert_eq!(driver.conn.state(), State::Disconnected);
    }
}

#[test]
fn a_broker_that_closes_inside_a_response_is_no_error_either() {
    for mut driver in Driver::with_socket() {
        driver.feed(&api_versions(1, &[])[..9]);
        driver.conn.handle_eof(driver.now);
        assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
    }
}

#[test]
fn unanswered_requests_fail_when_the_broker_closes() {
    let mut driver = Driver::ready();
    let (first, second) = (driver.send(None), driver.send(None));
    assert_eq!(driver.conn.pending(), 2);
    driver.conn.handle_eof(driver.now);
    let reason = "connection closed by broker";
    let failures = [failed(first, reason), failed(second, reason)];
    let [first, second] = failures;
    assert_eq!(
        driver.events(),
        [Event::Close, first, second, Event::Disconnected]
    );
    assert_eq!(driver.conn.pending(), 0);
}

#[test]
fn answers_that_came_before_the_close_are_delivered_first() {
    let mut driver = Driver::ready();
    let (first, second) = (driver.send(None), driver.send(None));
    driver.feed(&response(2, b"one"));
    driver.conn.handle_eof(driver.now);
    assert_eq!(
        driver.events(),
        [
            answer(first, b"one"),
            Event::Close,
            failed(second, "connection closed by broker"),
            Event::Disconnected,
        ]
    );
}

#[test]
fn an_io_error_reaches_the_error_handler_and_the_requests() {
    let mut driver = Driver::ready();
    let token = driver.send(None);
    driver
        .conn
        .handle_io_error("read: No route to host", driver.now);
    driver.conn.handle_eof(driver.now);
    let text = "read: No route to host";
    assert_eq!(
        driver.events(),
        [
            Event::Close,
            error(text),
            failed(token, text),
            Event::Disconnected
        ]
    );
}

#[test]
fn an_error_is_reported_before_the_failures_and_the_failures_before_the_end() {
    let mut driver = Driver::ready();
    let (first, second) = (driver.send(None), driver.send(None));
    driver.feed(&response(77, b""));
    let text = "correlation ID mismatch: expected 2, got 77";
    assert_eq!(
        driver.events(),
        [
            Event::Close,
            error(text),
            failed(first, text),
            failed(second, text),
            Event::Disconnected
        ]
    );
}

#[test]
fn disconnect_ends_every_state_without_an_error() {
    for (mut driver, state) in every_active_state() {
        assert_eq!(driver.conn.state(), state);
        driver.conn.disconnect(driver.now);
        assert_eq!(driver.conn.state(), State::Disconnected);
        assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
        assert_eq!(driver.timer(), None);
        driver.conn.disconnect(driver.now);
        assert_eq!(driver.events(), [], "twice is once");
    }
}

#[test]
fn disconnect_before_the_dial_was_heard_of_leaves_nothing_to_dial() {
    let mut driver = Driver::new();
    driver.connect();
    driver.conn.disconnect(driver.now);
    assert_eq!(driver.events(), [Event::Disconnected]);
}

#[test]
fn disconnect_fails_the_unanswered_requests() {
    let mut driver = Driver::ready();
    let token = driver.send(None);
    driver.conn.disconnect(driver.now);
    let expected = [
        Event::Close,
        failed(token, "disconnected"),
        Event::Disconnected,
    ];
    assert_eq!(driver.events(), expected);
    assert_eq!(
        driver.take_sent(),
        [],
        "what was not written yet is not written any more"
    );
}

#[test]
fn disconnect_between_two_answers_leaves_no_trace_of_the_second() {
    let mut driver = Driver::ready();
    let tokens = [driver.send(None), driver.send(None), driver.send(None)];
    // The rest of what arrived is garbage: nothing of it may be reported either.
    let mut bytes = response(2, b"one");
    bytes.extend(response(3, b"two"));
    bytes.extend(response(-9, b"garbage"));
    driver.feed(&bytes);
    driver.conn.handle_eof(driver.now);
    assert_eq!(driver.conn.poll_event(), Some(answer(tokens[0], b"one")));
    assert_eq!(driver.conn.pending(), 2, "the second answer is not out yet");
    driver.conn.disconnect(driver.now);
    assert_eq!(
        driver.events(),
        [
            Event::Close,
            failed(tokens[1], "disconnected"),
            failed(tokens[2], "disconnected"),
            Event::Disconnected
        ]
    );
}

#[test]
fn connect_between_two_answers_leaves_no_trace_of_the_second() {
    let mut driver = Driver::ready();
    let (first, second) = (driver.send(None), driver.send(None));
    driver.feed(&[response(2, b"one"), response(3, b"two")].concat());
    assert_eq!(driver.conn.poll_event(), Some(answer(first, b"one")));
    driver.connect();
    assert_eq!(
        driver.events(),
        [Event::Close, failed(second, "reconnecting"), dial()]
    );
    driver.shake_hands();
}

#[test]
fn connect_while_connected_fails_the_unanswered_requests_with_reconnecting() {
    let mut driver = Driver::ready();
    let (first, second) = (driver.send(None), driver.send(None));
    driver
        .conn
        .connect("other.example", 19092, Some(TIMEOUT), driver.now);
    assert_eq!(driver.conn.state(), State::Connecting);
    assert_eq!(
        driver.events(),
        [
            Event::Close,
            failed(first, "reconnecting"),
            failed(second, "reconnecting"),
            Event::Dial {
                host: "other.example".into(),
                port: 19092
            }
        ]
    );
    assert_eq!(
        driver.conn.api_versions(),
        None,
        "they were another broker's"
    );
    driver.shake_hands();
}

#[test]
fn connect_while_connecting_dials_anew() {
    let mut driver = Driver::dialing();
    driver.pass(ms(9_000));
    driver.connect();
    assert_eq!(driver.events(), [Event::Close, dial()]);
    assert_eq!(driver.timer(), Some(TIMEOUT));
}

#[test]
fn connect_twice_before_the_first_dial_was_heard_of_dials_once() {
    let mut driver = Driver::new();
    driver.connect();
    driver.connect();
    assert_eq!(driver.events(), [dial()]);
}

#[test]
fn a_report_about_a_dial_that_was_given_up_is_not_taken_for_the_next_one() {
    let mut driver = Driver::dialing();
    driver.connect();
    driver.conn.handle_dialed(driver.now);
    driver.conn.handle_dial_failed("connect: late", driver.now);
    assert_eq!(driver.conn.state(), State::Connecting);
    assert_eq!(driver.events(), [Event::Close, dial()]);
}

#[test]
fn connect_from_the_error_handler_comes_after_the_end_of_the_old_connection() {
    let mut driver = Driver::ready();
    let token = driver.send(None);
    driver.feed(&response(5, b""));
    let text = "correlation ID mismatch: expected 2, got 5";
    assert_eq!(driver.conn.poll_event(), Some(Event::Close));
    assert_eq!(driver.conn.poll_event(), Some(error(text)));
    driver.connect();
    assert_eq!(
        driver.events(),
        [failed(token, text), Event::Disconnected, dial()]
    );
    driver.shake_hands();
}

#[test]
fn disconnect_from_the_error_handler_adds_no_second_end() {
    let mut driver = Driver::ready();
    let token = driver.send(None);
    driver.feed(&response(5, b""));
    let text = "correlation ID mismatch: expected 2, got 5";
    assert_eq!(driver.conn.poll_event(), Some(Event::Close));
    assert_eq!(driver.conn.poll_event(), Some(error(text)));
    driver.conn.disconnect(driver.now);
    assert_eq!(driver.events(), [failed(token, text), Event::Disconnected]);
}

#[test]
fn destroying_fails_the_unanswered_requests_and_reports_nothing_else() {
    let mut driver = Driver::ready();
    let token = driver.send(None);
    driver.conn.destroy();
    assert_eq!(driver.events(), [Event::Close, failed(token, "destroyed")]);
    assert_eq!(driver.conn.state(), State::Disconnected);
}

#[test]
fn destroying_in_the_middle_of_a_loss_reports_neither_error_nor_end() {
    let mut driver = Driver::ready();
    driver.conn.set_auto_reconnect(true, ms(1000));
    let token = driver.send(None);
    driver.feed(&response(5, b""));
    assert_eq!(driver.conn.poll_event(), Some(Event::Close));
    driver.conn.destroy();
    let text = "correlation ID mismatch: expected 2, got 5";
    assert_eq!(driver.events(), [failed(token, text)]);
    assert_eq!(driver.timer(), None);
}

#[test]
fn what_a_driver_reports_without_a_socket_changes_nothing() {
    for mut driver in [Driver::new(), Driver::dialing()] {
        let state = driver.conn.state();
        driver.feed(&api_versions(1, &[]));
        assert!(driver.conn.read_buffer().is_empty());
        driver.conn.handle_read(100, driver.now);
        driver.conn.handle_eof(driver.now);
        driver.conn.handle_io_error("read: bad", driver.now);
        driver.conn.transmitted(5, driver.now);
        assert_eq!(driver.events(), []);
        assert_eq!(driver.conn.state(), state);
    }
    for mut driver in Driver::with_socket() {
        let state = driver.conn.state();
        driver.conn.handle_dialed(driver.now);
        driver.conn.handle_dial_failed("connect: late", driver.now);
        assert_eq!(driver.events(), []);
        assert_eq!(driver.conn.state(), state);
    }
}

#[test]
fn the_client_id_can_change_at_any_time() {
    let mut driver = Driver::new();
    driver.conn.set_client_id("one".into());
    driver.connect();
    assert_eq!(driver.events(), [dial()]);
    driver.conn.handle_dialed(driver.now);
    assert_eq!(
        driver.received()[0].header.client_id.as_deref(),
        Some(&b"one"[..])
    );
    driver.feed(&api_versions(1, &[]));
    assert_eq!(driver.events(), [Event::Ready]);
    driver.conn.set_client_id("".into());
    driver.send(None);
    assert_eq!(
        driver.received()[0].header.client_id.as_deref(),
        Some(&b""[..])
    );
}

#[test]
fn a_client_id_that_no_header_can_carry_is_an_error_not_a_hang() {
    let mut driver = Driver::dialing();
    driver.conn.set_client_id(vec![b'x'; 40_000].into());
    driver.conn.handle_dialed(driver.now);
    let events = driver.events();
    let [Event::Close, Event::Error(text), Event::Disconnected] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(text.contains("client_id"), "{text}");
    assert_eq!(driver.conn.state(), State::Disconnected);
}
