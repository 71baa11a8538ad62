//! The order in which a broker's addresses are tried.

// Compiled a second time here, where only a part of it is used: the library itself can only be loaded by perl.
#[allow(dead_code)]
#[path = "../src/conn/dial.rs"]
mod dial;
#[path = "../src/conn/strerror.rs"]
mod strerror;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use dial::Dial;
use kafka_conn::DialError;
use mio::{Events, Interest, Poll, Token};

/// An address where somebody listens.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listens");
    let address = listener.local_addr().expect("has an address");
    (listener, address)
}

/// An address that refuses.
fn refusing() -> SocketAddr {
    listener().1
}

/// An address to which the system has no way: it fails before anything is sent.
fn unroutable() -> SocketAddr {
    (Ipv4Addr::BROADCAST, 9).into()
}

/// Tries one address after the other, as a link does: where that ends.
fn dial(addresses: Vec<SocketAddr>) -> Result<SocketAddr, DialError> {
    let mut dial = Dial::new(addresses, None);
    let mut poll = Poll::new().expect("polls");
    loop {
        let mut socket = dial.next_socket(Instant::now())?;
        let writable = Interest::WRITABLE;
        poll.registry()
            .register(&mut socket, Token(0), writable)
            .expect("registers");
        let ended = loop {
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, Some(Duration::from_secs(10)))
                .expect("waits");
            match dial::finished(&socket) {
                Ok(true) => return Ok(socket.peer_addr().expect("is connected")),
                Ok(false) => {}
                Err(error) => break error,
            }
        };
        dial.failed(&ended);
    }
}

#[test]
fn the_first_address_that_accepts_is_taken() {
    let (_one, first) = listener();
    let (_other, second) = listener();
    assert_eq!(dial(vec![first, second]), Ok(first));
    assert_eq!(dial(vec![second, first]), Ok(second));
}

#[test]
fn one_that_refuses_is_passed_over() {
    let (_listener, good) = listener();
    assert_eq!(dial(vec![refusing(), refusing(), good]), Ok(good));
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, refusing().port()));
    assert_eq!(dial(vec![ipv6, good]), Ok(good));
}

#[test]
fn one_that_fails_on_the_spot_is_passed_over() {
    let (_listener, good) = listener();
    assert_eq!(dial(vec![unroutable(), good]), Ok(good));
}

#[test]
fn each_gets_an_equal_share_of_the_time_that_is_left() {
    let (_listener, good) = listener();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut dial = Dial::new(vec![good; 3], Some(at(9)));
    let mut next = |now| {
        dial.next_socket(now).expect("an address is left");
        dial.share_ends()
    };
    assert_eq!(next(at(0)), Some(at(3)));
    assert_eq!(next(at(1)), Some(at(5)), "what the first left is shared");
    assert_eq!(next(at(5)), None, "the last has all that is left");
}

#[test]
fn without_a_deadline_the_system_says_when_an_address_is_given_up() {
    let (_listener, good) = listener();
    let mut dial = Dial::new(vec![good; 2], None);
    dial.next_socket(Instant::now())
        .expect("an address is left");
    assert_eq!(dial.share_ends(), None);
}

#[test]
fn the_only_address_gives_its_own_reason() {
    let refused = DialError::Connect("Connection refused".into());
    assert_eq!(dial(vec![refusing()]), Err(refused));
    assert!(matches!(
        dial(vec![unroutable()]),
        Err(DialError::Connect(_))
    ));
}

#[test]
fn several_addresses_fail_together() {
    assert_eq!(
        dial(vec![refusing(), refusing()]),
        Err(DialError::AllAddressesFailed)
    );
    assert_eq!(
        dial(vec![refusing(), unroutable()]),
        Err(DialError::AllAddressesFailed)
    );
}

#[test]
fn the_address_after_the_last_one_is_the_first() {
    let (_one, first) = listener();
    let (_other, second) = listener();
    let mut dial = Dial::new(vec![first, second], None);
    assert_eq!(dial.current_and_next(), None, "nothing is tried yet");
    assert_eq!(dial.progress(), (2, 0));
    for (tried, expected) in [(1, (first, second)), (2, (second, first))] {
        dial.next_socket(Instant::now()).expect("an address");
        assert_eq!(dial.current_and_next(), Some(expected));
        assert_eq!(dial.progress(), (2, tried));
    }
}
