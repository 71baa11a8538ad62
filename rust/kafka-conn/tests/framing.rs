//! Responses cut out of whatever pieces the bytes come in.

mod support;

use kafka_conn::{Event, SaslSettings, MAX_HANDSHAKE_RESPONSE_SIZE, MAX_RESPONSE_SIZE};
use support::sasl::*;
use support::*;

#[test]
fn bytes_may_come_one_at_a_time() {
    let mut driver = Driver::shaking_hands();
    let mut events = Vec::new();
    for byte in api_versions(1, &[(0, 0, 11)]) {
        assert_eq!(events, []);
        driver.feed(&[byte]);
        events = driver.events();
    }
    assert_eq!(events, [Event::Ready]);
    let token = driver.send(None);
    let mut events = Vec::new();
    for byte in response(2, b"slowly") {
        assert_eq!(events, []);
        driver.feed(&[byte]);
        events = driver.events();
    }
    assert_eq!(events, [answer(token, b"slowly")]);
}

#[test]
fn answers_may_come_merged() {
    let mut driver = Driver::ready();
    let tokens = [driver.send(None), driver.send(None), driver.send(None)];
    let mut bytes = [response(2, b"one"), response(3, b""), response(4, b"three")].concat();
    let tail = bytes.split_off(bytes.len() - 2);
    driver.feed(&bytes);
    assert_eq!(
        driver.events(),
        [answer(tokens[0], b"one"), answer(tokens[1], b"")]
    );
    driver.feed(&tail);
    assert_eq!(driver.events(), [answer(tokens[2], b"three")]);
}

#[test]
fn the_first_answer_may_come_right_behind_the_handshake() {
    let mut driver = Driver::shaking_hands();
    driver.feed(&api_versions(1, &[]));
    assert_eq!(driver.conn.poll_event(), Some(Event::Ready));
    let token = driver.send(None);
    driver.feed(&response(2, b"x"));
    assert_eq!(driver.events(), [answer(token, b"x")]);
}

#[test]
fn a_driver_may_read_into_the_connections_own_buffer() {
    let mut driver = Driver::ready();
    let token = driver.send(None);
    let bytes = response(2, b"in place");
    let room = driver.conn.read_buffer();
    room[..bytes.len()].copy_from_slice(&bytes);
    let place = room[8..].as_ptr();
    driver.conn.handle_read(bytes.len(), driver.now);
    let events = driver.events();
    assert_eq!(events, [answer(token, b"in place")]);
    let [Event::Answer { body, .. }] = &events[..] else {
        unreachable!()
    };
    assert_eq!(body.as_ptr(), place, "decoded where it was read");
}

#[test]
fn a_size_that_is_negative_or_above_the_limit_is_invalid_in_every_state() {
    let above = i32::try_from(MAX_RESPONSE_SIZE + 1).expect("fits");
    for size in [-1, i32::MIN, above, i32::MAX] {
        for mut driver in Driver::with_socket() {
            driver.feed(&size.to_be_bytes());
            assert_eq!(driver.events(), lost("invalid response size"), "{size}");
        }
    }
}

#[test]
fn a_peer_that_speaks_something_else_is_named() {
    let tls = ": the peer speaks TLS; is this a TLS listener (tls => 1)?";
    let http = ": the peer speaks HTTP, it is no Kafka broker";
    for (bytes, hint) in [
        (b"\x15\x03\x03\x00", tls),
        (b"\x15\x03\x01\x00", tls),
        (b"HTTP", http),
        (b"SSH-", ""),
        (b"\x15\x04\x00\x00", ""),
    ] {
        let mut driver = Driver::shaking_hands();
        driver.feed(bytes);
        let text = format!("invalid response size{hint}");
        assert_eq!(driver.events(), lost(&text), "{bytes:?}");
    }
}

#[test]
fn an_answer_of_the_handshake_is_small() {
    let size = i32::try_from(MAX_HANDSHAKE_RESPONSE_SIZE).expect("fits");
    let mut driver = Driver::shaking_hands();
    driver.feed(&size.to_be_bytes());
    assert_eq!(driver.events(), [], "as large as the limit");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"] {
        let settings = SaslSettings::new(mechanism, "alice", "secret");
        let mut driver = Driver::authenticating(settings, 2);
        driver.events();
        driver.feed(&(size + 1).to_be_bytes());
        assert_eq!(
            driver.events(),
            lost("invalid response size"),
            "SaslHandshake"
        );
    }
    let mut driver = Driver::authenticating(SaslSettings::new("PLAIN", "a", "b"), 2);
    driver.accept_mechanism();
    driver.feed(&(size + 1).to_be_bytes());
    assert_eq!(
        driver.events(),
        lost("invalid response size"),
        "SaslAuthenticate"
    );
}

#[test]
fn an_answer_of_a_later_authentication_is_small_and_those_around_it_need_not_be() {
    let settings = SaslSettings::new("PLAIN", "alice", "secret");
    let mut driver = Driver::authenticated(settings, 60_000);
    let token = driver.send(None);
    let asked = driver.one_request();
    driver.pass(ms(59_000));
    assert_eq!(driver.events(), []);
    let large = vec![7; MAX_HANDSHAKE_RESPONSE_SIZE + 1];
    driver.feed(&answer_to(&asked, &large));
    let events = driver.events();
    assert!(
        matches!(&events[..], [Event::Answer { token: answered, body, .. }]
        if *answered == token && body.len() == large.len())
    );
    let size = i32::try_from(large.len()).expect("fits");
    driver.feed(&size.to_be_bytes());
    assert_eq!(driver.events(), lost("invalid response size"));
}

#[test]
fn a_size_without_room_for_a_correlation_id_is_too_short_in_every_state() {
    for size in 0..4i32 {
        for mut driver in Driver::with_socket() {
            driver.feed(&size.to_be_bytes());
            assert_eq!(driver.events(), lost("response too short"), "{size}");
        }
    }
}

#[test]
fn bytes_after_an_answer_that_start_no_response_end_the_connection_after_it() {
    let mut driver = Driver::ready();
    let token = driver.send(None);
    let mut bytes = response(2, b"good");
    bytes.extend([0xff; 9]);
    driver.feed(&bytes);
    let mut expected = vec![answer(token, b"good")];
    expected.extend(lost("invalid response size"));
    assert_eq!(driver.events(), expected);
}

#[test]
fn an_answer_as_large_as_the_limit_claims_memory_only_as_it_arrives() {
    let mut driver = Driver::ready();
    driver.send(None);
    let size = i32::try_from(MAX_RESPONSE_SIZE).expect("fits");
    driver.feed(&size.to_be_bytes());
    assert_eq!(driver.events(), []);
    let mut arrived = 4;
    while arrived < 32 << 20 {
        let room = driver.conn.read_buffer().len();
        driver.conn.handle_read(room, driver.now);
        arrived += room;
        assert_eq!(driver.events(), []);
        let held = driver.conn.buffered_bytes();
        assert!(
            held <= 2 * arrived + (8 << 20),
            "{held} held after {arrived}"
        );
    }
}

#[test]
fn a_large_answer_arrives_whole_and_its_buffer_is_given_back() {
    let mut driver = Driver::ready();
    let token = driver.send(None);
    let body: Vec<u8> = (0..20_000_000u32).map(|i| (i % 251) as u8).collect();
    let bytes = response(2, &body);
    let (mut at, mut reads) = (0, 0);
    while at < bytes.len() {
        let room = driver.conn.read_buffer();
        let n = room.len().min(bytes.len() - at);
        room[..n].copy_from_slice(&bytes[at..at + n]);
        driver.conn.handle_read(n, driver.now);
        (at, reads) = (at + n, reads + 1);
    }
    assert!(reads < 50, "{reads} reads");
    let events = driver.events();
    let [Event::Answer {
        token: answered,
        body: received,
        ..
    }] = &events[..]
    else {
        panic!("{} events", events.len())
    };
    assert_eq!(*answered, token);
    assert!(*received == body);
    assert!(
        driver.conn.buffered_bytes() <= 64 << 10,
        "{}",
        driver.conn.buffered_bytes()
    );
}

#[test]
fn reads_grow_while_they_are_filled_and_shrink_with_the_traffic() {
    let mut driver = Driver::ready();
    for _ in 0..1500 {
        driver.send(None);
    }
    let small = 8 << 10;
    assert!(driver.conn.read_buffer().len() <= small);
    let bytes: Vec<u8> = (2..1502).flat_map(|id| response(id, &[0; 1000])).collect();
    let (mut rest, mut largest) = (&bytes[..], 0);
    while !rest.is_empty() {
        let room = driver.conn.read_buffer();
        let n = room.len().min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
        largest = largest.max(room.len());
        rest = &rest[n..];
        driver.conn.handle_read(n, driver.now);
        driver.events();
    }
    assert_eq!(driver.conn.pending(), 0);
    assert_eq!(largest, 512 << 10);
    assert!(driver.conn.read_buffer().len() <= small);
}

#[test]
fn the_buffer_stays_small_however_many_answers_pass_through_it() {
    let mut driver = Driver::ready();
    let oldest = driver.send(None);
    for i in 0..2000 {
        let last = driver.send(None);
        driver.take_sent();
        driver.feed(&response(i + 2, &[0; 3000]));
        let events = driver.events();
        let [Event::Answer { token, .. }] = events[..] else {
            panic!("{events:?}")
        };
        assert!(oldest <= token && token < last);
        let held = driver.conn.buffered_bytes();
        assert!(held <= 1 << 20, "{held} held after answer {i}");
    }
}

#[test]
fn answers_may_be_kept_while_more_arrive() {
    let mut driver = Driver::ready();
    for _ in 0..100 {
        driver.send(None);
    }
    let mut kept = Vec::new();
    for i in 0..100u8 {
        driver.feed(&response(i32::from(i) + 2, &[i; 2000]));
        for event in driver.events() {
            let Event::Answer { body, .. } = event else {
                panic!("{event:?}")
            };
            kept.push(body);
        }
    }
    assert_eq!(kept.len(), 100);
    for (i, body) in (0u8..).zip(&kept) {
        assert_eq!(body, &vec![i; 2000]);
    }
}

/// Reads into the connection's own buffer, at most so many bytes at a time.
fn read(driver: &mut Driver, mut bytes: &[u8], most: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let room = driver.conn.read_buffer();
        let n = room.len().min(bytes.len()).min(most);
        room[..n].copy_from_slice(&bytes[..n]);
        driver.conn.handle_read(n, driver.now);
        bytes = &bytes[n..];
        events.extend(driver.events());
    }
    events
}

fn body(event: Event) -> bytes::Bytes {
    match event {
        Event::Answer { body, .. } => body,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_of_every_length_arrive_whole_in_any_parts() {
    let long = 64 << 10;
    let lengths = [
        0,
        1,
        long - 9,
        long - 8,
        long - 7,
        5,
        long,
        (1 << 20) - 8,
        1 << 20,
        3,
        (4 << 20) + 1,
        9 << 20,
        100,
    ];
    for most in [1_000, 8_192, 65_483, usize::MAX] {
        let mut driver = Driver::ready();
        let mut bytes = Vec::new();
        for (id, length) in (2..).zip(lengths) {
            driver.send(None);
            let body: Vec<u8> = (0..length)
                .map(|n| ((n + id as usize) % 251) as u8)
                .collect();
            bytes.extend(response(id, &body));
        }
        let events: Vec<Event> = match most {
            1_000 | 8_192 => read(&mut driver, &bytes, most),
            _ => bytes
                .chunks(most.min(bytes.len()))
                .flat_map(|chunk| {
                    driver.feed(chunk);
                    driver.events()
                })
                .collect(),
        };
        assert_eq!(events.len(), lengths.len());
        for ((id, length), event) in (2usize..).zip(lengths).zip(events) {
            let body = body(event);
            assert_eq!(body.len(), length);
            assert!((0..)
                .zip(&body[..])
                .all(|(n, byte)| usize::from(*byte) == (n + id) % 251));
        }
        assert!(driver.conn.buffered_bytes() <= 64 << 10);
    }
}

#[test]
fn the_memory_of_a_long_answer_serves_later_ones_unless_somebody_reads_it() {
    let mut driver = Driver::ready();
    for _ in 0..32 {
        driver.send(None);
    }
    let mut next = 2..;
    let mut long = |driver: &mut Driver, byte: u8| {
        let bytes = response(next.next().expect("an id"), &vec![byte; 1_000_000]);
        body(read(driver, &bytes, usize::MAX).remove(0))
    };
    let first = long(&mut driver, 1);
    let second = long(&mut driver, 2);
    let (first_at, second_at) = (first.as_ptr(), second.as_ptr());
    assert_ne!(first_at, second_at);
    drop(first);
    let third = long(&mut driver, 3);
    assert_eq!(third.as_ptr(), first_at);
    // Both are read now: there has to be more memory.
    let fourth = long(&mut driver, 4);
    for (byte, body) in (2..).zip([second, third, fourth]) {
        assert_eq!(body, vec![byte; 1_000_000]);
    }
    assert!(driver.conn.buffered_bytes() <= 5 << 20);
}

#[test]
fn the_memory_of_long_answers_is_let_go_when_only_short_ones_follow() {
    let mut driver = Driver::ready();
    for _ in 0..40 {
        driver.send(None);
    }
    let events = read(&mut driver, &response(2, &[1; 1_000_000]), usize::MAX);
    drop(events);
    assert!(driver.conn.buffered_bytes() > 1_000_000);
    for id in 3..23 {
        read(&mut driver, &response(id, b"short"), usize::MAX);
    }
    assert!(driver.conn.pending() > 0);
    assert!(driver.conn.buffered_bytes() <= 64 << 10);
}
