//! As whom a connection is authenticated, and how far it is on the way there.

use crate::scram::{ClientFirst, Exchange, Hash};
use bytes::Bytes;

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// User name and password, readable.
    Plain,
    /// User name, and the proof that the password is known.
    ScramSha256,
    /// The same with another hash function.
    ScramSha512,
    /// A token.
    OauthBearer,
}

impl Mechanism {
    /// All there are.
    pub const ALL: [Mechanism; 4] = [
        Mechanism::Plain,
        Mechanism::ScramSha256,
        Mechanism::ScramSha512,
        Mechanism::OauthBearer,
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// Who may come in.
#[derive(Debug, Clone, Default)]
pub struct SaslConfig {
    /// The mechanisms that are enabled.
    pub mechanisms: Vec<Mechanism>,
    /// Names and passwords.
    pub users: Vec<(Bytes, Bytes)>,
    /// Tokens, and whose they are.
    pub tokens: Vec<(Bytes, Bytes)>,
    /// After how long clients must authenticate again (KIP-368), in milliseconds; 0 for never.
    pub session_lifetime_ms: u64,
}

impl SaslConfig {
    fn password(&self, name: &[u8]) -> Option<&Bytes> {
        let found = self.users.iter().find(|(known, _)| *known == name);
        found.map(|(_, password)| password)
    }
}

/// What a mechanism's message leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The exchange goes on with this.
    Say(Bytes),
    /// The client is in; this is the last message.
    Done(Bytes),
    /// It is not, for this reason.
    Refused(String),
}

/// The state of a connection's authentication.
#[derive(Debug, Default)]
pub(crate) struct Login {
    stage: Stage,
    /// Messages come as they are instead of in SaslAuthenticate, as after SaslHandshake 0.
    is_bare: bool,
    user: Option<Bytes>,
    expires_ms: Option<u64>,
}

#[derive(Debug, Default)]
enum Stage {
    /// No exchange is under way.
    #[default]
    Idle,
    Chosen(Mechanism),
    Scram {
        exchange: Box<Exchange>,
        mechanism: Mechanism,
        user: Bytes,
    },
    /// The client has been told that its token is no good, and still has to say that it heard.
    TokenRefused,
}

impl Login {
    /// The user, once that is known.
    pub fn user(&self) -> &Option<Bytes> {
        &self.user
    }

    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| expires <= now_ms)
    }

    /// Whether what comes next is a mechanism's message and no request.
    pub fn expects_token(&self) -> bool {
        self.is_bare && self.is_under_way()
    }

    pub fn is_under_way(&self) -> bool {
        !matches!(self.stage, Stage::Idle)
    }

    pub fn choose(&mut self, mechanism: Mechanism, is_bare: bool) {
        self.stage = Stage::Chosen(mechanism);
        self.is_bare = is_bare;
    }

    /// Takes a mechanism's message.
    pub fn hear(&mut self, config: &SaslConfig, message: &[u8], now_ms: u64) -> Step {
        let step = match std::mem::take(&mut self.stage) {
            Stage::Idle => Err("no SASL exchange is under way".into()),
            Stage::Chosen(Mechanism::Plain) => plain(config, message),
            Stage::Chosen(Mechanism::OauthBearer) => match token_user(config, message) {
                Some(user) => Ok((user, Bytes::new())),
                None => {
                    self.stage = Stage::TokenRefused;
                    return Step::Say(Bytes::from_static(TOKEN_REFUSED.as_bytes()));
                }
            },
            Stage::TokenRefused => Err(TOKEN_REFUSED.into()),
            Stage::Chosen(mechanism) => match begin_scram(config, mechanism, message) {
                Ok((stage, said)) => {
                    self.stage = stage;
                    return Step::Say(said);
                }
                Err(why) => Err(why),
            },
            Stage::Scram {
                exchange,
                mechanism,
                user,
            } => match exchange.finish(message) {
                Some(said) => Ok((user, said.into())),
                None => Err(wrong_credentials(mechanism)),
            },
        };
        match step {
            Ok((user, said)) => {
                self.user = Some(user);
                let lifetime = Some(config.session_lifetime_ms).filter(|&ms| ms > 0);
                self.expires_ms = lifetime.map(|ms| now_ms.saturating_add(ms));
                Step::Done(said)
            }
            Err(why) => Step::Refused(why),
        }
    }
}

/// What OAUTHBEARER says of a token that is no good (RFC 7628, section 3.2.2).
const TOKEN_REFUSED: &str = r#"{"status":"invalid_token"}"#;

/// `AUTHZID NUL NAME NUL PASSWORD` (RFC 4616); who may act for somebody else is nobody.
fn plain(config: &SaslConfig, message: &[u8]) -> Result<(Bytes, Bytes), String> {
    let parts: Vec<&[u8]> = message.split(|&byte| byte == 0).collect();
    let &[authorized, name, password] = &parts[..] else {
        return Err("Invalid SASL/PLAIN response: expected 3 tokens".into());
    };
    let is_right = config.password(name).is_some_and(|known| known == password);
    if !is_right {
        return Err("Authentication failed: Invalid username or password".into());
    }
    if !(authorized.is_empty() || authorized == name) {
        return Err("Authentication failed: Client requested an authorization id that is different from username".into());
    }
    Ok((Bytes::copy_from_slice(name), Bytes::new()))
}

/// The user of the token in `n,,^Aauth=Bearer TOKEN^A…^A^A` (RFC 7628, section 3.1).
fn token_user(config: &SaslConfig, message: &[u8]) -> Option<Bytes> {
    let mut parts = message.split(|&byte| byte == 1).skip(1);
    let token = parts.find_map(|part| part.strip_prefix(b"auth=Bearer "))?;
    let found = config.tokens.iter().find(|(known, _)| *known == token);
    found.map(|(_, user)| user.clone())
}

fn begin_scram(
    config: &SaslConfig,
    mechanism: Mechanism,
    message: &[u8],
) -> Result<(Stage, Bytes), String> {
    let hash = match mechanism {
        Mechanism::ScramSha512 => Hash::Sha512,
        _ => Hash::Sha256,
    };
    let first = ClientFirst::parse(message).ok_or("Invalid SCRAM client first message format")?;
    let name = first.username.as_bytes();
    let password = config.password(name);
    let password = password.ok_or_else(|| wrong_credentials(mechanism))?;
    let (exchange, said) =
        Exchange::begin(hash, &first, password).ok_or("the system has no random numbers")?;
    let stage = Stage::Scram {
        exchange: Box::new(exchange),
        mechanism,
        user: Bytes::copy_from_slice(name),
    };
    Ok((stage, said.into()))
}

fn wrong_credentials(mechanism: Mechanism) -> String {
    let name = mechanism.name();
    format!("Authentication failed during authentication due to invalid credentials with SASL mechanism {name}")
}
