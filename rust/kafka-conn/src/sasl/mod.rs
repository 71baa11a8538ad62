//! SASL: proving to the broker who we are (KIP-43, KIP-84, KIP-255).

mod error;
mod exchange;
mod extensions;
mod salting;
mod scram;
mod settings;

pub(crate) use error::SaslError;
pub(crate) use exchange::{handshake_answer, Exchange, Reply};
pub use extensions::Extensions;
pub use salting::{SaltedPassword, Salting};
pub use scram::ScramCredential;
pub use settings::SaslSettings;
