//! Code that has been called and goes: many closures at once.

use crate::{ffi, Perl, Sv};

/// Drops references to code. Where they are the last ones to many closures, that costs much less than to drop them one by one:
/// perl searches all closures of the package for each that it frees.
pub fn drop_together(perl: Perl, mut codes: Vec<Sv>) {
    // SAFETY: an Sv is a pointer to a live scalar, of which this holds a reference; no Perl code runs.
    unsafe { ffi::pxs_unlist(perl.as_raw(), codes.as_mut_ptr().cast(), codes.len()) };
    drop(codes);
}
