//! Reading single values on behalf of a method.

use std::fmt::Display;

use bytes::Bytes;
use perl_xs::{ArrayRef, Croak, HashRef, Perl, Sv};

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

/// As text or number it would be an address, which nobody means.
pub fn is_plain_reference(value: &Sv) -> bool {
    value.is_ref() && !value.is_overloaded()
}
