//! What OAUTHBEARER says beside the token (RFC 7628, section 3.1; KIP-342).

use crate::secret::Secret;

/// The key under which the token itself goes.
const TOKEN_KEY: &[u8] = b"auth";

/// Keys and values for the broker, such as which of its clusters is meant.
#[derive(Clone, Debug, Default)]
pub struct Extensions(Secret);

impl Extensions {
    /// Keys are letters, values what is printable in ASCII, blanks and ends of lines. Each key
    /// should be given once.
    ///
    /// # Errors
    /// A key or a value cannot be said; why, without the value.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, String> {
        let mut encoded = Vec::new();
        for (key, value) in pairs {
            let name = String::from_utf8_lossy(key);
            if key.is_empty() || !key.iter().all(u8::is_ascii_alphabetic) || key == TOKEN_KEY {
                return Err(format!(
                    "extension '{name}': a key is letters, and not 'auth'"
                ));
            }
            let is_sayable = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~');
            if value.is_empty() || !value.iter().all(is_sayable) {
                return Err(format!(
                    "extension '{name}': a value is printable ASCII, and not empty"
                ));
            }
            encoded.extend_from_slice(&[key, b"=", value, b"\x01"].concat());
        }
        Ok(Extensions(encoded.into()))
    }

    /// As they go to the broker: `key=value`, each with the byte 0x01 at its end.
    pub(super) fn encoded(&self) -> &[u8] {
        self.0.expose()
    }
}
