//! Arguments read where they lie: nothing is copied, and nothing of Perl runs meanwhile.

use std::marker::PhantomData;
use std::ptr;

use crate::{ffi, Frame, Sv};

/// An argument that did not come, or that may run Perl code when it is read, is none of these kinds.
#[repr(transparent)]
pub struct InPlace<'a> {
    raw: ffi::RawPlace,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> InPlace<'a> {
    /// The bytes of a plain string, `Some(None)` for undef; `None` for anything else.
    #[inline]
    pub fn bytes(&self) -> Option<Option<&'a [u8]>> {
        if self.raw.kinds & ffi::PLACE_BYTES != 0 {
            return Some(Some(unsafe {
                std::slice::from_raw_parts(self.raw.ptr, self.raw.len)
            }));
        }
        self.is_undef().then_some(None)
    }

    /// Whether the bytes are UTF-8 that stands for characters.
    #[inline]
    pub fn is_utf8(&self) -> bool {
        self.raw.kinds & ffi::PLACE_UTF8 != 0
    }

    /// A plain integer; `None` for anything else.
    #[inline]
    pub fn int(&self) -> Option<i64> {
        (self.raw.kinds & ffi::PLACE_INT != 0).then_some(self.raw.int)
    }

    /// Whether it is undef.
    #[inline]
    pub fn is_undef(&self) -> bool {
        self.raw.kinds & ffi::PLACE_UNDEF != 0
    }

    /// Whether it is a code reference.
    #[inline]
    pub fn is_code(&self) -> bool {
        self.raw.kinds & ffi::PLACE_CODE != 0
    }

    /// The code value of a code reference; `None` for anything else.
    #[inline]
    pub fn code(&self) -> Option<Sv> {
        if !self.is_code() {
            return None;
        }
        let code = self.raw.ptr.cast_mut().cast::<ffi::SV>();
        unsafe {
            ffi::pxs_inc(code);
            Sv::from_raw(code)
        }
    }
}

/// Lets Perl code run again.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        unsafe { ffi::pxs_places_end() };
    }
}

impl Frame<'_> {
    /// Runs `read` with the first `N` arguments, which are Perl's own buffers: until it returns no Perl code runs, calls of
    /// any die at once, and values whose last reference is dropped are freed only afterwards. `None`, and nothing was run,
    /// when more arguments came.
    pub fn in_place<const N: usize, R>(
        &self,
        read: impl FnOnce(&[InPlace<'_>; N]) -> R,
    ) -> Option<R> {
        if self.len() > N {
            return None;
        }
        let mut places = [const {
            InPlace {
                raw: ffi::RawPlace {
                    kinds: 0,
                    int: 0,
                    ptr: ptr::null(),
                    len: 0,
                },
                _borrow: PhantomData,
            }
        }; N];
        // InPlace is a transparent RawPlace.
        unsafe { ffi::pxs_places(self.args_ptr(), self.len(), places.as_mut_ptr().cast()) };
        let _held = Held;
        Some(read(&places))
    }
}
