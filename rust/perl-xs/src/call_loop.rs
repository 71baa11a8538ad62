//! Many calls of callbacks under one eval, with argument scalars that are reused while nobody kept them.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use crate::{ffi, panic, Croak, Flow, Outcome, Perl, RowSink, Rows, Str, Sv, Template};

/// The arguments of one call, in order; at most [`Slots::MAX`].
pub struct Slots<'a> {
    raw: &'a mut ffi::RawCall,
    _borrow: PhantomData<&'a mut &'a ()>,
}

impl<'a> Slots<'a> {
    /// The most arguments a call can have.
    pub const MAX: usize = ffi::MAX_SLOTS;

    #[inline]
    fn push(&mut self, kind: u32, int: i64, ptr: *const c_void, len: usize) {
        let index = self.raw.nargs as usize;
        self.raw.args[index] = ffi::RawArg {
            kind,
            int,
            ptr,
            len,
        };
        self.raw.nargs += 1;
    }

    /// undef (one that the callback may assign to).
    #[inline]
    pub fn undef(&mut self) {
        self.push(ffi::ARG_UNDEF, 0, ptr::null(), 0);
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        self.push(ffi::ARG_INT, value, ptr::null(), 0);
    }

    /// A string, or undef.
    #[inline]
    pub fn bytes(&mut self, value: Option<&'a [u8]>) {
        match value {
            Some(bytes) => self.push(
                ffi::ARG_BYTES,
                0,
                bytes.as_ptr().cast::<c_void>(),
                bytes.len(),
            ),
            None => self.undef(),
        }
    }

    /// A string of bytes or of characters, or undef.
    #[inline]
    pub fn string(&mut self, value: Option<Str<'a>>) {
        match value {
            Some(Str::Text(text)) => {
                self.push(ffi::ARG_TEXT, 0, text.as_ptr().cast::<c_void>(), text.len());
            }
            Some(Str::Bytes(bytes)) => self.bytes(Some(bytes)),
            None => self.undef(),
        }
    }

    /// A copy of a string made by [`Sv::shared`], which costs no allocation (any other string is copied).
    #[inline]
    pub fn shared(&mut self, value: &'a Sv) {
        self.push(
            ffi::ARG_SHARED,
            0,
            value.as_ptr().cast_const().cast::<c_void>(),
            0,
        );
    }

    /// The value itself (aliased, not copied).
    #[inline]
    pub fn sv(&mut self, value: &'a Sv) {
        self.push(
            ffi::ARG_SV,
            0,
            value.as_ptr().cast_const().cast::<c_void>(),
            0,
        );
    }

    /// What comes behind all other arguments. It is given up right after the call.
    #[inline]
    pub fn with(&mut self, with: With) {
        let nothing = ffi::RawWith::NOTHING;
        self.raw.with = match with {
            With::Int(int) => ffi::RawWith {
                kind: ffi::WITH_INT,
                int,
                ..nothing
            },
            With::Ref(referent) => ffi::RawWith {
                kind: ffi::WITH_REF,
                sv: referent.into_raw(),
                ..nothing
            },
            With::Value(value) => ffi::RawWith {
                kind: ffi::WITH_VALUE,
                sv: value.into_raw(),
                ..nothing
            },
        };
    }

    /// A reference to an array of the rows that `fill` describes.
    #[inline]
    pub fn rows(&mut self, rows: &'a mut Rows, fill: impl FnOnce(&mut RowSink<'a, '_>)) {
        let raw = rows.describe(fill);
        self.push(ffi::ARG_ROWS, 0, raw.cast_const().cast::<c_void>(), 0);
    }

    /// The template's structure with its leaves as they are set now.
    #[inline]
    pub fn template(&mut self, template: &'a mut Template) {
        self.push(
            ffi::ARG_TEMPLATE,
            0,
            template.as_ptr().cast_const().cast::<c_void>(),
            0,
        );
    }
}

/// What a callback is called with behind its own arguments, kept in as little memory as it takes.
#[derive(Clone, Debug)]
pub enum With {
    /// An integer.
    Int(i64),
    /// A reference to this.
    Ref(Sv),
    /// A value, or, if it is an array, its elements.
    Value(Sv),
}

/// Whom to call.
pub enum Callee<'a> {
    /// Code that stays owned by the calls.
    Keep(&'a Sv),
    /// Code whose reference is dropped right after its call.
    Release(Sv),
}

/// A series of calls. It must own all it gives out: while a callback runs, objects may change or go.
pub trait Calls {
    /// The next call: pushes its arguments and names the callee; `None` ends the loop. Must advance before it returns, and
    /// must not run Perl code.
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>>;
}

/// The argument scalars, kept from one run to the next.
#[derive(Debug)]
pub struct CallLoop {
    /// One more than arguments: the last is for what comes behind them.
    slots: [*mut ffi::SV; ffi::MAX_SLOTS + 1],
}

struct Run<'c, C> {
    calls: &'c mut C,
    panicked: Option<Croak>,
}

impl CallLoop {
    /// No scalars yet.
    pub fn new() -> CallLoop {
        CallLoop {
            slots: [ptr::null_mut(); ffi::MAX_SLOTS + 1],
        }
    }

    /// Makes all the calls. One that dies becomes the warning `"{what}: {error}"` and the loop goes on with the next.
    /// After [`Flow::Exit`] the remaining calls have not been made.
    pub fn run<C: Calls>(&mut self, perl: Perl, calls: &mut C, what: &str) -> Flow {
        match self.run_raw(perl, calls, what, ptr::null_mut()) {
            Ok(status) => {
                assert!(
                    status != ffi::DIED,
                    "a call loop cannot run inside a fast handler"
                );
                Flow::from_status(status)
            }
            Err(croak) => perl.warn(format!("{what}: {}", croak.into_text(perl))),
        }
    }

    /// Makes the calls until one dies: that one was the last. Without a die [`Outcome::Returned`].
    pub fn run_until_died<C: Calls>(&mut self, perl: Perl, calls: &mut C) -> Outcome {
        let mut died = ptr::null_mut();
        match self.run_raw(perl, calls, "", &mut died) {
            Ok(ffi::EXIT) => Outcome::Exit,
            // SAFETY: the loop has left us the error, if there is one.
            Ok(_) => match unsafe { Sv::from_raw(died) } {
                Some(error) => Outcome::Died(error),
                None => Outcome::Returned,
            },
            Err(croak) => Outcome::Died(Sv::bytes(perl, croak.into_text(perl).as_bytes())),
        }
    }

    fn run_raw<C: Calls>(
        &mut self,
        perl: Perl,
        calls: &mut C,
        what: &str,
        died: *mut *mut ffi::SV,
    ) -> Result<c_int, Croak> {
        let mut run = Run {
            calls,
            panicked: None,
        };
        let status = unsafe {
            ffi::pxs_loop_run(
                perl.as_raw(),
                self.slots.as_mut_ptr(),
                next::<C>,
                (&mut run as *mut Run<'_, C>).cast::<c_void>(),
                what.as_ptr(),
                what.len(),
                died,
            )
        };
        run.panicked.map_or(Ok(status), Err)
    }
}

impl Default for CallLoop {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for CallLoop {
    fn drop(&mut self) {
        unsafe { ffi::pxs_loop_free(self.slots.as_mut_ptr()) };
    }
}

unsafe extern "C" fn next<C: Calls>(data: *mut c_void, call: *mut ffi::RawCall) -> c_int {
    let run = &mut *data.cast::<Run<'_, C>>();
    let call = &mut *call;
    call.nargs = 0;
    call.with = ffi::RawWith::NOTHING;
    let callee = panic::caught(|| {
        let mut slots = Slots {
            raw: &mut *call,
            _borrow: PhantomData,
        };
        match run.calls.next(&mut slots) {
            Some(Callee::Keep(sv)) => Some((sv.as_ptr(), 0)),
            Some(Callee::Release(sv)) => Some((sv.into_raw(), 1)),
            None => None,
        }
    });
    match callee {
        Ok(Some((callee, release))) => {
            call.callee = callee;
            call.release = release;
            1
        }
        Ok(None) => 0,
        Err(croak) => {
            run.panicked = Some(croak);
            0
        }
    }
}
