//! Strings whose bytes are Perl's and stay as they are.

use std::ptr::{self, NonNull};

use crate::ffi::{self, Interp, SV};

/// A string's buffer, shared with the program's scalar. It is copied when the program changes that (perl's copy on write,
/// perl5200delta), so the bytes stay.
pub struct SharedString {
    /// A scalar of our own.
    sv: NonNull<SV>,
    ptr: NonNull<u8>,
    len: usize,
    /// Whose it is.
    perl: Interp,
}

// SAFETY: the bytes are never written to, and the scalar is touched by its own interpreter's thread only.
unsafe impl Send for SharedString {}
unsafe impl Sync for SharedString {}

impl SharedString {
    /// `None` when the buffer cannot be shared.
    ///
    /// # Safety
    /// `sv` is a plain string of this thread's interpreter.
    pub(crate) unsafe fn of(sv: *mut SV) -> Option<SharedString> {
        let perl = ffi::pxs_current();
        let mut bytes = ffi::RawBytes {
            ptr: ptr::null(),
            len: 0,
        };
        let sv = NonNull::new(ffi::pxs_share(perl, sv, &mut bytes))?;
        Some(SharedString {
            sv,
            ptr: NonNull::new(bytes.ptr.cast_mut())?,
            len: bytes.len,
            perl,
        })
    }
}

impl AsRef<[u8]> for SharedString {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the scalar keeps the buffer alive, and whoever changes it takes a copy first.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for SharedString {
    /// On another thread the scalar is left to its interpreter's end.
    fn drop(&mut self) {
        unsafe {
            if ffi::pxs_current() == self.perl {
                ffi::pxs_dec(self.sv.as_ptr());
            }
        }
    }
}
