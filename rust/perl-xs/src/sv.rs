//! Scalars.

mod reading;

use std::fmt;
use std::ptr::{self, NonNull};

use crate::ffi::{self, SV};
use crate::perl::Perl;

/// One counted reference to a Perl value.
///
/// **Dropping is a call into Perl**: the last reference may run a `DESTROY`, which may do anything, even call back into the
/// object whose field is being dropped. Take values out of a cell first, end every borrow, then drop. (`exit` in such a
/// `DESTROY` does not pass Rust frames either: it waits, see [`Perl::exit_pending`].)
#[repr(transparent)]
pub struct Sv {
    raw: NonNull<SV>,
}

/// A string for Perl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Str<'a> {
    /// Each byte is a character.
    Bytes(&'a [u8]),
    /// Characters.
    Text(&'a str),
}

impl<'a> Str<'a> {
    pub(crate) fn stored(self) -> &'a [u8] {
        match self {
            Str::Bytes(bytes) => bytes,
            Str::Text(text) => text.as_bytes(),
        }
    }
}

/// A number as Perl has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer that fits.
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    /// Anything else, infinities and NaN included.
    Float(f64),
}

impl Number {
    /// The integer part, if it is within `i64`.
    pub fn to_i64(self) -> Option<i64> {
        match self {
            Number::Int(int) => Some(int),
            Number::UInt(_) => None,
            // 2^63 is exact as a float; i64::MAX is not.
            Number::Float(float) => (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
                .contains(&float)
                .then_some(float as i64),
        }
    }

    /// The value as a float.
    pub fn to_f64(self) -> f64 {
        match self {
            Number::Int(int) => int as f64,
            Number::UInt(int) => int as f64,
            Number::Float(float) => float,
        }
    }
}

impl Sv {
    /// Takes over one count.
    ///
    /// # Safety
    /// `raw` is null or a live value of this thread's interpreter, with a count to give away.
    pub unsafe fn from_raw(raw: *mut SV) -> Option<Sv> {
        NonNull::new(raw).map(|raw| Sv { raw })
    }

    /// Gives its count away.
    pub fn into_raw(self) -> *mut SV {
        let raw = self.raw.as_ptr();
        std::mem::forget(self);
        raw
    }

    /// The address, without a count.
    pub fn as_ptr(&self) -> *mut SV {
        self.raw.as_ptr()
    }

    unsafe fn made(raw: *mut SV) -> Sv {
        Sv {
            raw: NonNull::new_unchecked(raw),
        }
    }

    /// A new undef.
    pub fn undef(perl: Perl) -> Sv {
        unsafe { Sv::made(ffi::pxs_new_undef(perl.as_raw())) }
    }

    /// A new string of bytes.
    pub fn bytes(perl: Perl, bytes: &[u8]) -> Sv {
        unsafe {
            Sv::made(ffi::pxs_new_bytes(
                perl.as_raw(),
                bytes.as_ptr(),
                bytes.len(),
            ))
        }
    }

    /// A new string.
    pub fn string(perl: Perl, string: Str<'_>) -> Sv {
        match string {
            Str::Bytes(bytes) => Sv::bytes(perl, bytes),
            Str::Text(text) => unsafe {
                let (ptr, len) = (text.as_ptr(), text.len());
                Sv::made(ffi::pxs_new_text(perl.as_raw(), ptr, len))
            },
        }
    }

    /// A new string, or undef.
    pub fn string_or_undef(perl: Perl, string: Option<Str<'_>>) -> Sv {
        match string {
            Some(string) => Sv::string(perl, string),
            None => Sv::undef(perl),
        }
    }

    /// A new string of bytes, or undef.
    pub fn bytes_or_undef(perl: Perl, bytes: Option<&[u8]>) -> Sv {
        match bytes {
            Some(bytes) => Sv::bytes(perl, bytes),
            None => Sv::undef(perl),
        }
    }

    /// A new string in perl's table of shared strings: copies of it (as loop arguments, [`crate::Slots::shared`]) cost no
    /// allocation.
    pub fn shared(perl: Perl, bytes: &[u8]) -> Sv {
        unsafe {
            Sv::made(ffi::pxs_new_shared(
                perl.as_raw(),
                bytes.as_ptr(),
                bytes.len(),
            ))
        }
    }

    /// A new integer.
    pub fn int(perl: Perl, value: i64) -> Sv {
        unsafe { Sv::made(ffi::pxs_new_int(perl.as_raw(), value)) }
    }

    /// A new unsigned integer.
    pub fn uint(perl: Perl, value: u64) -> Sv {
        unsafe { Sv::made(ffi::pxs_new_uint(perl.as_raw(), value)) }
    }

    /// A new float.
    pub fn float(perl: Perl, value: f64) -> Sv {
        unsafe { Sv::made(ffi::pxs_new_float(perl.as_raw(), value)) }
    }

    /// A new reference (`\`) to the value.
    pub fn new_ref(perl: Perl, to: &Sv) -> Sv {
        unsafe { Sv::made(ffi::pxs_new_ref(perl.as_raw(), to.as_ptr())) }
    }

    /// Whether it has a value. Looks at flags only: for magical values resolve first.
    pub fn is_defined(&self) -> bool {
        unsafe { ffi::pxs_is_defined(self.as_ptr()) != 0 }
    }

    /// Whether it is a reference (flags only).
    pub fn is_ref(&self) -> bool {
        unsafe { ffi::pxs_is_ref(self.as_ptr()) != 0 }
    }

    /// Whether reading it calls something (tied, `$1`, …).
    pub fn has_magic(&self) -> bool {
        unsafe { ffi::pxs_has_magic(self.as_ptr()) != 0 }
    }

    /// Whether a string's bytes are UTF-8 that stands for characters (flags only).
    pub fn is_utf8(&self) -> bool {
        unsafe { ffi::pxs_is_utf8(self.as_ptr()) != 0 }
    }

    /// Whether it is a reference to an object whose class overloads operators.
    pub fn is_overloaded(&self) -> bool {
        unsafe { ffi::pxs_is_overloaded(self.as_ptr()) != 0 }
    }

    /// Whether it is a reference to a blessed value.
    pub fn is_object(&self) -> bool {
        unsafe { ffi::pxs_is_object(self.as_ptr()) != 0 }
    }

    /// Whether it is a code reference, or a code value itself as [`Sv::code`] gives it.
    pub fn is_code(&self) -> bool {
        unsafe { ffi::pxs_is_code(self.as_ptr()) != 0 }
    }

    /// Whether it is a reference to an array (blessed or not).
    pub fn is_array_ref(&self) -> bool {
        unsafe { ffi::pxs_is_array(self.as_ptr()) != 0 }
    }

    /// Whether it is a reference to a hash (blessed or not).
    pub fn is_hash_ref(&self) -> bool {
        unsafe { ffi::pxs_is_hash(self.as_ptr()) != 0 }
    }

    /// What the reference points to.
    pub fn referent(&self) -> Option<Sv> {
        unsafe {
            let to = ffi::pxs_referent(self.as_ptr());
            if to.is_null() {
                return None;
            }
            ffi::pxs_inc(to);
            Some(Sv::made(to))
        }
    }

    /// The code value of a code reference: what to keep of a callback (the caller may clear its variable).
    pub fn code(&self) -> Option<Sv> {
        if !self.is_code() {
            return None;
        }
        Some(self.referent().unwrap_or_else(|| self.clone()))
    }

    /// The bytes in place, of a plain string.
    ///
    /// # Safety
    /// Nothing may run Perl code or change the value while the slice lives.
    pub unsafe fn peek(&self) -> Option<&[u8]> {
        let mut bytes = ffi::RawBytes {
            ptr: ptr::null(),
            len: 0,
        };
        (ffi::pxs_peek(self.as_ptr(), &mut bytes) != 0)
            .then(|| std::slice::from_raw_parts(bytes.ptr, bytes.len))
    }

    /// How many references there are, this one included.
    pub fn refcount(&self) -> usize {
        unsafe { ffi::pxs_refcount(self.as_ptr()) }
    }
}

impl Clone for Sv {
    /// One more count of the same value.
    fn clone(&self) -> Sv {
        unsafe { ffi::pxs_inc(self.as_ptr()) };
        Sv { raw: self.raw }
    }
}

impl Drop for Sv {
    fn drop(&mut self) {
        unsafe { ffi::pxs_dec(self.as_ptr()) };
    }
}

impl fmt::Debug for Sv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sv({:p})", self.as_ptr())
    }
}
