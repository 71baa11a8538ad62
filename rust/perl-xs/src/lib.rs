//! Perl's C API for Rust, as far as a module with native objects, callbacks and hot paths needs it.
//!
//! # The three rules
//! 1. **No longjmp passes a Rust frame.** An XSUB body returns a [`Croak`]; C croaks once it has returned. Perl code is only
//!    run through functions that catch its `die` and its `exit` ([`call()`], [`CallLoop`], getters that follow magic, drops).
//!    (The one exception is running out of memory, where perl ends the process.)
//! 2. **No panic crosses into C.** It becomes the error `internal error: …` of the XSUB, or a warning in [`callback`].
//! 3. **Any call into Perl may free the object that makes it**, and dropping an [`Sv`] is such a call. State is shared by
//!    `Rc` and looked up last; nothing borrowed from a cell may live across a call.
//!
//! # A module
//! ```ignore
//! static XSUBS: &[XsubDef] = &[XsubDef { name: "My::Module::add", body: add }];
//! fn add(frame: &mut Frame) -> Result<(), Croak> {
//!     let (a, b) = (frame.int(0)?.unwrap_or(0), frame.int(1)?.unwrap_or(0));
//!     frame.ret_int(a + b);
//!     Ok(())
//! }
//! fn init(perl: Perl) -> Result<(), Croak> {
//!     perl_xs::register(perl, XSUBS);
//!     Ok(())
//! }
//! perl_xs::boot!(boot_My__Module, init);
//! ```
//!
//! # Where to look
//! - [`Perl`] proves that an interpreter runs here; [`Sv`], [`Av`], [`Hv`], [`ArrayRef`], [`HashRef`] are its values.
//! - [`register`] and [`Frame`]: XSUBs. [`attach`], [`get`], [`detach`], [`ObjectHandle`]: native objects.
//! - [`call()`], [`call_method`], [`Perl::warn`]: calling Perl. [`callback`]: being called by an event loop.
//! - [`register_fast3`], [`CallLoop`], [`Template`], [`Rows`], [`InPlace`]: what runs per message.
//!
//! A dependant with C code of its own finds `perl_xs.h` and perl's headers through `DEP_PERL_XS_INCLUDE`,
//! `DEP_PERL_XS_CORE` and `DEP_PERL_XS_CCFLAGS` in its build script.
#![warn(missing_docs)]

#[doc(hidden)]
pub mod boot;
mod call;
mod call_loop;
mod codes;
mod containers;
mod croak;
mod fast;
mod ffi;
mod frame;
mod in_place;
mod object;
mod panic;
mod perl;
mod rows;
mod shared;
mod sv;
mod template;

pub use call::{call, call_method, call_method_scalar, call_scalar, Arg, Flow, Outcome};
pub use call_loop::{CallLoop, Callee, Calls, Slots, With};
pub use codes::drop_together;
pub use containers::{ArrayRef, Av, HashRef, Hv};
pub use croak::Croak;
pub use fast::{register_fast3, FastArgs, FastOptions, FastOutcome, FastPair, FastXsub};
pub use ffi::SV;
pub use frame::{register, register_clone_skip, Frame, XsubDef};
pub use in_place::InPlace;
pub use object::{attach, detach, get, handle, Freed, Native, ObjectError, ObjectHandle};
pub use panic::callback;
pub use perl::Perl;
pub use rows::{Row, RowSink, Rows};
pub use shared::SharedString;
pub use sv::{Number, Str, Sv};
pub use template::{Node, Template};
