//! Reading the arguments of methods. Values are taken as Perl takes them: undef counts as 0 or ''.

use bytes::Bytes;
use perl_xs::{ArrayRef, Croak, Frame, HashRef, Perl, Sv};

/// A string of bytes.
pub fn string(frame: &Frame<'_>, index: usize) -> Result<Bytes, Croak> {
    Ok(frame.bytes(index)?.unwrap_or_default().into())
}

/// A number for a 32-bit field: one outside of it becomes the nearest that fits.
pub fn int32(frame: &Frame<'_>, index: usize) -> Result<i32, Croak> {
    Ok(clamp32(frame.int(index)?.unwrap_or(0)))
}

/// The nearest number that fits 32 bits.
pub fn clamp32(value: i64) -> i32 {
    value.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// The nearest number that fits 16 bits.
pub fn clamp16(value: i64) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// The elements of an array argument; `METHOD: expected arrayref` when it is none.
pub fn array(frame: &Frame<'_>, index: usize, method: &str) -> Result<Vec<Sv>, Croak> {
    elements(frame.perl(), frame.value(index)?.as_ref(), || {
        format!("{method}: expected arrayref")
    })
}

/// The elements of an array reference; the error's text when it is none.
pub fn elements(
    perl: Perl,
    value: Option<&Sv>,
    error: impl FnOnce() -> String,
) -> Result<Vec<Sv>, Croak> {
    match value.and_then(ArrayRef::new) {
        Some(array) => array.to_vec(perl),
        None => Err(error().into()),
    }
}

/// The strings of an array.
pub fn strings(perl: Perl, values: &[Sv]) -> Result<Vec<Bytes>, Croak> {
    values
        .iter()
        .map(|value| Ok(value.to_bytes(perl)?.unwrap_or_default().into()))
        .collect()
}

/// An optional callback: absent, undef, or code.
pub fn callback(frame: &Frame<'_>, index: usize, method: &str) -> Result<Option<Sv>, Croak> {
    match frame.value(index)? {
        None => Ok(None),
        Some(value) if value.is_code() => Ok(value.code()),
        Some(value) if !value.is_defined() => Ok(None),
        Some(_) => Err(format!("{method}: callback must be a code reference").into()),
    }
}

/// Named options.
pub struct Options(Option<HashRef>);

impl Options {
    /// The integer; `default` when it was not given or is undef.
    pub fn int(&self, perl: Perl, name: &str, default: i64) -> Result<i64, Croak> {
        match &self.0 {
            Some(options) => Ok(options.get_i64(perl, name)?.unwrap_or(default)),
            None => Ok(default),
        }
    }

    /// The string; `None` when it was not given or is undef.
    pub fn string(&self, perl: Perl, name: &str) -> Result<Option<Vec<u8>>, Croak> {
        self.0
            .as_ref()
            .map_or(Ok(None), |options| options.get_bytes(perl, name))
    }

    /// The value; `None` when it was not given.
    pub fn value(&self, perl: Perl, name: &str) -> Result<Option<Sv>, Croak> {
        self.0
            .as_ref()
            .map_or(Ok(None), |options| options.get(perl, name))
    }
}

impl From<HashRef> for Options {
    fn from(hash: HashRef) -> Options {
        Options(Some(hash))
    }
}

/// `[\%opts,] [$cb]` from an index on. Both may be left out or undef; a code reference in the
/// options' place is the callback.
pub fn options_and_callback(
    frame: &Frame<'_>,
    index: usize,
    method: &str,
) -> Result<(Options, Option<Sv>), Croak> {
    let options = match frame.value(index)? {
        None => return Ok((Options(None), None)),
        Some(value) if value.is_code() => return Ok((Options(None), value.code())),
        Some(value) if value.is_hash_ref() => Options(HashRef::new(&value)),
        Some(value) if !value.is_defined() => Options(None),
        Some(_) => return Err(format!("{method}: options must be a hashref").into()),
    };
    Ok((options, callback(frame, index + 1, method)?))
}
