//! Reading what programs give to methods. Values are taken as Perl takes them: undef counts as 0,
//! '' or the default, objects are the text or number that their overloading makes of them. What
//! cannot be meant croaks `METHOD: NAME …`.

use std::fmt::Display;

use bytes::Bytes;
use perl_xs::{ArrayRef, Croak, Frame, HashRef, Perl, Sv};

use crate::strings::Strings;

/// Reads values on behalf of a method.
#[derive(Clone, Copy)]
pub struct Values {
    pub perl: Perl,
    pub method: &'static str,
}

impl Values {
    /// The croak `METHOD: TEXT`.
    pub fn error(&self, text: impl Display) -> Croak {
        format!("{}: {text}", self.method).into()
    }

    /// Bytes of any length; `None` for undef and for what was left out.
    pub fn bytes(&self, value: Option<&Sv>, name: &str) -> Result<Option<Vec<u8>>, Croak> {
        self.encoded(value, name, Strings::AsStored)
    }

    /// What is sent of a key, value or header; `None` for undef and for what was left out.
    pub fn encoded(
        &self,
        value: Option<&Sv>,
        name: &str,
        strings: Strings,
    ) -> Result<Option<Vec<u8>>, Croak> {
        let Some(value) = value else { return Ok(None) };
        if is_plain_reference(value) {
            return Err(self.error(format_args!("{name} must be a string")));
        }
        let Some((stored, is_utf8)) = value.to_stored(self.perl)? else {
            return Ok(None);
        };
        match strings.encode(stored, is_utf8) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(wide) => Err(self.error(wide.text(name))),
        }
    }

    /// The same for a request's field. One that is too long for its field fails the request.
    pub fn string(&self, value: Option<&Sv>, name: &str) -> Result<Option<Bytes>, Croak> {
        Ok(self.bytes(value, name)?.map(Bytes::from))
    }

    /// The strings of an array.
    pub fn strings(&self, values: &[Sv], name: &str) -> Result<Vec<Bytes>, Croak> {
        values
            .iter()
            .map(|value| Ok(self.string(Some(value), name)?.unwrap_or_default()))
            .collect()
    }

    /// An integer of any width, without what follows its decimal point; `None` for undef and for
    /// what was left out.
    pub fn integer<T: TryFrom<i64>>(
        &self,
        value: Option<&Sv>,
        name: &str,
    ) -> Result<Option<T>, Croak> {
        let Some(value) = value else { return Ok(None) };
        if is_plain_reference(value) {
            return Err(self.error(format_args!("{name} must be a number")));
        }
        let Some(number) = value.to_number(self.perl)? else {
            return Ok(None);
        };
        match number.to_i64().and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.error(format_args!("{name} out of range"))),
        }
    }

    /// A time in seconds; `None` for undef and for what was left out.
    pub fn seconds(&self, value: Option<&Sv>, name: &str) -> Result<Option<f64>, Croak> {
        let Some(value) = value else { return Ok(None) };
        let seconds = match is_plain_reference(value) {
            true => Some(f64::NAN),
            false => value.to_f64(self.perl)?,
        };
        match seconds {
            None => Ok(None),
            Some(seconds) if seconds >= 0.0 => Ok(Some(seconds)),
            // NaN is not from 0 up either.
            Some(_) => Err(self.error(format_args!("{name} must be a number from 0 up"))),
        }
    }

    /// The elements of an array reference.
    pub fn array(&self, value: Option<&Sv>) -> Result<Vec<Sv>, Croak> {
        self.elements(value, "expected arrayref")
    }

    /// The elements of an array reference; the croak `METHOD: ERROR` when it is none.
    pub fn elements(&self, value: Option<&Sv>, error: &str) -> Result<Vec<Sv>, Croak> {
        match value.and_then(ArrayRef::new) {
            Some(array) => array.to_vec(self.perl),
            None => Err(self.error(error)),
        }
    }

    /// The hash of a hash reference; the croak `METHOD: ERROR` when it is none.
    pub fn hash(&self, value: Option<&Sv>, error: &str) -> Result<HashRef, Croak> {
        value
            .and_then(HashRef::new)
            .ok_or_else(|| self.error(error))
    }

    /// A callback; `None` for undef and for what was left out.
    pub fn callback(&self, value: Option<&Sv>) -> Result<Option<Sv>, Croak> {
        match value {
            Some(value) if value.is_code() => Ok(value.code()),
            Some(value) if value.is_defined() => {
                Err(self.error("callback must be a code reference"))
            }
            _ => Ok(None),
        }
    }
}

/// A string of bytes, whatever it was; undef is the empty one.
pub fn string(frame: &Frame<'_>, index: usize) -> Result<Bytes, Croak> {
    Ok(frame.bytes(index)?.unwrap_or_default().into())
}

/// As text or number it would be an address, which nobody means.
pub fn is_plain_reference(value: &Sv) -> bool {
    value.is_ref() && !value.is_overloaded()
}

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
        let value = self.value(name)?;
        Ok(self
            .values
            .integer(value.as_ref(), name)?
            .unwrap_or(default))
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
