//! The server's side of SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), without channel binding.

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// As often as passwords are hashed: Kafka's default, and the least that it takes.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
/// Random bytes in a salt, and in the server's part of a nonce.
const RANDOM_LENGTH: usize = 18;

/// The mechanism's hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn sign(self, key: &[u8], data: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data)
    }

    fn digest(self, data: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data)
    }

    fn salted(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        let (algorithm, length) = match self {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, ITERATIONS, salt, password, &mut salted);
        salted
    }
}

/// A client's first message.
pub(crate) struct ClientFirst<'a> {
    gs2_header: &'a str,
    bare: &'a str,
    pub username: String,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// `n,[a=AUTHZID],n=NAME,r=NONCE`, then optional extensions.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let end_of_header = text.match_indices(',').nth(1)?.0 + 1;
        let (gs2_header, bare) = text.split_at(end_of_header);
        let mut attributes = bare.split(',');
        let name = attributes.next()?.strip_prefix("n=")?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        (gs2_header.starts_with("n,") && !nonce.is_empty()).then(|| Self {
            gs2_header,
            bare,
            username: name.replace("=2C", ",").replace("=3D", "="),
            nonce,
        })
    }
}

/// An exchange whose client is to prove that it knows the password.
#[derive(Debug)]
pub(crate) struct Exchange {
    hash: Hash,
    salted: Vec<u8>,
    /// What the client's last message begins with.
    binding: String,
    /// Our part of the nonce.
    server_nonce: String,
    /// Both first messages, as both sides sign them.
    firsts: String,
}

impl Exchange {
    /// Answers a client's first message. `None` when the system has no random numbers.
    pub fn begin(hash: Hash, first: &ClientFirst<'_>, password: &[u8]) -> Option<(Self, String)> {
        let (salt, server_nonce) = (random()?, BASE64.encode(random()?));
        let (client_nonce, encoded) = (first.nonce, BASE64.encode(salt));
        let server_first = format!("r={client_nonce}{server_nonce},s={encoded},i={ITERATIONS}");
        let exchange = Exchange {
            hash,
            salted: hash.salted(password, &salt),
            binding: format!("c={},r=", BASE64.encode(first.gs2_header)),
            server_nonce,
            firsts: format!("{},{server_first}", first.bare),
        };
        Some((exchange, server_first))
    }

    /// The server's last message, if the client's has the proof.
    pub fn finish(&self, client_final: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(client_final).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let proof = BASE64.decode(proof).ok()?;
        let auth_message = format!("{},{without_proof}", self.firsts);
        let auth_message = auth_message.as_bytes();
        let client_key = self.hash.sign(&self.salted, b"Client Key");
        let stored_key = self.hash.digest(client_key.as_ref());
        let signature = self.hash.sign(stored_key.as_ref(), auth_message);
        let keys = client_key.as_ref().iter().zip(signature.as_ref());
        let expected: Vec<u8> = keys.map(|(key, signature)| key ^ signature).collect();
        // As a broker, which looks at the end of the nonce only: librdkafka 2.0 repeats its own part.
        let is_bound =
            without_proof.starts_with(&self.binding) && without_proof.ends_with(&self.server_nonce);
        if !is_bound || proof != expected {
            return None;
        }
        let server_key = self.hash.sign(&self.salted, b"Server Key");
        let signature = self.hash.sign(server_key.as_ref(), auth_message);
        Some(format!("v={}", BASE64.encode(signature)))
    }
}

fn random() -> Option<[u8; RANDOM_LENGTH]> {
    let mut bytes = [0; RANDOM_LENGTH];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}
