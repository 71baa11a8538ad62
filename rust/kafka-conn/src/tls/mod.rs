//! TLS on the connection's byte stream (rustls; TLS 1.2 and 1.3).

mod common_name;
mod der;
mod key;
mod pem;
mod reason;
mod settings;
mod stream;
mod traditional;
mod verify;
mod version_1;
mod x509;

pub use pem::Pem;
pub use settings::{TlsError, TlsOptions, TlsSettings};
pub(crate) use stream::{Peer, TlsStream};
