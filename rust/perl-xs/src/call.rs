//! Calls into Perl. Each runs under its own jump environment, its own Perl stack and an eval: a `die`, an `exit` or a
//! `last` inside never passes a Rust frame, and the caller's `$@` stays what it was.

use std::ffi::{c_void, CString};
use std::ptr;

use crate::croak::check;
use crate::{ffi, Croak, Perl, Sv};

/// An argument of a call. Each call gets a fresh scalar, except for [`Arg::Sv`], which is passed as it is (aliased).
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    /// undef
    Undef,
    /// An integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A float.
    Float(f64),
    /// A string of bytes.
    Bytes(&'a [u8]),
    /// A value as it is.
    Sv(&'a Sv),
}

impl Arg<'_> {
    fn raw(&self) -> ffi::RawArg {
        let (kind, int, ptr, len) = match *self {
            Arg::Undef => (ffi::ARG_UNDEF, 0, ptr::null(), 0),
            Arg::Int(int) => (ffi::ARG_INT, int, ptr::null(), 0),
            Arg::UInt(int) => (ffi::ARG_UINT, int as i64, ptr::null(), 0),
            Arg::Float(float) => (ffi::ARG_FLOAT, float.to_bits() as i64, ptr::null(), 0),
            Arg::Bytes(bytes) => (
                ffi::ARG_BYTES,
                0,
                bytes.as_ptr().cast::<c_void>(),
                bytes.len(),
            ),
            Arg::Sv(sv) => (ffi::ARG_SV, 0, sv.as_ptr().cast_const().cast::<c_void>(), 0),
        };
        ffi::RawArg {
            kind,
            int,
            ptr,
            len,
        }
    }
}

/// How a call ended.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// It returned.
    Returned,
    /// It died with this value.
    Died(Sv),
    /// It called `exit`: return to the outermost frame without another call.
    Exit,
}

/// Whether to go on after a call whose errors have been dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Go on.
    Continue,
    /// `exit` was called: return to the outermost frame without another call.
    Exit,
}

impl Flow {
    pub(crate) fn from_status(status: i32) -> Flow {
        if status == ffi::EXIT {
            Flow::Exit
        } else {
            Flow::Continue
        }
    }

    /// For `?`: [`Croak::Exit`] when it is over.
    pub fn ok(self) -> Result<(), Croak> {
        match self {
            Flow::Continue => Ok(()),
            Flow::Exit => Err(Croak::Exit),
        }
    }
}

impl Perl {
    /// Warns; without a newline at the end Perl adds where it was. A `__WARN__` handler may run: it may do anything, and if
    /// it dies only the warning is lost.
    pub fn warn(self, text: impl AsRef<[u8]>) -> Flow {
        let text = Sv::bytes(self, text.as_ref());
        Flow::from_status(unsafe {
            ffi::pxs_warn(self.as_raw(), std::ptr::null(), 0, text.as_ptr())
        })
    }

    /// Warns `"{what}: {error}"`, as for a callback that died.
    pub fn warn_died(self, what: &str, error: &Sv) -> Flow {
        Flow::from_status(unsafe {
            ffi::pxs_warn(self.as_raw(), what.as_ptr(), what.len(), error.as_ptr())
        })
    }
}

impl Outcome {
    fn from_result(result: Result<(), Croak>, perl: Perl) -> Outcome {
        match result {
            Ok(()) => Outcome::Returned,
            Err(Croak::Value(sv)) => Outcome::Died(sv),
            Err(Croak::Text(text)) => Outcome::Died(Sv::bytes(perl, &text)),
            Err(Croak::Exit) => Outcome::Exit,
        }
    }

    /// For `?`: a die or an exit ends the body that made the call too.
    pub fn ok(self) -> Result<(), Croak> {
        match self {
            Outcome::Returned => Ok(()),
            Outcome::Died(sv) => Err(Croak::Value(sv)),
            Outcome::Exit => Err(Croak::Exit),
        }
    }

    /// A die becomes the warning `"{what}: {error}"`.
    pub fn or_warn(self, perl: Perl, what: &str) -> Flow {
        match self {
            Outcome::Returned => Flow::Continue,
            Outcome::Died(error) => perl.warn_died(what, &error),
            Outcome::Exit => Flow::Exit,
        }
    }
}

/// So many arguments of a call take no memory from the allocator.
const FEW_ARGS: usize = 4;

fn run(
    perl: Perl,
    callee: &Sv,
    method: Option<&str>,
    args: &[Arg],
    scalar: bool,
) -> Result<Option<Sv>, Croak> {
    let method = method
        .map(|name| CString::new(name).map_err(|_| Croak::from("method name with a NUL")))
        .transpose()?;
    let mut few = [Arg::Undef.raw(); FEW_ARGS];
    let many: Vec<ffi::RawArg>;
    let raw = match few.get_mut(..args.len()) {
        Some(few) => {
            few.iter_mut()
                .zip(args)
                .for_each(|(raw, arg)| *raw = arg.raw());
            &*few
        }
        None => {
            many = args.iter().map(Arg::raw).collect();
            &many
        }
    };
    let (mut result, mut err) = (ptr::null_mut(), ptr::null_mut());
    unsafe {
        let status = ffi::pxs_call(
            perl.as_raw(),
            callee.as_ptr(),
            method.as_ref().map_or(ptr::null(), |name| name.as_ptr()),
            raw.as_ptr(),
            raw.len(),
            if scalar { &mut result } else { ptr::null_mut() },
            &mut err,
        );
        check(status, err)?;
        Ok(Sv::from_raw(result))
    }
}

/// Calls a code reference (or code value) in void context. See [`Outcome::or_warn`] for callbacks whose errors are warnings.
pub fn call(perl: Perl, code: &Sv, args: &[Arg]) -> Outcome {
    Outcome::from_result(run(perl, code, None, args, false).map(drop), perl)
}

/// Calls a code reference in scalar context.
pub fn call_scalar(perl: Perl, code: &Sv, args: &[Arg]) -> Result<Sv, Croak> {
    Ok(run(perl, code, None, args, true)?.unwrap_or_else(|| Sv::undef(perl)))
}

/// Calls a method of an object (a reference to it) or class (its name) in void context; `args` come after the object.
pub fn call_method(perl: Perl, object: &Sv, name: &str, args: &[Arg]) -> Outcome {
    Outcome::from_result(run(perl, object, Some(name), args, false).map(drop), perl)
}

/// As [`call_method`], in scalar context.
pub fn call_method_scalar(perl: Perl, object: &Sv, name: &str, args: &[Arg]) -> Result<Sv, Croak> {
    Ok(run(perl, object, Some(name), args, true)?.unwrap_or_else(|| Sv::undef(perl)))
}
