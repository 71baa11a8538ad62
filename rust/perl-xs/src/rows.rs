//! Lists of rows whose arrays and scalars are reused while nobody kept them.

use std::marker::PhantomData;
use std::ptr;

use crate::{ffi, Str, Sv};

/// One row: in Perl an array of these five, in this order.
#[derive(Debug)]
pub struct Row<'a> {
    /// An integer.
    pub first: i64,
    /// A string, or undef.
    pub a: Option<Str<'a>>,
    /// A string, or undef.
    pub b: Option<Str<'a>>,
    /// A value, or undef. It must be new: freeing it must not run Perl code.
    pub value: Option<Sv>,
    /// An integer.
    pub last: i64,
}

/// A reference to an array of rows, as an argument of a callback; see [`crate::Slots::rows`]. Rows, strings and numbers
/// that the callback did not keep are written to again by the next use; what it kept is left alone.
pub struct Rows {
    raw: *mut ffi::RawRows,
    described: Vec<ffi::RawRow>,
}

/// Where the rows of one use go.
pub struct RowSink<'a, 'r> {
    described: &'r mut Vec<ffi::RawRow>,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> RowSink<'a, '_> {
    /// Appends a row.
    #[inline]
    pub fn push(&mut self, row: Row<'a>) {
        self.described.push(ffi::RawRow {
            first: row.first,
            a: raw(row.a),
            b: raw(row.b),
            value: row.value.map_or(ptr::null_mut(), Sv::into_raw),
            last: row.last,
            text: mark(row.a, ffi::ROW_A_TEXT) | mark(row.b, ffi::ROW_B_TEXT),
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.described.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.described.is_empty()
    }
}

#[inline]
fn mark(string: Option<Str<'_>>, mark: u32) -> u32 {
    match string {
        Some(Str::Text(_)) => mark,
        _ => 0,
    }
}

#[inline]
fn raw(string: Option<Str<'_>>) -> ffi::RawBytes {
    match string.map(Str::stored) {
        // An empty slice's pointer need not be one that C may look at, but it is never null.
        Some(bytes) => ffi::RawBytes {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        },
        None => ffi::RawBytes {
            ptr: ptr::null(),
            len: 0,
        },
    }
}

impl Rows {
    /// None yet.
    pub fn new() -> Rows {
        Rows {
            raw: unsafe { ffi::pxs_rows_new() },
            described: Vec::new(),
        }
    }

    /// Describes the rows of the next use, and gives what C knows them by. Slots keep `'a` borrowed until then.
    pub(crate) fn describe<'a>(
        &'a mut self,
        fill: impl FnOnce(&mut RowSink<'a, '_>),
    ) -> *mut ffi::RawRows {
        self.forget();
        fill(&mut RowSink {
            described: &mut self.described,
            _borrow: PhantomData,
        });
        unsafe { ffi::pxs_rows_set(self.raw, self.described.as_ptr(), self.described.len()) };
        self.raw
    }

    /// Values that no use has taken are freed.
    fn forget(&mut self) {
        for row in self.described.drain(..) {
            drop(unsafe { Sv::from_raw(row.value) });
        }
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.forget();
        unsafe { ffi::pxs_rows_free(self.raw) };
    }
}
