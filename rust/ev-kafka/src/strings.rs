//! What messages are to a program: how keys, values and headers become bytes, and what bytes become.

use perl_xs::Str;

/// The option `strings`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strings {
    /// As Perl stores them, whatever that means.
    #[default]
    AsStored,
    /// Bytes: each character is one.
    Bytes,
    /// Text, which is UTF-8 outside of the program.
    Utf8,
}

/// What records are to the program.
#[derive(Clone, Copy, Default)]
pub struct Form {
    /// What keys, values and headers are.
    pub strings: Strings,
    /// What the headers of a record are together.
    pub headers: HeadersAs,
}

/// The option `headers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadersAs {
    /// A hash: the last value of a repeated name wins, as in any hash that is built from pairs.
    #[default]
    Hash,
    /// A list of name and value, in the order of the record.
    Pairs,
}

impl HeadersAs {
    /// What a program calls it; `None` for a name that means nothing.
    pub fn from_name(name: &[u8]) -> Option<HeadersAs> {
        match name {
            b"" | b"hash" => Some(HeadersAs::Hash),
            b"pairs" => Some(HeadersAs::Pairs),
            _ => None,
        }
    }
}

/// A character above 255, which is no byte.
#[derive(Debug, PartialEq, Eq)]
pub struct Wide;

impl Wide {
    /// What a croak says of the string.
    pub fn text(&self, name: &str) -> String {
        format!("{name} has wide characters: encode it first, or strings => 'utf8'")
    }
}

/// The last first byte of a character below 256 that UTF-8 writes as two bytes.
const LAST_LEAD_OF_A_BYTE: u8 = 0xc3;

impl Strings {
    /// What a program calls it; `None` for a name that means nothing.
    pub fn from_name(name: &[u8]) -> Option<Strings> {
        match name {
            b"" => Some(Strings::AsStored),
            b"bytes" => Some(Strings::Bytes),
            b"utf8" => Some(Strings::Utf8),
            _ => None,
        }
    }

    /// What a program gets of bytes that were read. Those that are no UTF-8 stay bytes.
    #[inline]
    pub fn decode(self, read: &[u8]) -> Str<'_> {
        match self {
            Strings::Utf8 if !read.is_ascii() => {
                std::str::from_utf8(read).map_or(Str::Bytes(read), Str::Text)
            }
            _ => Str::Bytes(read),
        }
    }

    /// Whether a string can be sent as it is stored: as UTF-8, or as one byte for each character.
    #[inline]
    pub fn is_stored_so(self, stored: &[u8], is_utf8: bool) -> bool {
        match self {
            Strings::AsStored => true,
            Strings::Bytes => !is_utf8 || stored.is_ascii(),
            Strings::Utf8 => is_utf8 || stored.is_ascii(),
        }
    }

    /// What is sent of a string.
    ///
    /// # Errors
    /// When it is to be bytes, and has characters that are none.
    pub fn encode(self, stored: Vec<u8>, is_utf8: bool) -> Result<Vec<u8>, Wide> {
        if self.is_stored_so(&stored, is_utf8) {
            return Ok(stored);
        }
        match self {
            Strings::Utf8 => Ok(upgraded(&stored)),
            _ => downgraded(&stored),
        }
    }
}

/// The UTF-8 of characters of one byte each.
fn upgraded(characters: &[u8]) -> Vec<u8> {
    let text: String = characters.iter().copied().map(char::from).collect();
    text.into_bytes()
}

/// One byte for each character of UTF-8 as perl stores it.
fn downgraded(stored: &[u8]) -> Result<Vec<u8>, Wide> {
    let mut bytes = Vec::with_capacity(stored.len());
    let mut rest = stored.iter().copied();
    while let Some(first) = rest.next() {
        bytes.push(match first {
            0..=0x7f => first,
            _ if first > LAST_LEAD_OF_A_BYTE => return Err(Wide),
            _ => first << 6 | rest.next().ok_or(Wide)? & 0x3f,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATIN: &[u8] = b"M\xfcller";
    const UTF8: &[u8] = b"M\xc3\xbcller";

    #[test]
    fn as_stored_changes_nothing() {
        for is_utf8 in [false, true] {
            let sent = Strings::AsStored.encode(UTF8.to_vec(), is_utf8);
            assert_eq!(sent.as_deref(), Ok(UTF8));
        }
    }

    #[test]
    fn bytes_are_the_same_however_they_are_stored() {
        let plain = Strings::Bytes.encode(LATIN.to_vec(), false);
        assert_eq!(plain.as_deref(), Ok(LATIN));
        let flagged = Strings::Bytes.encode(UTF8.to_vec(), true);
        assert_eq!(flagged.as_deref(), Ok(LATIN));
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let stored = upgraded(&all);
        assert_eq!(Strings::Bytes.encode(stored, true), Ok(all));
    }

    #[test]
    fn wide_characters_are_no_bytes() {
        for text in ["\u{100}", "a\u{263a}", "\u{1f600}"] {
            let sent = Strings::Bytes.encode(text.as_bytes().to_vec(), true);
            assert_eq!(sent, Err(Wide), "{text}");
        }
        assert_eq!(Strings::Bytes.encode(b"a\xc3".to_vec(), true), Err(Wide));
    }

    #[test]
    fn text_is_the_same_however_it_is_stored() {
        for (stored, is_utf8) in [(LATIN, false), (UTF8, true)] {
            let sent = Strings::Utf8.encode(stored.to_vec(), is_utf8);
            assert_eq!(sent.as_deref(), Ok(UTF8));
        }
    }

    #[test]
    fn only_what_needs_it_is_marked_as_text() {
        assert_eq!(Strings::Utf8.decode(UTF8), Str::Text("M\u{fc}ller"));
        for bytes in [&b"plain"[..], LATIN, b""] {
            assert_eq!(Strings::Utf8.decode(bytes), Str::Bytes(bytes));
        }
        for strings in [Strings::AsStored, Strings::Bytes] {
            assert_eq!(strings.decode(UTF8), Str::Bytes(UTF8));
        }
    }
}
