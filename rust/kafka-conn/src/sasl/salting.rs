//! The slow part of SCRAM, for a thread of its own.

use std::fmt;
use std::sync::Arc;

use super::scram::{Salt, SaltedBytes};
use super::settings::{Credentials, SaslSettings};

/// A password to be salted as the broker wants it: up to a second's work, which a driver does
/// beside its loop. It goes out with [`Event::SaltingNeeded`](crate::Event::SaltingNeeded) and
/// comes back by [`Connection::provide_salted`](crate::Connection::provide_salted).
#[derive(Clone)]
pub struct Salting(Arc<Work>);

struct Work {
    settings: SaslSettings,
    salt: Salt,
}

/// What a [`Salting`] has come to: as secret as the password.
pub struct SaltedPassword(pub(super) SaltedBytes);

impl Salting {
    pub(super) fn new(settings: SaslSettings, salt: Salt) -> Self {
        Salting(Arc::new(Work { settings, salt }))
    }

    /// Does the work. Where several connections that share their
    /// [`SaslSettings`] need the same, the first does it and the others wait.
    pub fn run(&self) -> SaltedPassword {
        let Work { settings, salt } = &*self.0;
        SaltedPassword(match &*settings.credentials {
            Credentials::Scram {
                hash,
                password,
                salted,
                ..
            } => salted.compute(*hash, password, salt),
            _ => SaltedBytes::default(),
        })
    }
}

impl PartialEq for Salting {
    /// Whether both are one and the same.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Salting {}

impl fmt::Debug for Salting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Salting").field(&self.0.salt).finish()
    }
}

impl fmt::Debug for SaltedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaltedPassword(..)")
    }
}
