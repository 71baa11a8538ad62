//! A broker that wants to know who is there.

use std::num::NonZeroU32;

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine;
use bytes::Bytes;
use kafka_conn::{Event, SaslSettings, State};
use kafka_wire::messages::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_wire::messages::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use kafka_wire::{ApiKey, Message, Reader, Writer};
use ring::{digest, hmac, pbkdf2};

use super::{api_versions, response, Driver, Received};

/// What the broker says to SaslHandshake.
pub fn handshake_body(code: i16, mechanisms: &[&str]) -> Vec<u8> {
    let names = mechanisms
        .iter()
        .map(|name| Bytes::copy_from_slice(name.as_bytes()));
    let answer = SaslHandshakeResponse {
        error_code: code,
        mechanisms: names.collect(),
    };
    encoded(&answer, 1)
}

/// What the broker says to SaslAuthenticate.
#[derive(Default)]
pub struct Says<'a> {
    pub code: i16,
    pub message: Option<&'a str>,
    pub bytes: &'a [u8],
    pub lifetime_ms: i64,
}

impl Says<'_> {
    pub fn body(&self, version: i16) -> Vec<u8> {
        let answer = SaslAuthenticateResponse {
            error_code: self.code,
            error_message: self
                .message
                .map(|text| Bytes::copy_from_slice(text.as_bytes())),
            auth_bytes: Bytes::copy_from_slice(self.bytes),
            session_lifetime_ms: self.lifetime_ms,
        };
        encoded(&answer, version)
    }
}

pub fn encoded(message: &impl Message, version: i16) -> Vec<u8> {
    let mut body = Writer::new();
    message.encode(&mut body, version).expect("encodes");
    body.into_bytes().to_vec()
}

/// A response to a request of that header, flexible where its version is.
pub fn answer_to(request: &Received, body: &[u8]) -> Vec<u8> {
    let header = &request.header;
    match header.api.is_flexible(header.version) && header.api != ApiKey::ApiVersions {
        true => response(header.correlation_id, &[&[0], body].concat()),
        false => response(header.correlation_id, body),
    }
}

/// The mechanism that a SaslHandshake asks for.
pub fn mechanism(request: &Received) -> Bytes {
    assert_eq!(request.header.api, ApiKey::SaslHandshake);
    assert_eq!(request.header.version, 1);
    let mut reader = Reader::new(request.body.clone());
    let asked = SaslHandshakeRequest::decode(&mut reader, 1).expect("a SaslHandshake");
    assert!(reader.is_empty());
    asked.mechanism
}

/// The mechanism's message that a SaslAuthenticate carries.
pub fn auth_bytes(request: &Received) -> Bytes {
    assert_eq!(request.header.api, ApiKey::SaslAuthenticate);
    let mut reader = Reader::new(request.body.clone());
    let version = request.header.version;
    let asked = SaslAuthenticateRequest::decode(&mut reader, version).expect("a SaslAuthenticate");
    assert!(reader.is_empty());
    asked.auth_bytes
}

impl Driver {
    /// Connected to a broker with SaslAuthenticate up to `version`, which has answered ApiVersions.
    pub fn authenticating(settings: SaslSettings, version: i16) -> Self {
        let mut driver = Driver::new();
        driver.conn.set_sasl(Some(settings));
        driver.connect();
        assert_eq!(driver.events(), [super::dial()]);
        driver.conn.handle_dialed(driver.now);
        driver.answer_api_versions(version);
        driver
    }

    /// Answers ApiVersions; SaslHandshake is asked for then.
    pub fn answer_api_versions(&mut self, version: i16) {
        let asked = self.one_request();
        let advertised = [(3, 0, 1), (17, 0, 1), (36, 0, version)];
        self.feed(&api_versions(asked.header.correlation_id, &advertised));
    }

    /// The one request that waits to be sent.
    pub fn one_request(&mut self) -> Received {
        let mut requests = self.received();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// Answers SaslHandshake; gives the first SaslAuthenticate.
    pub fn accept_mechanism(&mut self) -> Received {
        assert_eq!(self.events(), []);
        let asked = self.one_request();
        mechanism(&asked);
        self.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
        assert_eq!(self.events(), []);
        self.one_request()
    }

    /// As [`Self::accept_mechanism`], with requests unanswered that came before.
    pub fn accept_mechanism_after(&mut self, unanswered: &[Received]) -> Received {
        let asked = self.one_request();
        mechanism(&asked);
        for request in unanswered {
            self.feed(&answer_to(request, b"answer"));
        }
        assert_eq!(self.events().len(), unanswered.len());
        self.feed(&answer_to(&asked, &handshake_body(0, &["PLAIN"])));
        assert_eq!(self.events(), []);
        self.one_request()
    }

    /// Sends a request where that is possible.
    pub fn send_if_ready(&mut self) {
        if self.conn.state() == State::Ready {
            self.send(None);
        }
    }

    /// Answers the given SaslAuthenticate.
    pub fn say(&mut self, asked: &Received, says: &Says<'_>) -> Vec<Event> {
        self.feed(&answer_to(asked, &says.body(asked.header.version)));
        self.events()
    }

    /// A first authentication that succeeds, for so long.
    pub fn authenticated(settings: SaslSettings, lifetime_ms: i64) -> Self {
        let mut driver = Self::authenticating(settings, 2);
        let asked = driver.accept_mechanism();
        let says = Says {
            lifetime_ms,
            ..Says::default()
        };
        assert_eq!(driver.say(&asked, &says), [Event::Ready]);
        assert_eq!(driver.conn.state(), State::Ready);
        driver
    }
}

/// The server's side of SCRAM, written after RFC 5802.
pub struct ScramServer {
    pub mechanism: &'static str,
    pub password: &'static str,
    pub salt: &'static [u8],
    pub iterations: u32,
    pub client_first_bare: Vec<u8>,
    pub server_first: Vec<u8>,
}

impl ScramServer {
    pub fn new(mechanism: &'static str, password: &'static str) -> Self {
        ScramServer {
            mechanism,
            password,
            salt: b"a salt",
            iterations: 4096,
            client_first_bare: Vec::new(),
            server_first: Vec::new(),
        }
    }

    /// Takes the client-first-message, gives the user name as sent and the client's nonce.
    pub fn hear(&mut self, client_first: &[u8]) -> (String, String) {
        let bare = client_first.strip_prefix(b"n,,").expect("a GS2 header");
        self.client_first_bare = bare.to_vec();
        let text = std::str::from_utf8(bare).expect("ASCII");
        let (name, nonce) = text.split_once(",r=").expect("a nonce");
        (
            name.strip_prefix("n=").expect("a name").into(),
            nonce.into(),
        )
    }

    /// The server-first-message.
    pub fn first(&mut self, client_first: &[u8]) -> Vec<u8> {
        let (_, nonce) = self.hear(client_first);
        let (salt, iterations) = (BASE64.encode(self.salt), self.iterations);
        self.server_first = format!("r={nonce}server,s={salt},i={iterations}").into();
        self.server_first.clone()
    }

    /// The server-final-message, if the client has proved that it knows the password.
    pub fn last(&self, client_final: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(client_final).expect("ASCII");
        let (without_proof, proof) = text.rsplit_once(",p=").expect("a proof");
        let nonce = std::str::from_utf8(&self.server_first).expect("ASCII");
        let nonce = nonce.split(',').next().expect("a nonce");
        assert_eq!(without_proof, format!("c=biws,{nonce}"));
        let proof = BASE64.decode(proof).expect("Base64");
        let auth_message = [
            &self.client_first_bare,
            &self.server_first,
            without_proof.as_bytes(),
        ]
        .join(&b',');

        let (hash, mac, kdf) = match self.mechanism {
            "SCRAM-SHA-256" => {
                let kdf = pbkdf2::PBKDF2_HMAC_SHA256;
                (&digest::SHA256, hmac::HMAC_SHA256, kdf)
            }
            _ => {
                let kdf = pbkdf2::PBKDF2_HMAC_SHA512;
                (&digest::SHA512, hmac::HMAC_SHA512, kdf)
            }
        };
        let sign = |key: &[u8], data: &[u8]| hmac::sign(&hmac::Key::new(mac, key), data);
        let mut salted = vec![0; hash.output_len()];
        let iterations = NonZeroU32::new(self.iterations).expect("not 0");
        pbkdf2::derive(
            kdf,
            iterations,
            self.salt,
            self.password.as_bytes(),
            &mut salted,
        );
        let stored_key = digest::digest(hash, sign(&salted, b"Client Key").as_ref());
        let signature = sign(stored_key.as_ref(), &auth_message);
        let client_key: Vec<u8> = proof
            .iter()
            .zip(signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        let proved = digest::digest(hash, &client_key).as_ref() == stored_key.as_ref();
        let server_key = sign(&salted, b"Server Key");
        let signature = BASE64.encode(sign(server_key.as_ref(), &auth_message));
        proved.then(|| format!("v={signature}").into())
    }
}
