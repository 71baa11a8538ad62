//! TLS on the connection's byte stream (rustls; TLS 1.2 and 1.3).

mod reason;
mod settings;
mod stream;
mod verify;

pub use settings::{Pem, TlsError, TlsOptions, TlsSettings};
pub(crate) use stream::{Peer, TlsStream};
