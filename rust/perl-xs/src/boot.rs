//! Loading a module.

use std::ffi::c_void;

use crate::{ffi, panic, Croak, Perl};

/// What a module does when it is loaded, usually [`crate::register`].
pub type Init = fn(Perl) -> Result<(), Croak>;

unsafe extern "C" fn init_entry(perl: ffi::Interp, init: *const c_void) -> *mut ffi::SV {
    panic::install_hook();
    let perl = Perl::from_raw(perl);
    let init: Init = std::mem::transmute(init);
    ffi::pxs_new_protect(perl.as_raw());
    match panic::caught(|| init(perl)).unwrap_or_else(Err) {
        Ok(()) => std::ptr::null_mut(),
        Err(croak) => croak.into_raw(perl),
    }
}

/// The body of a boot function. Its frame and its caller's own nothing, so that a croak may pass them.
///
/// # Safety
/// Only for [`crate::boot!`].
#[cfg(perl_threads)]
#[doc(hidden)]
#[allow(improper_ctypes_definitions)] // only ever called from Rust
pub unsafe extern "C-unwind" fn run(perl: *mut c_void, cv: *mut c_void, init: Init) {
    ffi::pxs_boot(perl, cv, init_entry, init as *const c_void);
}

/// The body of a boot function. Its frame and its caller's own nothing, so that a croak may pass them.
///
/// # Safety
/// Only for [`crate::boot!`].
#[cfg(not(perl_threads))]
#[doc(hidden)]
#[allow(improper_ctypes_definitions)] // only ever called from Rust
pub unsafe extern "C-unwind" fn run(cv: *mut c_void, init: Init) {
    ffi::pxs_boot(cv, init_entry, init as *const c_void);
}

/// `boot!(boot_EV__Kafka, init)`: the function that XSLoader looks for. Checks that the library was built for this perl, then
/// runs `init`; an error croaks. ([`Perl::check_version`](crate::Perl::check_version) is for `init`.)
#[cfg(perl_threads)]
#[macro_export]
macro_rules! boot {
    ($name:ident, $init:expr) => {
        /// Called by XSLoader.
        ///
        /// # Safety
        /// Only for perl.
        #[no_mangle]
        pub unsafe extern "C-unwind" fn $name(
            perl: *mut ::std::ffi::c_void,
            cv: *mut ::std::ffi::c_void,
        ) {
            $crate::boot::run(perl, cv, $init)
        }
    };
}

/// `boot!(boot_EV__Kafka, init)`: the function that XSLoader looks for. Checks that the library was built for this perl, then
/// runs `init`; an error croaks.
#[cfg(not(perl_threads))]
#[macro_export]
macro_rules! boot {
    ($name:ident, $init:expr) => {
        /// Called by XSLoader.
        ///
        /// # Safety
        /// Only for perl.
        #[no_mangle]
        pub unsafe extern "C-unwind" fn $name(cv: *mut ::std::ffi::c_void) {
            $crate::boot::run(cv, $init)
        }
    };
}
