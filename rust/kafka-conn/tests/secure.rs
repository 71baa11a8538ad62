//! TLS and SASL together.

mod support;

use kafka_conn::{Event, SaslSettings, State};
use kafka_wire::{Reader, RequestHeader};
use support::sasl::*;
use support::tls::*;
use support::*;

/// Takes the one request that the broker has decrypted.
fn heard(peer: &mut TlsPeer) -> Received {
    let bytes = std::mem::take(&mut peer.heard);
    let size: [u8; 4] = bytes[..4].try_into().expect("four bytes");
    assert_eq!(i32::from_be_bytes(size) as usize, bytes.len() - 4);
    let mut reader = Reader::new(bytes::Bytes::from(bytes).slice(4..));
    let header = RequestHeader::decode(&mut reader).expect("a header");
    Received {
        header,
        body: reader.into_rest(),
    }
}

fn say(peer: &mut TlsPeer, driver: &mut Driver, answer: &[u8]) -> Vec<Event> {
    peer.say(answer);
    peer.exchange(driver);
    driver.events()
}

#[test]
fn scram_and_its_renewal_run_inside_tls() {
    let mut driver = Driver::new();
    driver
        .conn
        .set_sasl(Some(SaslSettings::new("SCRAM-SHA-512", "alice", "secret")));
    let mut peer = Listener::usual().accept();
    let trust = settings(&trusting(&Authority::usual().certificate));
    connect(&mut driver, Some(trust), HOST, &mut peer);
    assert_eq!(driver.conn.state(), State::ApiVersions);
    heard(&mut peer);
    let versions = api_versions(1, &[(17, 0, 1), (36, 0, 2)]);
    assert_eq!(say(&mut peer, &mut driver, &versions), []);
    for round in 0..2 {
        let mut server = ScramServer::new("SCRAM-SHA-512", "secret");
        peer.exchange(&mut driver);
        let asked = heard(&mut peer);
        assert_eq!(mechanism(&asked), "SCRAM-SHA-512");
        let accepted = answer_to(&asked, &handshake_body(0, &["SCRAM-SHA-512"]));
        assert_eq!(say(&mut peer, &mut driver, &accepted), []);
        peer.exchange(&mut driver);
        let asked = heard(&mut peer);
        let first = server.first(&auth_bytes(&asked));
        let first = Says {
            bytes: &first,
            ..Says::default()
        };
        assert_eq!(
            say(&mut peer, &mut driver, &answer_to(&asked, &first.body(2))),
            []
        );
        peer.exchange(&mut driver);
        let asked = heard(&mut peer);
        let last = server.last(&auth_bytes(&asked)).expect("the right proof");
        let last = Says {
            bytes: &last,
            lifetime_ms: 60_000,
            ..Says::default()
        };
        let events = say(&mut peer, &mut driver, &answer_to(&asked, &last.body(2)));
        assert_eq!(events.len(), usize::from(round == 0), "{events:?}");
        assert_eq!(driver.conn.state(), State::Ready);
        driver.pass(ms(50_000));
    }
}

#[test]
fn a_password_never_leaves_before_the_broker_has_shown_its_certificate() {
    let mut driver = Driver::new();
    driver
        .conn
        .set_sasl(Some(SaslSettings::new("PLAIN", "alice", "secret")));
    let mut peer = Listener::new(self_signed(&[HOST])).accept();
    let trust = settings(&trusting(&Authority::usual().certificate));
    connect(&mut driver, Some(trust), HOST, &mut peer);
    let events = driver.events();
    assert!(matches!(&events[1], Event::Error(text) if text.starts_with("TLS: ")));
    assert_eq!(peer.heard, []);
}
