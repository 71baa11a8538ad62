//! Bytes that must not be seen.

use std::fmt;
use std::io::{self, Read};

use zeroize::Zeroizing;

/// The room that reading starts with, in bytes: most files of keys and certificates fit.
const READ_AT_FIRST: usize = 16 << 10;

/// A password or a token: wiped from memory when dropped, and never printed.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Reads to the end, or to `most` bytes and one more, without leaving copies in memory.
    ///
    /// # Errors
    /// What the reader's are.
    pub fn read(mut from: impl Read, most: usize) -> io::Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; READ_AT_FIRST.min(most + 1)]);
        let mut filled = 0;
        loop {
            if filled == bytes.len() {
                let mut larger = Zeroizing::new(vec![0; (2 * filled).min(most + 1)]);
                larger[..filled].copy_from_slice(&bytes);
                bytes = larger;
            }
            match from.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if filled > most {
                break;
            }
        }
        bytes.truncate(filled);
        Ok(Secret(bytes))
    }

    /// How many bytes it has.
    #[allow(clippy::len_without_is_empty)] // nobody else asks
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes, for the one place that puts them on the wire.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Secret(Zeroizing::new(bytes.to_vec()))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<Vec<u8>> for Secret {
    /// Takes the bytes over; they are not copied.
    fn from(bytes: Vec<u8>) -> Self {
        Secret(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
