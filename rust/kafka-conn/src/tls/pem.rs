//! PEM as people keep it.

use std::borrow::Cow;

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine;
use rustls::pki_types::pem::Error;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The contents of a PEM file. Who reads the file is the caller's affair.
#[derive(Clone, Debug)]
pub struct Pem {
    /// The file's name, for messages.
    pub name: String,
    /// What is in it.
    pub contents: Secret,
}

/// What some editors put in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The text without a byte order mark, and without the blanks that stand before lines where a
/// certificate was pasted into something that is indented.
pub(super) fn tidied(contents: &Secret) -> Cow<'_, Secret> {
    let text = contents.expose();
    let unmarked = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let is_indented = |line: &[u8]| matches!(line.first(), Some(b' ' | b'\t'));
    if unmarked.len() == text.len() && !unmarked.split(|&byte| byte == b'\n').any(is_indented) {
        return Cow::Borrowed(contents);
    }
    // Room for all of it, as growing would leave a copy behind.
    let mut tidy = Vec::with_capacity(unmarked.len());
    for line in unmarked.split_inclusive(|&byte| byte == b'\n') {
        let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
        tidy.extend_from_slice(&line[start.unwrap_or(line.len())..]);
    }
    Cow::Owned(tidy.into())
}

/// What is wrong with a PEM file, without quoting it: it may hold a key.
pub(super) fn malformed(error: &Error) -> &'static str {
    match error {
        Error::MissingSectionEnd { .. } => "malformed PEM: a section has no end",
        Error::IllegalSectionStart { .. } => "malformed PEM: a section's start is broken",
        Error::Base64Decode(_) => "malformed PEM: not Base64",
        _ => "malformed PEM",
    }
}

/// Where this stands in the text.
pub(super) fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|at| at == what)
}

/// What Base64 over several lines stands for.
pub(super) fn bytes_of(lines: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let mut base64 = Zeroizing::new(Vec::with_capacity(lines.len()));
    base64.extend(lines.iter().filter(|byte| !byte.is_ascii_whitespace()));
    BASE64
        .decode(&*base64)
        .map(Zeroizing::new)
        .map_err(|_| "is malformed PEM: not Base64")
}
