//! When a lost connection comes back by itself.

mod support;

use std::time::Duration;

use kafka_conn::{Config, Connection, DialError, Event, State};
use support::*;

const DELAY: Duration = Duration::from_millis(1000);
const CAP: Duration = Duration::from_secs(30);

fn fail_to_dial(driver: &mut Driver) {
    driver
        .conn
        .handle_dial_failed(DialError::Connect("Connection refused".into()), driver.now);
    assert_eq!(driver.events(), lost("connect: Connection refused"));
}

/// Fails again and again and returns the delays in between.
fn delays(driver: &mut Driver, count: usize) -> Vec<Duration> {
    let mut delays = Vec::new();
    for _ in 0..count {
        fail_to_dial(driver);
        let delay = driver.timer().expect("a next attempt");
        driver.pass(delay);
        assert_eq!(driver.events(), [dial()]);
        delays.push(delay);
    }
    delays
}

#[test]
fn without_auto_reconnect_a_lost_connection_stays_lost() {
    for (mut driver, state) in every_active_state() {
        match state {
            State::Connecting => driver.conn.handle_dial_failed("resolve: no", driver.now),
            _ => driver.conn.handle_eof(driver.now),
        }
        driver.events();
        assert_eq!(driver.timer(), None);
    }
}

type Loss = (&'static str, fn(&mut Driver));

#[test]
fn every_unintended_loss_is_followed_by_an_attempt_after_exactly_the_delay() {
    let losses: [Loss; 8] = [
        ("resolve", |d| {
            d.conn
                .handle_dial_failed(DialError::Resolve("unknown".into()), d.now)
        }),
        ("refused", |d| {
            d.conn
                .handle_dial_failed(DialError::AllAddressesFailed, d.now)
        }),
        ("connect timeout", |d| d.pass(TIMEOUT)),
        ("eof in the handshake", |d| {
            d.conn.handle_dialed(d.now);
            d.conn.handle_eof(d.now);
        }),
        ("handshake timeout", |d| {
            d.conn.handle_dialed(d.now);
            d.pass(TIMEOUT);
        }),
        ("eof", |d| {
            d.shake_hands();
            d.conn.handle_eof(d.now);
        }),
        ("garbage", |d| {
            d.shake_hands();
            d.feed(&[0xff; 4]);
        }),
        ("request timeout", |d| {
            d.shake_hands();
            d.send(Some(ms(5)));
            d.pass(ms(5));
        }),
    ];
    for (name, lose) in losses {
        let mut driver = Driver::dialing();
        driver.conn.set_auto_reconnect(true, ms(123));
        lose(&mut driver);
        assert_eq!(driver.events().last(), Some(&Event::Disconnected), "{name}");
        assert_eq!(driver.conn.state(), State::Disconnected, "{name}");
        assert_eq!(driver.timer(), Some(ms(123)), "{name}");
        driver.pass(ms(122));
        assert_eq!(driver.events(), [], "{name}");
        driver.pass(ms(1));
        assert_eq!(driver.events(), [dial()], "{name}");
        assert_eq!(driver.conn.state(), State::Connecting, "{name}");
        assert_eq!(
            driver.timer(),
            Some(TIMEOUT),
            "{name}: the timeout holds for this attempt too"
        );
        driver.shake_hands();
    }
}

#[test]
fn delays_double_up_to_thirty_seconds_with_a_quarter_of_jitter_either_way() {
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, DELAY);
    let delays = delays(&mut driver, 50);
    assert_eq!(delays[0], DELAY, "the first one exactly");
    for (i, &delay) in delays.iter().enumerate().skip(1) {
        let base = CAP.min(DELAY * 2u32.saturating_pow(i as u32));
        assert!(
            delay >= base.mul_f64(0.75) && delay <= base.mul_f64(1.25),
            "{i}: {delay:?}"
        );
    }
    let late = &delays[5..];
    assert!(
        late.iter().any(|&delay| delay < CAP.mul_f64(0.9)),
        "{late:?}"
    );
    assert!(
        late.iter().any(|&delay| delay > CAP.mul_f64(1.1)),
        "{late:?}"
    );
}

#[test]
fn jitter_follows_the_seed() {
    let delays_with = |jitter_seed| {
        let mut driver = Driver::new();
        driver.conn = Connection::new(Config {
            jitter_seed,
            ..Config::default()
        });
        driver.conn.set_auto_reconnect(true, DELAY);
        driver.connect();
        driver.events();
        delays(&mut driver, 10)
    };
    assert_eq!(delays_with(1), delays_with(1));
    assert_ne!(delays_with(1), delays_with(2));
}

#[test]
fn a_tcp_connection_starts_the_delays_over() {
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, DELAY);
    delays(&mut driver, 5);
    driver.conn.handle_dialed(driver.now);
    driver.conn.handle_eof(driver.now);
    driver.events();
    assert_eq!(driver.timer(), Some(DELAY));
}

#[test]
fn a_new_connect_starts_the_delays_over() {
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, DELAY);
    delays(&mut driver, 5);
    driver.connect();
    assert_eq!(driver.events(), [Event::Close, dial()]);
    assert_eq!(delays(&mut driver, 1), [DELAY]);
}

#[test]
fn no_delay_at_all_means_at_once_but_not_in_a_tight_loop() {
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, Duration::ZERO);
    let delays = delays(&mut driver, 20);
    assert_eq!(delays[0], Duration::ZERO);
    assert!(delays[1] > ms(10), "{delays:?}");
    assert!(delays[19] > CAP / 2, "{delays:?}");
}

#[test]
fn a_delay_above_the_cap_is_kept() {
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, CAP * 10);
    let delays = delays(&mut driver, 3);
    assert_eq!(delays[0], CAP * 10);
    assert!(delays[2] >= CAP * 7, "{delays:?}");
}

#[test]
fn disconnect_stops_it_in_every_state() {
    for (mut driver, _) in every_active_state() {
        driver.conn.set_auto_reconnect(true, DELAY);
        driver.conn.disconnect(driver.now);
        driver.events();
        assert_eq!(driver.timer(), None);
    }
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, DELAY);
    fail_to_dial(&mut driver);
    driver.conn.disconnect(driver.now);
    assert_eq!(driver.timer(), None);
    driver.pass(DELAY * 2);
    assert_eq!(driver.events(), [], "the end was reported with the loss");
}

#[test]
fn disconnect_from_the_end_handler_stops_it() {
    let mut driver = Driver::ready();
    driver.conn.set_auto_reconnect(true, DELAY);
    driver.conn.handle_eof(driver.now);
    assert_eq!(driver.events(), [Event::Close, Event::Disconnected]);
    driver.conn.disconnect(driver.now);
    assert_eq!(driver.events(), []);
    assert_eq!(driver.timer(), None);
}

#[test]
fn it_works_again_after_a_disconnect_and_a_connect() {
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, DELAY);
    driver.conn.disconnect(driver.now);
    driver.events();
    driver.connect();
    assert_eq!(driver.events(), [dial()]);
    assert_eq!(delays(&mut driver, 1), [DELAY]);
}

#[test]
fn turning_it_off_cancels_the_attempt_that_is_waited_for() {
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, DELAY);
    fail_to_dial(&mut driver);
    driver.conn.set_auto_reconnect(false, DELAY);
    assert_eq!(driver.timer(), None);
    driver.pass(DELAY * 2);
    assert_eq!(driver.events(), []);
}

#[test]
fn a_connect_while_waiting_takes_the_place_of_the_attempt() {
    let mut driver = Driver::dialing();
    driver.conn.set_auto_reconnect(true, DELAY);
    fail_to_dial(&mut driver);
    driver.connect();
    assert_eq!(driver.events(), [dial()]);
    assert_eq!(driver.timer(), Some(TIMEOUT));
}

#[test]
fn requests_of_the_lost_connection_do_not_come_back() {
    let mut driver = Driver::ready();
    driver.conn.set_auto_reconnect(true, DELAY);
    let token = driver.send(None);
    driver.conn.handle_eof(driver.now);
    assert!(driver
        .events()
        .contains(&failed(token, "connection closed by broker")));
    driver.pass(DELAY);
    assert_eq!(driver.events(), [dial()]);
    driver.conn.handle_dialed(driver.now);
    assert_eq!(driver.received().len(), 1, "ApiVersions only");
    assert_eq!(driver.conn.pending(), 0);
}
