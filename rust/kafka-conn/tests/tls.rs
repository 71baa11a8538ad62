//! TLS: whom the client trusts, who it is, and what it says when that fails.

mod support;

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine;
use kafka_conn::{Event, State, TlsOptions};
use rcgen::{CertificateParams, DnType, GeneralSubtree, NameConstraints};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::HandshakeKind;
use support::tls::*;
use support::*;

/// What becomes of a connection to `host`: whether it is secure, and the events.
fn attempt(options: &TlsOptions, host: &str, listener: &Listener) -> (Driver, TlsPeer) {
    let mut driver = Driver::new();
    let mut peer = listener.accept();
    connect(&mut driver, Some(settings(options)), host, &mut peer);
    (driver, peer)
}

/// Asserts that ApiVersions reached the broker and that its answer makes the connection ready.
fn assert_works(driver: &mut Driver, peer: &mut TlsPeer) {
    assert_eq!(driver.conn.state(), State::ApiVersions);
    assert_eq!(peer.heard[4..12], [0, 18, 0, 0, 0, 0, 0, 1]);
    peer.say(&api_versions(1, &[]));
    peer.exchange(driver);
    assert_eq!(driver.events(), [Event::Ready]);
}

#[track_caller]
fn assert_connects(options: &TlsOptions, host: &str, listener: &Listener) {
    let (mut driver, mut peer) = attempt(options, host, listener);
    assert_eq!(driver.events(), []);
    assert_works(&mut driver, &mut peer);
}

/// Asserts that the connection fails; gives the text.
#[track_caller]
fn refusal(options: &TlsOptions, host: &str, listener: &Listener) -> String {
    let (mut driver, _) = attempt(options, host, listener);
    let events = driver.events();
    let [Event::Close, Event::Error(text), Event::Disconnected] = &events[..] else {
        panic!("{events:?}")
    };
    text.clone()
}

fn usual() -> TlsOptions {
    trusting(&Authority::usual().certificate)
}

#[test]
fn both_versions_of_tls_work_and_the_state_tells_of_the_handshake() {
    for versions in EACH_VERSION {
        let listener = Listener {
            versions,
            ..Listener::usual()
        };
        let mut driver = Driver::new();
        driver.conn.set_tls(Some(settings(&usual())));
        driver.connect();
        driver.events();
        driver.conn.handle_dialed(driver.now);
        assert_eq!(driver.conn.state(), State::TlsHandshake);
        assert_eq!(driver.timer(), Some(TIMEOUT));
        assert!(driver.conn.queued_bytes() > 0);
        driver.pass(ms(5000));
        let mut peer = listener.accept();
        peer.exchange(&mut driver);
        assert_eq!(peer.tls.protocol_version(), Some(versions[0].version));
        assert_eq!(
            driver.timer(),
            Some(TIMEOUT),
            "ApiVersions has its own time"
        );
        assert_works(&mut driver, &mut peer);
        let token = driver.send(None);
        peer.exchange(&mut driver);
        peer.say(&response(2, b"answer"));
        peer.exchange(&mut driver);
        assert_eq!(driver.events(), [answer(token, b"answer")]);
    }
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let mut driver = Driver::new();
    let mut peer = Listener::usual().accept();
    peer.step = 1;
    connect(&mut driver, Some(settings(&usual())), HOST, &mut peer);
    assert_works(&mut driver, &mut peer);
}

#[test]
fn large_requests_and_answers_pass_whole() {
    let (mut driver, mut peer) = attempt(&usual(), HOST, &Listener::usual());
    assert_works(&mut driver, &mut peer);
    peer.heard.clear();
    let record_batch: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut body = kafka_wire::Writer::new();
    body.put_shared(record_batch.clone().into());
    let api = kafka_wire::ApiKey::Produce;
    driver
        .conn
        .send(api, 3, body, None, driver.now)
        .expect("ready");
    peer.exchange(&mut driver);
    assert!(peer.heard.ends_with(&record_batch));
    peer.say(&response(2, &record_batch));
    peer.exchange(&mut driver);
    let [Event::Answer { body, .. }] = &driver.events()[..] else {
        panic!("an answer")
    };
    assert_eq!(body, &record_batch);
    assert!(driver.conn.buffered_bytes() < 1 << 20, "the buffers shrink");
}

#[test]
fn pieces_of_a_request_are_encrypted_together() {
    let (mut driver, mut peer) = attempt(&usual(), HOST, &Listener::usual());
    assert_works(&mut driver, &mut peer);
    peer.heard.clear();
    let mut body = kafka_wire::Writer::new();
    let mut expected = Vec::new();
    for number in 0..200u32 {
        for len in [20, 10_000] {
            let piece: Vec<u8> = (0..len).map(|n| ((n + number) % 251) as u8).collect();
            expected.extend_from_slice(&piece);
            body.put_shared(piece.into());
        }
    }
    let api = kafka_wire::ApiKey::Produce;
    let sent = driver.conn.send(api, 3, body, None, driver.now);
    sent.expect("ready");
    let mut encrypted = 0;
    while let Some(transmit) = driver.conn.poll_transmit() {
        let bytes: Vec<u8> = transmit.segments().flatten().copied().collect();
        encrypted += bytes.len();
        driver.conn.transmitted(bytes.len(), driver.now);
        peer.hear(&bytes);
    }
    assert!(peer.heard.ends_with(&expected));
    // A record of 16 KiB has some 22 bytes of its own.
    assert!(encrypted < expected.len() + expected.len() / 300);
}

#[test]
fn a_driver_may_read_into_the_connections_own_buffer() {
    let mut driver = Driver::new();
    let mut peer = Listener::usual().accept();
    driver.conn.set_tls(Some(settings(&usual())));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    let mut answered = false;
    let mut payload = api_versions(1, &[]);
    payload.extend((2..200).flat_map(|id| response(id, &[7; 3000])));
    let tokens: Vec<_> = loop {
        peer.hear(&driver.take_sent());
        if !answered && !peer.heard.is_empty() {
            answered = true;
            peer.say(&api_versions(1, &[]));
        }
        let down = peer.take();
        let mut rest = &down[..];
        while !rest.is_empty() {
            let room = driver.conn.read_buffer();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            driver.conn.handle_read(n, driver.now);
        }
        if driver.events() == [Event::Ready] {
            break (2..200).map(|_| driver.send(None)).collect();
        }
    };
    peer.hear(&driver.take_sent());
    peer.say(&payload[api_versions(1, &[]).len()..]);
    let down = peer.take();
    let mut rest = &down[..];
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let room = driver.conn.read_buffer();
        let n = room.len().min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        driver.conn.handle_read(n, driver.now);
        answers.extend(driver.events());
    }
    let expected: Vec<_> = tokens
        .iter()
        .map(|&token| answer(token, &[7; 3000]))
        .collect();
    assert_eq!(answers, expected);
}

#[test]
fn an_authority_that_is_not_trusted_is_an_unknown_issuer() {
    let other = Authority::new("another authority");
    let text = refusal(&trusting(&other.certificate), HOST, &Listener::usual());
    assert!(
        text.starts_with("TLS: certificate verify failed: unknown issuer"),
        "{text}"
    );
    let listener = Listener::new(self_signed(&[HOST]));
    let text = refusal(&usual(), HOST, &listener);
    assert!(
        text.starts_with("TLS: certificate verify failed: unknown issuer"),
        "{text}"
    );
}

#[test]
fn a_name_that_the_certificate_does_not_have_is_a_mismatch() {
    let listener = Listener::new(Authority::usual().issue(&["broker-1.example", "127.0.0.1"]));
    let options = usual();
    assert_eq!(
        refusal(&options, HOST, &listener),
        "TLS: certificate verify failed: name mismatch: the certificate is for \
         broker-1.example, 127.0.0.1, not for kafka.example"
    );
    for host in ["127.0.0.2", "::1"] {
        let text = refusal(&options, host, &listener);
        assert!(text.contains("name mismatch") && text.ends_with(&format!("not for {host}")));
    }
}

#[test]
fn addresses_are_checked_like_names() {
    let listener = Listener::new(Authority::usual().issue(&["127.0.0.1", "::1", "fe80::1"]));
    for host in ["127.0.0.1", "::1", "[::1]", "0:0::1", "fe80::1%eth0"] {
        assert_connects(&usual(), host, &listener);
    }
}

#[test]
fn wildcards_match_one_label() {
    let listener = Listener::new(Authority::usual().issue(&["*.kafka.example"]));
    assert_connects(&usual(), "broker-1.kafka.example", &listener);
    for host in ["kafka.example", "a.b.kafka.example"] {
        assert!(refusal(&usual(), host, &listener).contains("name mismatch"));
    }
}

#[test]
fn the_broker_is_told_by_an_alert_what_is_wrong_with_its_certificate() {
    for versions in EACH_VERSION {
        let alert = |identity: Identity| {
            let listener = Listener {
                versions,
                ..Listener::new(identity)
            };
            let mut driver = Driver::new();
            let mut peer = listener.accept();
            connect(&mut driver, Some(settings(&usual())), HOST, &mut peer);
            peer.exchange(&mut driver);
            assert!(!driver.conn.has_last_words(), "it has been said");
            assert!(driver.conn.poll_transmit().is_none());
            let [Event::Close, Event::Error(_), Event::Disconnected] = &driver.events()[..] else {
                panic!("refused")
            };
            assert_eq!(peer.heard, b"");
            peer.failure
        };
        use rustls::AlertDescription::*;
        use rustls::Error::AlertReceived;
        let authority = Authority::usual();
        let stranger = Authority::new("stranger").issue(&[HOST]);
        assert_eq!(alert(stranger), Some(AlertReceived(UnknownCA)));
        let other = authority.issue(&["other.example"]);
        assert_eq!(alert(other), Some(AlertReceived(BadCertificate)));
        let expired = authority.issue_with(&[HOST], expired);
        assert_eq!(alert(expired), Some(AlertReceived(CertificateExpired)));
    }
}

#[test]
fn a_record_that_does_not_decrypt_is_answered_by_an_alert_alone() {
    let (mut driver, mut peer) = attempt(&usual(), HOST, &Listener::usual());
    assert_works(&mut driver, &mut peer);
    let token = driver.send(None);
    peer.heard.clear();
    let mut record = vec![23, 3, 3, 0, 32];
    record.extend([7; 32]);
    driver.feed(&record);
    assert!(driver.conn.has_last_words());
    peer.exchange(&mut driver);
    let failure = rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac);
    assert_eq!(peer.failure, Some(failure));
    assert_eq!(
        peer.heard, b"",
        "what was not sent before is not sent any more"
    );
    let reason = "TLS: cannot decrypt peer's message";
    let [Event::Close, Event::Error(text), Event::Failed { token: failed, .. }, Event::Disconnected] =
        &driver.events()[..]
    else {
        panic!("an error")
    };
    assert_eq!((text.as_str(), *failed), (reason, token));
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let expired = Authority::usual().issue_with(&[HOST], expired);
    assert_eq!(
        refusal(&usual(), HOST, &Listener::new(expired)),
        "TLS: certificate verify failed: certificate has expired"
    );
    let early = Authority::usual().issue_with(&[HOST], not_yet_valid);
    assert_eq!(
        refusal(&usual(), HOST, &Listener::new(early)),
        "TLS: certificate verify failed: certificate is not yet valid"
    );
}

#[test]
fn skipping_verification_accepts_all_of_these() {
    let options = TlsOptions {
        skip_verify: true,
        ..TlsOptions::default()
    };
    for identity in [
        self_signed(&["elsewhere.example"]),
        Authority::new("nobody").issue(&["elsewhere.example"]),
        Authority::usual().issue_with(&[HOST], expired),
    ] {
        for versions in EACH_VERSION {
            let listener = Listener {
                versions,
                ..Listener::new(identity.clone())
            };
            assert_connects(&options, HOST, &listener);
        }
    }
}

fn version_1() -> Identity {
    Identity {
        certificate: fixture("v1"),
        key: fixture("ec-pkcs8"),
    }
}

#[test]
fn certificates_of_x509_version_1_serve_clients_and_where_nothing_is_verified() {
    let client = version_1();
    let options = TlsOptions {
        certificate: Some(pem("v1.pem", &client.certificate)),
        key: Some(pem("v1.key", &client.key)),
        ..usual()
    };
    assert_connects(&options, HOST, &Listener::usual());

    let listener = Listener::new(version_1());
    let text = refusal(&usual(), HOST, &listener);
    assert_eq!(
        text,
        "TLS: certificate verify failed: unknown issuer: signed by an authority that is not trusted"
    );
    let options = TlsOptions {
        skip_verify: true,
        ..TlsOptions::default()
    };
    assert_connects(&options, HOST, &listener);
}

/// Asserts that the connection works, and that somebody hears of the common name.
#[track_caller]
fn assert_connects_by_common_name(options: &TlsOptions, host: &str, identity: &Identity) {
    for versions in EACH_VERSION {
        let listener = Listener {
            versions,
            ..Listener::new(identity.clone())
        };
        let (mut driver, mut peer) = attempt(options, host, &listener);
        let text = format!(
            "TLS: the certificate of {host} names it by its common name only: \
             it should have a subjectAltName"
        );
        assert_eq!(driver.events(), [Event::Notice(text)]);
        assert_works(&mut driver, &mut peer);
    }
}

/// A certificate without a subjectAltName.
fn with_common_name(name: &str) -> Identity {
    Authority::usual().issue_with(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, name);
    })
}

#[test]
fn a_common_name_counts_where_there_is_no_subject_alt_name() {
    for (name, host) in [
        (HOST, HOST),
        ("KAFKA.Example", HOST),
        ("*.kafka.example", "one.kafka.example"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        assert_connects_by_common_name(&usual(), host, &with_common_name(name));
    }
    let text = refusal(&usual(), HOST, &Listener::new(with_common_name("other")));
    assert_eq!(
        text,
        "TLS: certificate verify failed: name mismatch: \
         the certificate is for other, not for kafka.example"
    );
    let skipping = TlsOptions {
        skip_verify: true,
        ..TlsOptions::default()
    };
    assert_connects(&skipping, HOST, &Listener::new(with_common_name(HOST)));
}

#[test]
fn a_common_name_does_not_count_beside_a_subject_alt_name() {
    for names in [&["other.example"][..], &["user@kafka.example"]] {
        let identity = Authority::usual().issue_with(names, |params| {
            params.distinguished_name.push(DnType::CommonName, HOST);
        });
        let text = refusal(&usual(), HOST, &Listener::new(identity));
        assert!(text.contains("name mismatch"), "{text}");
    }
    let nameless = Authority::usual().issue_with(&[HOST], |params| {
        params.distinguished_name.push(DnType::CommonName, HOST);
    });
    assert_connects(&usual(), HOST, &Listener::new(nameless));
}

#[test]
fn everything_else_about_a_certificate_with_a_common_name_is_checked() {
    let stranger = Authority::new("a stranger").issue_with(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, HOST);
    });
    let text = refusal(&usual(), HOST, &Listener::new(stranger));
    assert!(text.contains("unknown issuer"), "{text}");
    for (change, reason) in [
        (expired as fn(&mut CertificateParams), "has expired"),
        (not_yet_valid, "not yet valid"),
    ] {
        let identity = Authority::usual().issue_with(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, HOST);
            change(params);
        });
        let text = refusal(&usual(), HOST, &Listener::new(identity));
        assert!(text.contains(reason), "{text}");
    }
}

/// Restricts an authority to other hosts.
fn for_others(params: &mut CertificateParams) {
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("other.example".into())],
        excluded_subtrees: Vec::new(),
    });
}

#[test]
fn an_authority_for_certain_hosts_signs_no_common_names() {
    let by_common_name = |authority: &Authority| {
        authority.issue_with(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, HOST);
        })
    };
    let root = Authority::with("for some", for_others);
    let trust = trusting(&root.certificate);
    let text = refusal(&trust, HOST, &Listener::new(by_common_name(&root)));
    assert!(text.contains("name mismatch"), "{text}");

    type Change = fn(&mut CertificateParams);
    for (change, is_free) in [(for_others as Change, false), (|_| {}, true)] {
        let below = Authority::usual().below("in between", change);
        let mut identity = by_common_name(&below);
        identity.certificate.push_str(&below.certificate);
        if is_free {
            assert_connects_by_common_name(&usual(), HOST, &identity);
        } else {
            let text = refusal(&usual(), HOST, &Listener::new(identity));
            assert!(text.contains("name mismatch"), "{text}");
        }
    }
}

#[test]
fn a_self_signed_certificate_may_name_its_host_by_its_common_name() {
    let identity = self_signed_with(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, HOST);
    });
    assert_connects_by_common_name(&trusting(&identity.certificate), HOST, &identity);
    let text = refusal(
        &trusting(&identity.certificate),
        "other.example",
        &Listener::new(identity),
    );
    assert!(text.contains("is for kafka.example, not for"), "{text}");
}

#[test]
fn a_certificate_of_x509_version_1_is_accepted_by_its_common_name() {
    let broker = version_1();
    let options = trusting(&broker.certificate);
    assert_connects_by_common_name(&options, "version1", &broker);
    let text = refusal(&options, HOST, &Listener::new(broker));
    assert!(text.contains("is for version1, not for"), "{text}");
}

#[test]
fn a_certificate_of_x509_version_1_with_another_signature_or_key_is_refused() {
    let options = trusting(&version_1().certificate);
    for versions in EACH_VERSION {
        let damaged = Listener {
            versions,
            ..Listener::new(Identity {
                certificate: damaged(&version_1().certificate),
                ..version_1()
            })
        };
        let text = refusal(&options, "version1", &damaged);
        assert!(text.contains("bad signature"), "{text}");
        let with_other_key = Listener {
            versions,
            ..Listener::new(Identity {
                key: Authority::usual().issue(&["x"]).key,
                ..version_1()
            })
        };
        for options in [
            &options,
            &TlsOptions {
                skip_verify: true,
                ..TlsOptions::default()
            },
        ] {
            let text = refusal(options, "version1", &with_other_key);
            assert!(text.contains("bad signature"), "{text}");
        }
    }
}

/// The certificate with another signature: its last byte is part of it.
fn damaged(certificate: &str) -> String {
    let mut der = CertificateDer::from_pem_slice(certificate.as_bytes())
        .expect("a certificate")
        .to_vec();
    *der.last_mut().expect("not empty") ^= 1;
    let base64 = BASE64.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

#[test]
fn another_server_name_takes_the_place_of_the_host() {
    let options = |name: &str| TlsOptions {
        server_name: Some(name.into()),
        ..usual()
    };
    let (mut driver, mut peer) = attempt(&options(HOST), "10.1.2.3", &Listener::usual());
    assert_eq!(peer.tls.server_name(), Some(HOST), "brokers are told");
    assert_eq!(driver.events(), []);
    assert_works(&mut driver, &mut peer);
    let text = refusal(&options("other.example"), HOST, &Listener::usual());
    assert!(
        text.ends_with("is for kafka.example, not for other.example"),
        "{text}"
    );
    let by_address = Listener::new(Authority::usual().issue(&["::1"]));
    assert_connects(&options("[::1]"), HOST, &by_address);
}

#[test]
fn a_ca_file_may_hold_certificates_that_cannot_be_used() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let options = trusting(&format!(
        "{garbage}{}{garbage}",
        Authority::usual().certificate
    ));
    assert_connects(&options, HOST, &Listener::usual());
}

#[test]
fn a_ca_file_may_be_indented_and_begin_with_a_byte_order_mark() {
    let certificate = &Authority::usual().certificate;
    let indented = certificate.replace('\n', "\n \t");
    for text in [format!("\u{feff}{certificate}"), format!("  {indented}")] {
        assert_connects(&trusting(&text), HOST, &Listener::usual());
    }
}

#[test]
fn a_ca_file_may_hold_several_certificates_and_text_between_them() {
    let other = Authority::new("another authority");
    let file = format!(
        "# ours\n{}\n# theirs\n{}",
        other.certificate,
        Authority::usual().certificate
    );
    let options = trusting(&file);
    assert_connects(&options, HOST, &Listener::usual());
    assert_connects(&options, HOST, &Listener::new(other.issue(&[HOST])));
}

#[test]
fn a_self_signed_certificate_that_is_its_own_ca_file_is_trusted() {
    let identity = self_signed(&[HOST]);
    let options = trusting(&identity.certificate);
    let listener = Listener::new(identity);
    assert_connects(&options, HOST, &listener);
    let text = refusal(&options, "other.example", &listener);
    assert!(text.contains("name mismatch"), "{text}");
}

#[test]
fn a_client_certificate_is_shown_to_a_broker_that_requires_one() {
    let client = Authority::usual().issue(&["client"]);
    for versions in EACH_VERSION {
        let listener = Listener {
            versions,
            client_ca: Some(Authority::usual().certificate.clone()),
            ..Listener::usual()
        };
        let separate = TlsOptions {
            certificate: Some(pem("client.pem", &client.certificate)),
            key: Some(pem("client.key", &client.key)),
            ..usual()
        };
        let together = TlsOptions {
            certificate: Some(pem(
                "both",
                &format!("{}{}", client.key, client.certificate),
            )),
            ..usual()
        };
        for options in [separate, together] {
            let (mut driver, mut peer) = attempt(&options, HOST, &listener);
            assert_works(&mut driver, &mut peer);
            assert_eq!(peer.tls.peer_certificates().map(<[_]>::len), Some(1));
        }
    }
}

#[test]
fn a_missing_client_certificate_shows_during_or_after_the_handshake() {
    for versions in EACH_VERSION {
        let listener = Listener {
            versions,
            client_ca: Some(Authority::usual().certificate.clone()),
            ..Listener::usual()
        };
        let (mut driver, _) = attempt(&usual(), HOST, &listener);
        let events = driver.events();
        let [Event::Close, Event::Error(text), Event::Disconnected] = &events[..] else {
            panic!("{events:?}")
        };
        let expected = "TLS: the broker refused: it requires a client certificate";
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn a_client_certificate_of_a_stranger_is_refused_by_the_broker() {
    let client = Authority::new("stranger").issue(&["client"]);
    let options = TlsOptions {
        certificate: Some(pem("client.pem", &client.certificate)),
        key: Some(pem("client.key", &client.key)),
        ..usual()
    };
    let listener = Listener {
        client_ca: Some(Authority::usual().certificate.clone()),
        ..Listener::usual()
    };
    let text = refusal(&options, HOST, &listener);
    assert!(text.starts_with("TLS: the broker refused: "), "{text}");
    assert!(text.contains("client certificate"), "{text}");
}

#[test]
fn a_broker_that_closes_without_close_notify_has_closed() {
    let (mut driver, mut peer) = attempt(&usual(), HOST, &Listener::usual());
    assert_works(&mut driver, &mut peer);
    let token = driver.send(None);
    driver.conn.handle_eof(driver.now);
    let events = [
        Event::Close,
        failed(token, "connection closed by broker"),
        Event::Disconnected,
    ];
    assert_eq!(driver.events(), events);
}

#[test]
fn a_broker_that_closes_with_close_notify_has_closed_after_its_last_answer() {
    let (mut driver, mut peer) = attempt(&usual(), HOST, &Listener::usual());
    assert_works(&mut driver, &mut peer);
    let (first, second) = (driver.send(None), driver.send(None));
    peer.say(&response(2, b"last"));
    peer.tls.send_close_notify();
    let last_words = peer.take();
    driver.feed(&last_words);
    let events = [
        answer(first, b"last"),
        Event::Close,
        failed(second, "connection closed by broker"),
        Event::Disconnected,
    ];
    assert_eq!(driver.events(), events);
}

#[test]
fn an_answer_before_a_broken_record_is_delivered_first() {
    let (mut driver, mut peer) = attempt(&usual(), HOST, &Listener::usual());
    assert_works(&mut driver, &mut peer);
    let (first, second) = (driver.send(None), driver.send(None));
    peer.exchange(&mut driver);
    peer.say(&response(2, b"sound"));
    let mut bytes = peer.take();
    peer.say(&response(3, b"broken"));
    let mut broken = peer.take();
    *broken.last_mut().expect("a record") ^= 1;
    bytes.extend(broken);
    driver.feed(&bytes);
    let text = "TLS: cannot decrypt peer's message";
    let events = [
        answer(first, b"sound"),
        Event::Close,
        error(text),
        failed(second, text),
        Event::Disconnected,
    ];
    assert_eq!(driver.events(), events);
}

#[test]
fn a_peer_that_closes_during_the_handshake_is_an_error() {
    let mut driver = Driver::new();
    driver.conn.set_tls(Some(settings(&usual())));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    driver.conn.handle_eof(driver.now);
    assert_eq!(
        driver.events(),
        lost("TLS: the broker closed the connection during the handshake")
    );
}

#[test]
fn a_peer_that_does_not_speak_tls_is_an_error() {
    let mut driver = Driver::new();
    driver.conn.set_tls(Some(settings(&usual())));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    driver.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let events = driver.events();
    let [Event::Close, Event::Error(text), Event::Disconnected] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(
        text.starts_with("TLS: the peer does not speak TLS"),
        "{text}"
    );
}

#[test]
fn a_stall_in_the_handshake_is_a_handshake_timeout() {
    let mut driver = Driver::new();
    driver.conn.set_tls(Some(settings(&usual())));
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    driver.take_sent();
    driver.pass(TIMEOUT);
    assert_eq!(driver.events(), lost("handshake timeout"));
}

#[test]
fn a_host_that_no_certificate_can_name_is_an_error() {
    let mut driver = Driver::new();
    driver.conn.set_tls(Some(settings(&usual())));
    driver.conn.connect("no host", 9093, None, driver.now);
    driver.events();
    driver.conn.handle_dialed(driver.now);
    assert_eq!(
        driver.events(),
        lost("TLS: not a host name or address: no host")
    );
}

#[test]
fn connections_with_the_same_settings_resume_each_others_sessions() {
    for versions in EACH_VERSION {
        let authority = Authority::new("of this test alone");
        let listener = Listener {
            versions,
            ..Listener::new(authority.issue(&[HOST]))
        };
        let config = listener.config();
        let options = trusting(&authority.certificate);
        let first_settings = settings(&options);
        let mut kinds = Vec::new();
        for settings in [first_settings, settings(&options)] {
            let (mut driver, mut peer) = (Driver::new(), TlsPeer::new(config.clone()));
            connect(&mut driver, Some(settings), HOST, &mut peer);
            assert_works(&mut driver, &mut peer);
            kinds.push(peer.tls.handshake_kind());
        }
        let expected = [HandshakeKind::Full, HandshakeKind::Resumed];
        assert_eq!(kinds, expected.map(Some));
    }
}

#[test]
fn settings_hold_from_the_next_connect_on() {
    let mut driver = Driver::ready();
    driver.conn.set_tls(Some(settings(&usual())));
    driver.send(None);
    assert_eq!(driver.received().len(), 1, "still plain");
    driver.connect();
    driver.events();
    driver.conn.handle_dialed(driver.now);
    assert_eq!(driver.conn.state(), State::TlsHandshake);
    driver.conn.set_tls(None);
    driver.connect();
    assert_eq!(driver.events(), [Event::Close, dial()]);
    driver.shake_hands();
}
