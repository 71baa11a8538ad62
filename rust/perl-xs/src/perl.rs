//! The witness of the running interpreter.

use crate::{ffi, Croak, Flow, Sv};

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

    /// The package variable with this full name (such as `My::Module::VERSION`), if it exists.
    pub fn package_scalar(self, name: &str) -> Option<Sv> {
        let name = std::ffi::CString::new(name).ok()?;
        unsafe { Sv::from_raw(ffi::pxs_package_var(self.raw, name.as_ptr())) }
    }

    /// Fails unless the package's `$VERSION` is this one: a library left over from another version of its module is found
    /// out when it is loaded.
    pub fn check_version(self, package: &str, version: &str) -> Result<(), Croak> {
        let found = match self.package_scalar(&format!("{package}::VERSION")) {
            Some(sv) => sv.to_bytes(self)?,
            None => None,
        };
        let found = found
            .as_deref()
            .map_or("undef".into(), String::from_utf8_lossy);
        if found == version {
            return Ok(());
        }
        Err(Croak::from(format!(
            "{package}: the compiled part is of version {version}, the Perl part of {found}"
        )))
    }

    /// How many scalars, arrays, hashes… the interpreter has: what a leak test compares.
    pub fn sv_count(self) -> usize {
        unsafe { ffi::pxs_sv_count(self.raw) }
    }

    /// Makes perl free everything at its end (`PL_perl_destruct_level = 2`), not only objects: for leak checkers.
    pub fn destroy_everything_at_exit(self) {
        unsafe { ffi::pxs_set_destruct_level(self.raw, 2) };
    }

    /// Warns; without a newline at the end Perl adds where it was. A `__WARN__` handler may run: it may do anything, and if
    /// it dies only the warning is lost.
    pub fn warn(self, text: impl AsRef<[u8]>) -> Flow {
        let text = Sv::bytes(self, text.as_ref());
        Flow::from_status(unsafe { ffi::pxs_warn(self.raw, std::ptr::null(), 0, text.as_ptr()) })
    }

    /// Warns `"{what}: {error}"`, as for a callback that died.
    pub fn warn_died(self, what: &str, error: &Sv) -> Flow {
        Flow::from_status(unsafe {
            ffi::pxs_warn(self.raw, what.as_ptr(), what.len(), error.as_ptr())
        })
    }
}
