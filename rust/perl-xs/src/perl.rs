//! The witness of the running interpreter.

mod variables;

use crate::ffi;

/// Proof that Perl runs on this thread: needed for whatever touches its values. Copyable, bound to its thread.
#[derive(Clone, Copy, Debug)]
pub struct Perl {
    raw: ffi::Interp,
}

impl Perl {
    /// The interpreter of this thread, for C callbacks that carry none (such as an event loop's watchers).
    ///
    /// # Safety
    /// This thread runs a perl interpreter, which outlives every use of the witness.
    pub unsafe fn current() -> Perl {
        Perl {
            raw: ffi::pxs_current(),
        }
    }

    /// A witness from `my_perl` as C code has it; null on a perl without threads.
    ///
    /// # Safety
    /// As for [`Perl::current`].
    pub unsafe fn from_raw(raw: *mut std::ffi::c_void) -> Perl {
        Perl { raw }
    }

    /// `my_perl`, for C functions of a dependant.
    pub fn as_raw(self) -> *mut std::ffi::c_void {
        self.raw
    }

    /// Whether perl is in global destruction: values may be decremented, nothing may be called.
    pub fn in_global_destruction(self) -> bool {
        unsafe { ffi::pxs_dirty(self.raw) != 0 }
    }

    /// Whether `exit` was called by Perl code below and waits for the Rust frames to return. Protected calls do nothing then.
    pub fn exit_pending(self) -> bool {
        unsafe { ffi::pxs_exit_pending() != 0 }
    }

    /// How many scalars, arrays, hashes… the interpreter has: what a leak test compares.
    pub fn sv_count(self) -> usize {
        unsafe { ffi::pxs_sv_count(self.raw) }
    }

    /// Makes perl free everything at its end (`PL_perl_destruct_level = 2`), not only objects: for leak checkers.
    pub fn destroy_everything_at_exit(self) {
        unsafe { ffi::pxs_set_destruct_level(self.raw, 2) };
    }
}
