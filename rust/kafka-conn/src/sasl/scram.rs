//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), without channel binding.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError, TryLockError};

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use super::SaslError;
use crate::secret::Secret;

/// The least and the most iterations that a broker may ask for. With fewer than RFC 7677 demands
/// (section 4) whoever listens guesses passwords quickly; at a million of them a core is busy for
/// about a second.
const ITERATIONS: RangeInclusive<u32> = 4096..=1 << 20;
/// Random bytes in the client's nonce.
const NONCE_LENGTH: usize = 24;
/// Random bytes in the salt of a new credential.
const SALT_LENGTH: usize = 24;
/// GS2 header: no channel binding, no authorization identity.
const GS2_HEADER: &[u8] = b"n,,";

/// The mechanism's hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) fn of_mechanism(mechanism: &str) -> Option<Self> {
        match mechanism {
            "SCRAM-SHA-256" => Some(Hash::Sha256),
            "SCRAM-SHA-512" => Some(Hash::Sha512),
            _ => None,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// RFC 5802's `Hi`.
    fn salt(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = Zeroizing::new(vec![0; self.digest().output_len()]);
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }
}

/// What a broker keeps of a password, for a user who is added to it (KIP-554).
pub struct ScramCredential {
    /// The salt.
    pub salt: Vec<u8>,
    /// The password after salting: as secret as the password itself.
    pub salted_password: Zeroizing<Vec<u8>>,
}

impl ScramCredential {
    /// Salts a password, with a random salt where none is given.
    ///
    /// # Errors
    /// No such mechanism, so many iterations as no client accepts, or the system has no random numbers.
    pub fn new(
        mechanism: &str,
        password: &[u8],
        iterations: u32,
        salt: Option<Vec<u8>>,
    ) -> Result<ScramCredential, String> {
        let hash = Hash::of_mechanism(mechanism)
            .ok_or_else(|| format!("no SCRAM mechanism: {mechanism}"))?;
        let iterations = NonZeroU32::new(iterations)
            .filter(|iterations| ITERATIONS.contains(&iterations.get()))
            .ok_or_else(|| {
                let (least, most) = (ITERATIONS.start(), ITERATIONS.end());
                format!("iterations must be from {least} to {most}")
            })?;
        let salt = match salt {
            Some(salt) => salt,
            None => random::<SALT_LENGTH>()
                .map_err(|error| error.to_string())?
                .to_vec(),
        };
        let salted_password = hash.salt(password, &salt, iterations);
        Ok(ScramCredential {
            salt,
            salted_password,
        })
    }
}

fn random<const N: usize>() -> Result<[u8; N], SaslError> {
    let mut random = [0; N];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| SaslError::NoRandomNumbers)?;
    Ok(random)
}

/// A password after salting: bytes that are as secret as the password itself.
pub(super) type SaltedBytes = Zeroizing<Vec<u8>>;

/// What a broker wants a password to be salted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Salt {
    bytes: Vec<u8>,
    iterations: NonZeroU32,
}

/// The last salted password, kept because it is slow to compute and a broker keeps asking for
/// the same one.
#[derive(Default)]
pub(super) struct KnownSalted(Mutex<Option<(Salt, SaltedBytes)>>);

impl KnownSalted {
    /// What is at hand; `None` as well while somebody computes it.
    fn known(&self, salt: &Salt) -> Option<SaltedBytes> {
        let last = match self.0.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Self::of(&last, salt)
    }

    /// Computes it, or waits for whoever computes it already: connections that are made together
    /// need the same one.
    pub(super) fn compute(&self, hash: Hash, password: &Secret, salt: &Salt) -> SaltedBytes {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(salted) = Self::of(&last, salt) {
            return salted;
        }
        let salted = hash.salt(password.expose(), &salt.bytes, salt.iterations);
        *last = Some((salt.clone(), salted.clone()));
        salted
    }

    fn of(last: &Option<(Salt, SaltedBytes)>, salt: &Salt) -> Option<SaltedBytes> {
        let (known, salted) = last.as_ref()?;
        (known == salt).then(|| salted.clone())
    }
}

impl fmt::Debug for KnownSalted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownSalted(..)")
    }
}

/// The client's side of one exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    hash: Hash,
    nonce: String,
    client_first_bare: Zeroizing<Vec<u8>>,
    expects: Expects,
}

enum Expects {
    ServerFirst,
    /// The salted password, to answer the server's first message with.
    Salted {
        server_first: Vec<u8>,
        nonce: Vec<u8>,
    },
    ServerFinal {
        server_signature: Zeroizing<Vec<u8>>,
    },
    Nothing,
}

impl fmt::Debug for Expects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expects::ServerFirst => "ServerFirst",
            Expects::ServerFinal { .. } => "ServerFinal",
            Expects::Salted { .. } => "Salted",
            Expects::Nothing => "Nothing",
        })
    }
}

impl Exchange {
    /// # Errors
    /// No user name, or the system has no random numbers.
    pub(super) fn new(hash: Hash, username: &Secret) -> Result<Self, SaslError> {
        let random = random::<NONCE_LENGTH>()?;
        Self::with_nonce(hash, username, BASE64.encode(random))
    }

    fn with_nonce(hash: Hash, username: &Secret, nonce: String) -> Result<Self, SaslError> {
        if username.is_empty() {
            return Err(SaslError::ScramUsernameRequired);
        }
        // Room for all of it, as growing would leave a copy behind.
        let most = b"n=,r=".len() + b"=2C".len() * username.expose().len() + nonce.len();
        let mut client_first_bare = Zeroizing::new(Vec::with_capacity(most));
        client_first_bare.extend_from_slice(b"n=");
        for &byte in username.expose() {
            match byte {
                b',' => client_first_bare.extend_from_slice(b"=2C"),
                b'=' => client_first_bare.extend_from_slice(b"=3D"),
                byte => client_first_bare.push(byte),
            }
        }
        client_first_bare.extend_from_slice(b",r=");
        client_first_bare.extend_from_slice(nonce.as_bytes());
        Ok(Exchange {
            hash,
            nonce,
            client_first_bare,
            expects: Expects::ServerFirst,
        })
    }

    /// The client-first-message.
    pub(super) fn first(&self) -> Secret {
        [GS2_HEADER, &self.client_first_bare].concat().into()
    }

    /// Takes the server's message and says what comes next.
    ///
    /// # Errors
    /// The server's message is malformed, or does not belong to this exchange or this password.
    pub(super) fn answer(
        &mut self,
        message: &[u8],
        known: &KnownSalted,
    ) -> Result<Next, SaslError> {
        match &self.expects {
            // An answer without a message claims that the exchange is over.
            Expects::ServerFirst if message.is_empty() => Err(SaslError::IncompleteScram),
            Expects::ServerFirst => {
                let salt = self.server_first(message)?;
                Ok(match known.known(&salt) {
                    Some(salted) => Next::Say(self.client_final(&salted)),
                    None => Next::Salt(salt),
                })
            }
            Expects::ServerFinal { server_signature } => {
                check_server_final(message, server_signature)?;
                self.expects = Expects::Nothing;
                Ok(Next::Done)
            }
            Expects::Salted { .. } => Err(SaslError::IncompleteScram),
            Expects::Nothing => Ok(Next::Done),
        }
    }

    fn server_first(&mut self, message: &[u8]) -> Result<Salt, SaslError> {
        let server = ServerFirst::parse(message)?;
        if !server.nonce.starts_with(self.nonce.as_bytes())
            || server.nonce.len() == self.nonce.len()
        {
            return Err(SaslError::ScramNonceMismatch);
        }
        let bytes = BASE64.decode(server.salt).unwrap_or_default();
        if bytes.is_empty() {
            return Err(SaslError::ScramBadSalt);
        }
        let iterations = server.iterations;
        self.expects = Expects::Salted {
            server_first: message.to_vec(),
            nonce: server.nonce.to_vec(),
        };
        Ok(Salt { bytes, iterations })
    }

    /// The client-final-message; empty when none is due.
    pub(super) fn client_final(&mut self, salted: &[u8]) -> Secret {
        let Expects::Salted {
            server_first,
            nonce,
        } = &self.expects
        else {
            return Secret::default();
        };
        let mut client_final = b"c=".to_vec();
        client_final.extend_from_slice(BASE64.encode(GS2_HEADER).as_bytes());
        client_final.extend_from_slice(b",r=");
        client_final.extend_from_slice(nonce);
        let auth_message =
            Zeroizing::new([&self.client_first_bare[..], server_first, &client_final].join(&b','));

        let hmac =
            |key: &[u8], data: &[u8]| hmac::sign(&hmac::Key::new(self.hash.hmac(), key), data);
        let client_key = hmac(salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let client_signature = hmac(stored_key.as_ref(), &auth_message);
        let proof: Zeroizing<Vec<u8>> = Zeroizing::new(
            client_key
                .as_ref()
                .iter()
                .zip(client_signature.as_ref())
                .map(|(key, signature)| key ^ signature)
                .collect(),
        );
        let server_key = hmac(salted, b"Server Key");
        let server_signature = hmac(server_key.as_ref(), &auth_message);
        self.expects = Expects::ServerFinal {
            server_signature: Zeroizing::new(server_signature.as_ref().to_vec()),
        };

        client_final.extend_from_slice(b",p=");
        client_final.extend_from_slice(Zeroizing::new(BASE64.encode(&*proof)).as_bytes());
        client_final.into()
    }
}

/// Where a server's message leads.
pub(super) enum Next {
    /// This is the answer to it.
    Say(Secret),
    /// The password is to be salted first, which takes its time.
    Salt(Salt),
    /// The server has proved that it knows the password.
    Done,
}

/// server-first-message: `r=NONCE,s=SALT,i=ITERATIONS`, then optional extensions.
struct ServerFirst<'a> {
    nonce: &'a [u8],
    salt: &'a [u8],
    iterations: NonZeroU32,
}

impl<'a> ServerFirst<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, SaslError> {
        Self::parts(message).ok_or(SaslError::ScramMalformedServerFirst)
    }

    fn parts(message: &'a [u8]) -> Option<Self> {
        let mut attributes = message.split(|&byte| byte == b',');
        let nonce = attributes.next()?.strip_prefix(b"r=")?;
        let salt = attributes.next()?.strip_prefix(b"s=")?;
        let iterations = attributes.next()?.strip_prefix(b"i=")?;
        // RFC 5802: posit-number, digits that do not start with 0.
        if !iterations.iter().all(u8::is_ascii_digit) || iterations.starts_with(b"0") {
            return None;
        }
        let iterations: NonZeroU32 = std::str::from_utf8(iterations).ok()?.parse().ok()?;
        ITERATIONS
            .contains(&iterations.get())
            .then_some(ServerFirst {
                nonce,
                salt,
                iterations,
            })
    }
}

/// server-final-message: `v=SIGNATURE` or `e=ERROR`, then optional extensions.
fn check_server_final(message: &[u8], expected: &[u8]) -> Result<(), SaslError> {
    let attribute = message
        .split(|&byte| byte == b',')
        .next()
        .unwrap_or(message);
    if let Some(error) = attribute.strip_prefix(b"e=") {
        return Err(SaslError::refused(error));
    }
    let signature = attribute
        .strip_prefix(b"v=")
        .ok_or(SaslError::ScramMissingServerSignature)?;
    match BASE64.decode(signature) {
        Ok(signature) if signature == expected => Ok(()),
        _ => Err(SaslError::ScramServerSignatureMismatch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA_512_CLIENT_FINAL: &[u8] =
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=VdS8LkrURiej1tG6iX+fqCXQfU\
        nBb//d9llXYaH+ylUbDwBUz9geyR9fC4TewskRUM2tlYSalhAT4Aay1Q5dTA==";
    const SHA_512_SERVER_FINAL: &[u8] =
        b"v=14PAAuavk9hxBEkgB0brDxUhvWu+N16meYk+qxVNFqchR8QPohM09Y4Z6WaTCuX4C6nqMB9KIJTDm6\
        RpSM990g==";

    fn exchange(hash: Hash, nonce: &str) -> Exchange {
        Exchange::with_nonce(hash, &"user".into(), nonce.into()).expect("a user name")
    }

    /// The client-final-message to a server's first message.
    fn answer_to_first(exchange: &mut Exchange, message: &[u8], known: &KnownSalted) -> Secret {
        match exchange.answer(message, known).expect("good") {
            Next::Say(message) => message,
            Next::Salt(salt) => {
                let salted = known.compute(exchange.hash, &"pencil".into(), &salt);
                exchange.client_final(&salted)
            }
            Next::Done => panic!("not over yet"),
        }
    }

    /// RFC 7677, section 3.
    #[test]
    fn sha_256_gives_the_messages_of_rfc_7677() {
        let mut exchange = exchange(Hash::Sha256, "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            exchange.first().expose(),
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
        );
        let known = KnownSalted::default();
        let server_first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let client_final = answer_to_first(&mut exchange, server_first, &known);
        assert_eq!(
            client_final.expose(),
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let server_final = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert!(matches!(
            exchange.answer(server_final, &known),
            Ok(Next::Done)
        ));
    }

    /// The structure is RFC 5802's; the figures were computed with Python's hashlib and hmac.
    #[test]
    fn sha_512_gives_the_messages_that_an_independent_program_gives() {
        let mut exchange = exchange(Hash::Sha512, "fyko+d2lbbFgONRv9qkxdawL");
        let known = KnownSalted::default();
        let server_first =
            b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let client_final = answer_to_first(&mut exchange, server_first, &known);
        assert_eq!(client_final.expose(), SHA_512_CLIENT_FINAL);
        assert!(matches!(
            exchange.answer(SHA_512_SERVER_FINAL, &known),
            Ok(Next::Done)
        ));
    }

    #[test]
    fn a_salted_password_is_known_for_its_salt_and_iterations_only() {
        let known = KnownSalted::default();
        let salt = |bytes: &[u8], iterations| Salt {
            bytes: bytes.to_vec(),
            iterations: NonZeroU32::new(iterations).expect("not 0"),
        };
        assert_eq!(known.known(&salt(b"salt", 1)), None);
        let first = known.compute(Hash::Sha256, &"pencil".into(), &salt(b"salt", 1));
        assert_eq!(known.known(&salt(b"salt", 1)), Some(first.clone()));
        for other in [salt(b"salt", 2), salt(b"pepper", 1)] {
            assert_eq!(known.known(&other), None);
            assert_ne!(known.compute(Hash::Sha256, &"pencil".into(), &other), first);
        }
    }

    #[test]
    fn who_asks_while_it_is_being_computed_does_not_wait() {
        let known = KnownSalted::default();
        let salt = Salt {
            bytes: b"salt".to_vec(),
            iterations: NonZeroU32::MIN,
        };
        let computing = known.0.lock().expect("free");
        assert_eq!(known.known(&salt), None);
        drop(computing);
    }

    #[test]
    fn debug_shows_no_secret() {
        let settings = crate::SaslSettings::new("SCRAM-SHA-256", "alice", "pencil");
        let mut exchange = exchange(Hash::Sha256, "nonce");
        let salted = KnownSalted::default();
        let server_first = b"r=nonce2,s=QSXCR+Q6sek8bf92,i=4096";
        answer_to_first(&mut exchange, server_first, &salted);
        let text = format!("{settings:?} {exchange:?} {salted:?}");
        assert!(!text.contains("pencil"), "{text}");
        assert!(
            text.contains("ServerFinal") && !text.contains("signature"),
            "{text}"
        );
    }
}
