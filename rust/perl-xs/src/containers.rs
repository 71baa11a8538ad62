//! Arrays and hashes: fresh ones are built by [`Av`] and [`Hv`] without a way to fail; those of users are read by
//! [`ArrayRef`] and [`HashRef`], which may be tied and so may run Perl code.

use std::ptr;

use crate::croak::check;
use crate::{ffi, Croak, Perl, Str, Sv};

/// A new array that nobody else knows yet.
pub struct Av(Sv);

impl Av {
    /// An empty array.
    pub fn new(perl: Perl) -> Av {
        Av::with_capacity(perl, 0)
    }

    /// An empty array with room for `capacity` elements.
    pub fn with_capacity(perl: Perl, capacity: usize) -> Av {
        Av(unsafe {
            Sv::from_raw(ffi::pxs_new_av(perl.as_raw(), capacity))
                .expect("perl's allocator does not return null")
        })
    }

    /// Appends the value.
    pub fn push(&mut self, perl: Perl, value: Sv) {
        unsafe { ffi::pxs_av_push_new(perl.as_raw(), self.0.as_ptr(), value.into_raw()) };
    }

    /// The finished array as a reference.
    pub fn into_ref(self, perl: Perl) -> Sv {
        Sv::new_ref(perl, &self.0)
    }

    /// The finished array itself, which Perl code never sees as a value.
    pub fn into_value(self) -> Sv {
        self.0
    }
}

/// A new hash that nobody else knows yet.
pub struct Hv(Sv);

impl Hv {
    /// An empty hash.
    pub fn new(perl: Perl) -> Hv {
        Hv(unsafe {
            Sv::from_raw(ffi::pxs_new_hv(perl.as_raw()))
                .expect("perl's allocator does not return null")
        })
    }

    /// Stores the value under the key, in place of what was there.
    pub fn store(&mut self, perl: Perl, key: impl AsRef<[u8]>, value: Sv) {
        let key = key.as_ref();
        unsafe {
            ffi::pxs_hv_store_new(
                perl.as_raw(),
                self.0.as_ptr(),
                key.as_ptr(),
                key.len(),
                value.into_raw(),
            )
        };
    }

    /// Stores the value under a key of bytes or of characters.
    pub fn store_at(&mut self, perl: Perl, key: Str<'_>, value: Sv) {
        let key = match key {
            Str::Bytes(bytes) => return self.store(perl, bytes, value),
            Str::Text(text) => text,
        };
        unsafe {
            ffi::pxs_hv_store_text(
                perl.as_raw(),
                self.0.as_ptr(),
                key.as_ptr(),
                key.len(),
                value.into_raw(),
            )
        };
    }

    /// Stores an integer.
    pub fn store_int(&mut self, perl: Perl, key: impl AsRef<[u8]>, value: i64) {
        self.store(perl, key, Sv::int(perl, value));
    }

    /// Stores a string.
    pub fn store_bytes(&mut self, perl: Perl, key: impl AsRef<[u8]>, value: &[u8]) {
        self.store(perl, key, Sv::bytes(perl, value));
    }

    /// The finished hash as a reference.
    pub fn into_ref(self, perl: Perl) -> Sv {
        Sv::new_ref(perl, &self.0)
    }
}

/// Somebody's array, read only. Keeps the array itself alive, not the reference it came from.
pub struct ArrayRef(Sv);

impl ArrayRef {
    /// The array behind an array reference.
    pub fn new(reference: &Sv) -> Option<ArrayRef> {
        if reference.is_array_ref() {
            reference.referent().map(ArrayRef)
        } else {
            None
        }
    }

    /// An array that is the value itself; see [`Av::into_value`].
    pub fn of_value(value: &Sv) -> Option<ArrayRef> {
        // SAFETY: it only looks at the kind of value.
        let is_list = unsafe { ffi::pxs_is_list(value.as_ptr()) != 0 };
        is_list.then(|| ArrayRef(value.clone()))
    }

    /// How many elements it has now.
    pub fn len(&self, perl: Perl) -> Result<usize, Croak> {
        let (mut len, mut err) = (0, ptr::null_mut());
        unsafe {
            check(
                ffi::pxs_av_len(perl.as_raw(), self.0.as_ptr(), &mut len, &mut err),
                err,
            )?
        };
        Ok(len)
    }

    /// The element, if it exists; without magic.
    pub fn get(&self, perl: Perl, index: usize) -> Result<Option<Sv>, Croak> {
        let (mut out, mut err) = (ptr::null_mut(), ptr::null_mut());
        unsafe {
            check(
                ffi::pxs_av_get(perl.as_raw(), self.0.as_ptr(), index, &mut out, &mut err),
                err,
            )?;
            Ok(Sv::from_raw(out))
        }
    }

    /// All elements, read once; holes are new undefs.
    pub fn to_vec(&self, perl: Perl) -> Result<Vec<Sv>, Croak> {
        let mut values = Vec::new();
        let mut index = 0;
        while index < self.len(perl)? {
            values.push(self.get(perl, index)?.unwrap_or_else(|| Sv::undef(perl)));
            index += 1;
        }
        Ok(values)
    }
}

/// Somebody's hash, read only. Keeps the hash itself alive, not the reference it came from.
pub struct HashRef(Sv);

impl HashRef {
    /// The hash behind a hash reference.
    pub fn new(reference: &Sv) -> Option<HashRef> {
        if reference.is_hash_ref() {
            reference.referent().map(HashRef)
        } else {
            None
        }
    }

    /// The value under the key, if it exists; without magic.
    pub fn get(&self, perl: Perl, key: impl AsRef<[u8]>) -> Result<Option<Sv>, Croak> {
        let key = key.as_ref();
        let (mut out, mut err) = (ptr::null_mut(), ptr::null_mut());
        unsafe {
            check(
                ffi::pxs_hv_get(
                    perl.as_raw(),
                    self.0.as_ptr(),
                    key.as_ptr(),
                    key.len(),
                    &mut out,
                    &mut err,
                ),
                err,
            )?;
            Ok(Sv::from_raw(out))
        }
    }

    /// The string under the key; `None` when absent or undef.
    pub fn get_bytes(&self, perl: Perl, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Croak> {
        match self.get(perl, key)? {
            Some(value) => value.to_bytes(perl),
            None => Ok(None),
        }
    }

    /// The integer under the key; `None` when absent or undef.
    pub fn get_i64(&self, perl: Perl, key: impl AsRef<[u8]>) -> Result<Option<i64>, Croak> {
        match self.get(perl, key)? {
            Some(value) => value.to_i64(perl),
            None => Ok(None),
        }
    }

    /// All pairs in Perl's order; values without magic. An `each` in progress on the hash is not disturbed (unless tied).
    pub fn pairs(&self, perl: Perl) -> Result<Vec<(Vec<u8>, Sv)>, Croak> {
        self.entries(perl)?
            .into_iter()
            .map(|(key, value)| Ok((key.to_bytes(perl)?.unwrap_or_default(), value)))
            .collect()
    }

    /// The same with the keys as strings of Perl.
    pub fn entries(&self, perl: Perl) -> Result<Vec<(Sv, Sv)>, Croak> {
        let (mut out, mut err) = (ptr::null_mut(), ptr::null_mut());
        let flat = unsafe {
            check(
                ffi::pxs_hv_pairs(perl.as_raw(), self.0.as_ptr(), &mut out, &mut err),
                err,
            )?;
            ArrayRef(Sv::from_raw(out).ok_or_else(|| Croak::from("no pairs"))?)
        };
        let mut pairs = Vec::new();
        for index in (0..flat.len(perl)?).step_by(2) {
            let (Some(key), Some(value)) = (flat.get(perl, index)?, flat.get(perl, index + 1)?)
            else {
                continue;
            };
            pairs.push((key, value));
        }
        Ok(pairs)
    }
}
