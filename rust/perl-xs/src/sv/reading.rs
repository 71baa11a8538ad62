//! What reads a scalar as Perl does: magic and overloading may run Perl code, which may die.

use std::ptr;

use super::{Number, Sv};
use crate::croak::{check, Croak};
use crate::ffi;
use crate::perl::Perl;

impl Sv {
    /// The value without magic: the same one if it has none, else a copy (magic is read once). May run Perl code.
    pub fn resolve(&self, perl: Perl) -> Result<Sv, Croak> {
        if !self.has_magic() {
            return Ok(self.clone());
        }
        let (mut out, mut err) = (ptr::null_mut(), ptr::null_mut());
        unsafe {
            check(
                ffi::pxs_resolve(perl.as_raw(), self.as_ptr(), &mut out, &mut err),
                err,
            )?;
            Ok(Sv::made(out))
        }
    }

    /// The string's bytes as Perl stores them (a wide-character string: its UTF-8), or `None` for undef. May run Perl code
    /// (magic, overloading).
    pub fn to_bytes(&self, perl: Perl) -> Result<Option<Vec<u8>>, Croak> {
        Ok(self.to_stored(perl)?.map(|(bytes, _)| bytes))
    }

    /// The string's bytes as Perl stores them, and whether they are UTF-8 that stands for characters; `None` for undef. May
    /// run Perl code.
    pub fn to_stored(&self, perl: Perl) -> Result<Option<(Vec<u8>, bool)>, Croak> {
        if let Some(bytes) = unsafe { self.peek() } {
            return Ok(Some((bytes.to_vec(), self.is_utf8())));
        }
        let (mut out, mut err) = (ptr::null_mut(), ptr::null_mut());
        unsafe {
            check(
                ffi::pxs_to_string(perl.as_raw(), self.as_ptr(), &mut out, &mut err),
                err,
            )?;
            Ok(Sv::from_raw(out).map(|plain| {
                let bytes = plain.peek().unwrap_or_default().to_vec();
                (bytes, plain.is_utf8())
            }))
        }
    }

    /// The number, or `None` for undef. May run Perl code (magic, overloading, the "isn't numeric" warning).
    pub fn to_number(&self, perl: Perl) -> Result<Option<Number>, Croak> {
        let mut raw = ffi::RawNumber {
            kind: 0,
            int: 0,
            float: 0.0,
        };
        let mut err = ptr::null_mut();
        unsafe {
            check(
                ffi::pxs_to_number(perl.as_raw(), self.as_ptr(), &mut raw, &mut err),
                err,
            )?
        };
        Ok(match raw.kind {
            0 => None,
            1 => Some(Number::Int(raw.int)),
            2 => Some(Number::UInt(raw.int as u64)),
            _ => Some(Number::Float(raw.float)),
        })
    }

    /// The integer that this is, and that can be read without running anything; `None` for whatever else.
    pub fn plain_int(&self) -> Option<i64> {
        let mut number = 0;
        // SAFETY: a live scalar, only looked at.
        let is_so = unsafe { ffi::pxs_plain_int(self.as_ptr(), &mut number) } != 0;
        is_so.then_some(number)
    }

    /// The integer, or `None` for undef; numbers outside `i64` become its nearest end, NaN 0, as in Perl's own conversion.
    pub fn to_i64(&self, perl: Perl) -> Result<Option<i64>, Croak> {
        Ok(self.to_number(perl)?.map(|number| match number {
            Number::Int(int) => int,
            Number::UInt(_) => i64::MAX,
            Number::Float(float) => float as i64,
        }))
    }

    /// The float, or `None` for undef.
    pub fn to_f64(&self, perl: Perl) -> Result<Option<f64>, Croak> {
        Ok(self.to_number(perl)?.map(Number::to_f64))
    }

    /// Perl's idea of truth.
    pub fn to_bool(&self, perl: Perl) -> Result<bool, Croak> {
        let (mut yes, mut err) = (0, ptr::null_mut());
        unsafe {
            check(
                ffi::pxs_to_bool(perl.as_raw(), self.as_ptr(), &mut yes, &mut err),
                err,
            )?
        };
        Ok(yes != 0)
    }

    /// Whether it is an object of the class or one derived from it (follows overridden `isa`).
    pub fn is_derived_from(&self, perl: Perl, class: &str) -> Result<bool, Croak> {
        let class = Sv::bytes(perl, class.as_bytes());
        let (mut yes, mut err) = (0, ptr::null_mut());
        unsafe {
            check(
                ffi::pxs_derived_from(
                    perl.as_raw(),
                    self.as_ptr(),
                    class.as_ptr(),
                    &mut yes,
                    &mut err,
                ),
                err,
            )?;
        }
        Ok(yes != 0)
    }

    /// Blesses what this reference points to. Fails if it is no reference or cannot be blessed (read-only).
    pub fn bless(&self, perl: Perl, class: &Sv) -> Result<(), Croak> {
        match unsafe { ffi::pxs_bless(perl.as_raw(), self.as_ptr(), class.as_ptr()) } {
            ffi::OK => Ok(()),
            ffi::EXIT => Err(Croak::Exit),
            _ => Err(Croak::from("cannot bless this value")),
        }
    }
}
