//! Who asks a broker what it speaks (KIP-511), what the broker tells of its features (KIP-584), and brokers
//! that know only the oldest way to be asked.

mod support;

use bytes::Bytes;
use kafka_conn::{Connection, Event, Features, Introduction, State};
use kafka_wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_wire::messages::ApiVersionsResponse;
use kafka_wire::{Message, Reader, Writer};
use support::*;

const UNSUPPORTED_VERSION: i16 = 35;

fn introduction() -> Introduction {
    Introduction {
        software_name: Bytes::from_static(b"ev-kafka"),
        software_version: Bytes::from_static(b"1.00"),
        node_id: None,
        cluster_id: None,
    }
}

/// Connected; ApiVersions is sent, at that version and with those names.
fn introduced() -> Driver {
    let mut driver = Driver::new();
    driver.conn.set_introduction(Some(introduction()));
    driver.connect();
    assert_eq!(driver.events(), [dial()]);
    driver.conn.handle_dialed(driver.now);
    assert_eq!(driver.events(), []);
    assert_eq!(asked(&mut driver), (1, 4, "ev-kafka 1.00".into()));
    driver
}

/// Correlation id and version of the only request that was sent, and who asks.
fn asked(driver: &mut Driver) -> (i32, i16, String) {
    let received = driver.received();
    let [request] = &received[..] else {
        panic!("{} requests", received.len());
    };
    let (id, version) = (request.header.correlation_id, request.header.version);
    let mut reader = Reader::new(request.body.clone());
    let body = ApiVersionsRequest::decode(&mut reader, version).expect("decodes");
    assert!(reader.is_empty());
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    let (name, number) = (
        text(&body.client_software_name),
        text(&body.client_software_version),
    );
    (id, version, format!("{name} {number}").trim().into())
}

fn answer_at(version: i16, id: i32, answer: &ApiVersionsResponse) -> Vec<u8> {
    let mut body = Writer::new();
    answer.encode(&mut body, version).expect("encodes");
    response(id, &body.into_bytes())
}

fn with_features() -> ApiVersionsResponse {
    ApiVersionsResponse {
        api_keys: vec![ApiVersion {
            api_key: 3,
            min_version: 0,
            max_version: 13,
        }],
        supported_features: vec![SupportedFeatureKey {
            name: Bytes::from_static(b"group.version"),
            min_version: 0,
            max_version: 1,
        }],
        finalized_features_epoch: 42,
        finalized_features: vec![FinalizedFeatureKey {
            name: Bytes::from_static(b"group.version"),
            max_version_level: 1,
            min_version_level: 1,
        }],
        ..Default::default()
    }
}

/// The answer to a version that the broker does not know, with the range that it does.
fn unsupported(id: i32, own: Option<(i16, i16)>) -> Vec<u8> {
    let keys: Vec<_> = own.map(|(min, max)| (18, min, max)).into_iter().collect();
    let mut body = api_versions_body(&keys);
    body[..2].copy_from_slice(&UNSUPPORTED_VERSION.to_be_bytes());
    response(id, &body)
}

fn metadata_range(conn: &Connection) -> Option<(i16, i16)> {
    conn.api_versions()?.get(&3).copied()
}

#[test]
fn a_broker_tells_its_features_to_who_introduces_itself() {
    let mut driver = introduced();
    driver.feed(&answer_at(4, 1, &with_features()));
    assert_eq!(driver.events(), [Event::Ready]);
    assert_eq!(metadata_range(&driver.conn), Some((0, 13)));
    let name = Bytes::from_static(b"group.version");
    let expected = Features {
        epoch: 42,
        finalized: [(name.clone(), 1)].into(),
        supported: [(name, (0, 1))].into(),
    };
    assert_eq!(driver.conn.features(), Some(&expected));
    driver.conn.disconnect(driver.now);
    assert_eq!(driver.conn.features(), Some(&expected), "after the end");
    driver.connect();
    assert_eq!(driver.conn.features(), None, "the next one may be another");
}

#[test]
fn who_does_not_introduce_itself_hears_of_no_features() {
    let driver = Driver::ready_with(&[(3, 0, 13)]);
    assert_eq!(driver.conn.features(), None);
}

#[test]
fn a_broker_without_features_says_so() {
    let mut driver = introduced();
    driver.feed(&answer_at(4, 1, &ApiVersionsResponse::default()));
    assert_eq!(driver.events(), [Event::Ready]);
    let features = driver.conn.features().expect("told");
    assert_eq!((features.epoch, features.finalized.len()), (-1, 0));
}

#[test]
fn a_broker_that_does_not_know_the_version_is_asked_again_on_the_same_connection() {
    let cases = [
        // Kafka 2.4 to 3.7 know version 3, older ones 2 or less, and before 2.4 they do not say so.
        (Some((0, 3)), 3),
        (Some((0, 2)), 0),
        (Some((0, 0)), 0),
        (None, 0),
        // Whoever says that it knows the version, and more, does not.
        (Some((0, 4)), 3),
        (Some((0, 9)), 3),
        (Some((-5, -1)), 0),
    ];
    for (own, again) in cases {
        let mut driver = introduced();
        driver.feed(&unsupported(1, own));
        assert_eq!(driver.events(), [], "{own:?}");
        assert_eq!(driver.conn.state(), State::ApiVersions);
        let (id, version, who) = asked(&mut driver);
        assert_eq!((id, version), (2, again), "{own:?}");
        assert_eq!(who.is_empty(), again == 0);
        driver.feed(&answer_at(again, 2, &with_features()));
        assert_eq!(driver.events(), [Event::Ready]);
        assert_eq!(metadata_range(&driver.conn), Some((0, 13)));
        assert_eq!(driver.conn.features().is_some(), again > 0);
    }
}

#[test]
fn a_broker_that_refuses_every_version_is_given_up() {
    let mut driver = introduced();
    driver.feed(&unsupported(1, Some((0, 4))));
    assert_eq!((driver.events(), asked(&mut driver).1), (vec![], 3));
    driver.feed(&unsupported(2, Some((0, 4))));
    assert_eq!((driver.events(), asked(&mut driver).1), (vec![], 0));
    driver.feed(&unsupported(3, Some((0, 4))));
    assert_eq!(driver.events(), lost("ApiVersions error: 35"));
}

#[test]
fn an_answer_laid_out_as_version_0_is_taken_as_one() {
    let mut driver = introduced();
    driver.feed(&api_versions(1, &[(3, 0, 9)]));
    assert_eq!(driver.events(), [Event::Ready]);
    assert_eq!(metadata_range(&driver.conn), Some((0, 9)));
    assert_eq!(driver.conn.features(), None);
    assert!(driver.received().is_empty(), "nothing is asked again");
}

#[test]
fn an_empty_answer_laid_out_as_version_0_is_one_too() {
    let mut driver = introduced();
    driver.feed(&api_versions(1, &[]));
    assert_eq!(driver.events(), [Event::Ready]);
    assert_eq!(driver.conn.api_versions().map(|all| all.len()), Some(0));
}

#[test]
fn another_error_ends_the_connection_in_either_layout() {
    let refusal = ApiVersionsResponse {
        error_code: 42,
        ..Default::default()
    };
    for version in [0, 4] {
        let mut driver = introduced();
        driver.feed(&answer_at(version, 1, &refusal));
        assert_eq!(driver.events(), lost("ApiVersions error: 42"));
    }
}

#[test]
fn an_answer_cut_off_anywhere_is_malformed() {
    let mut whole = Writer::new();
    with_features().encode(&mut whole, 4).expect("encodes");
    let whole = whole.into_bytes();
    for length in 0..whole.len() {
        let mut driver = introduced();
        driver.feed(&response(1, &whole[..length]));
        let expected = lost("malformed ApiVersions response");
        assert_eq!(driver.events(), expected, "{length} bytes");
    }
}

#[test]
fn each_connection_asks_anew() {
    let mut driver = introduced();
    driver.feed(&unsupported(1, None));
    driver.events();
    driver.received();
    driver.feed(&api_versions(2, &[]));
    assert_eq!(driver.events(), [Event::Ready]);
    driver.conn.disconnect(driver.now);
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    assert_eq!(asked(&mut driver).1, 4, "the broker may have been upgraded");
}

/// As [`introduced`], with the broker that is meant.
fn expecting() -> Driver {
    let mut driver = Driver::new();
    driver.conn.set_introduction(Some(Introduction {
        node_id: Some(3),
        cluster_id: Some(Bytes::from_static(b"cluster")),
        ..introduction()
    }));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    driver
}

#[test]
fn a_broker_is_told_for_whom_it_is_taken() {
    let mut driver = expecting();
    let received = driver.received();
    assert_eq!(received[0].header.version, 5);
    let mut reader = Reader::new(received[0].body.clone());
    let body = ApiVersionsRequest::decode(&mut reader, 5).expect("decodes");
    assert_eq!((body.cluster_id, body.node_id), (Some("cluster".into()), 3));
    driver.feed(&answer_at(5, 1, &with_features()));
    assert_eq!(driver.events(), [Event::Ready]);
    assert!(driver.conn.features().is_some());
}

#[test]
fn an_older_broker_is_asked_again_without_that() {
    let mut driver = expecting();
    assert_eq!(asked(&mut driver).1, 5);
    driver.feed(&unsupported(1, Some((0, 4))));
    assert_eq!((driver.events(), asked(&mut driver).1), (vec![], 4));
    driver.feed(&answer_at(4, 2, &with_features()));
    assert_eq!(driver.events(), [Event::Ready]);
}

#[test]
fn another_broker_ends_the_connection() {
    let mut driver = expecting();
    assert!(!driver.conn.met_another());
    let refusal = ApiVersionsResponse {
        error_code: 129,
        ..Default::default()
    };
    driver.feed(&answer_at(5, 1, &refusal));
    let text = "ApiVersions error: 129: another broker or cluster answers at this address";
    assert_eq!(driver.events(), lost(text));
    assert!(driver.conn.met_another());
    driver.connect();
    driver.events();
    driver
        .conn
        .handle_dial_failed("connect: refused", driver.now);
    driver.events();
    assert!(!driver.conn.met_another(), "the last error was another");
}
