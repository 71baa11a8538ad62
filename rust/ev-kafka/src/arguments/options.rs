//! Reading values that are given by their names.

use std::fmt::Display;

use bytes::Bytes;
use perl_xs::{Croak, Frame, HashRef, Sv};

use super::values::Values;
use crate::strings::Strings;

/// Named values: options, or an element that is a hash.
pub struct Options {
    values: Values,
    hash: Option<HashRef>,
}

impl Options {
    pub fn new(values: Values, hash: Option<HashRef>) -> Options {
        Options { values, hash }
    }

    /// The croak `METHOD: TEXT`.
    pub fn error(&self, text: impl Display) -> Croak {
        self.values.error(text)
    }

    /// The integer; `default` when it was not given or is undef.
    pub fn int<T: TryFrom<i64>>(&self, name: &str, default: T) -> Result<T, Croak> {
        Ok(self.nullable_int(name)?.unwrap_or(default))
    }

    /// The integer; `None` when it was not given or is undef.
    pub fn nullable_int<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, Croak> {
        self.values.integer(self.value(name)?.as_ref(), name)
    }

    /// Perl's idea of its truth; false when it was not given.
    pub fn bool(&self, name: &str) -> Result<bool, Croak> {
        self.value(name)?
            .map_or(Ok(false), |value| value.to_bool(self.values.perl))
    }

    /// The string; `None` when it was not given or is undef.
    pub fn string(&self, name: &str) -> Result<Option<Bytes>, Croak> {
        self.values.string(self.value(name)?.as_ref(), name)
    }

    /// The bytes; `None` when they were not given or are undef.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Croak> {
        self.values.bytes(self.value(name)?.as_ref(), name)
    }

    /// What is sent of a key or value; `None` when it was not given or is undef.
    pub fn encoded(&self, name: &str, strings: Strings) -> Result<Option<Vec<u8>>, Croak> {
        let value = self.value(name)?;
        self.values.encoded(value.as_ref(), name, strings)
    }

    /// The value; `None` when it was not given.
    pub fn value(&self, name: &str) -> Result<Option<Sv>, Croak> {
        self.hash
            .as_ref()
            .map_or(Ok(None), |hash| hash.get(self.values.perl, name))
    }
}

/// `[\%opts,] [$cb]` from an index on. Both may be left out or undef; a code reference in the
/// options' place is the callback.
pub fn options_and_callback(
    frame: &Frame<'_>,
    index: usize,
    method: &'static str,
) -> Result<(Options, Option<Sv>), Croak> {
    let perl = frame.perl();
    let values = Values { perl, method };
    let given = frame.value(index)?.filter(Sv::is_defined);
    if let Some(code) = given.as_ref().and_then(Sv::code) {
        return Ok((Options::new(values, None), Some(code)));
    }
    let hash = given
        .map(|given| values.hash(Some(&given), "options must be a hashref"))
        .transpose()?;
    let callback = values.callback(frame.value(index + 1)?.as_ref())?;
    Ok((Options::new(values, hash), callback))
}
