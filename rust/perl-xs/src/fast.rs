//! The XSUB of a hot path: an object, three byte strings and perhaps a callback, read in C, handed to Rust as slices.

use std::ffi::{c_char, c_void, CString};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Mutex;

use crate::object::{self, Native};
use crate::{ffi, panic, Perl, Sv};

/// What the handler is given. The slices are Perl's own buffers.
#[repr(transparent)]
pub struct FastArgs<'a> {
    raw: ffi::RawFastArgs,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> FastArgs<'a> {
    /// The first string; `None` for undef.
    #[inline]
    pub fn a(&self) -> Option<&'a [u8]> {
        unsafe { slice(self.raw.a) }
    }

    /// The second string; `None` for undef.
    #[inline]
    pub fn b(&self) -> Option<&'a [u8]> {
        unsafe { slice(self.raw.b) }
    }

    /// The third string; `None` for undef.
    #[inline]
    pub fn c(&self) -> Option<&'a [u8]> {
        unsafe { slice(self.raw.c) }
    }

    /// Whether the bytes of the second string are UTF-8 that stands for characters.
    #[inline]
    pub fn b_is_utf8(&self) -> bool {
        self.is_utf8(1)
    }

    /// The same of the third string.
    #[inline]
    pub fn c_is_utf8(&self) -> bool {
        self.is_utf8(2)
    }

    fn is_utf8(&self, index: usize) -> bool {
        // The three scalars lie beside each other for as long as the call lasts.
        unsafe { ffi::pxs_is_utf8(*self.raw.scalars.add(index)) != 0 }
    }

    /// Whether a callback came.
    #[inline]
    pub fn has_callback(&self) -> bool {
        !self.raw.callback.is_null()
    }

    /// The callback's code value, counted.
    #[inline]
    pub fn callback(&self) -> Option<Sv> {
        if self.raw.callback.is_null() {
            return None;
        }
        unsafe {
            ffi::pxs_inc(self.raw.callback);
            Sv::from_raw(self.raw.callback)
        }
    }
}

#[inline]
unsafe fn slice<'a>(raw: ffi::RawBytes) -> Option<&'a [u8]> {
    (!raw.ptr.is_null()).then(|| std::slice::from_raw_parts(raw.ptr, raw.len))
}

/// What is to happen after the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastOutcome(u32);

const FALLBACK: u32 = 1 << 31;
const PANICKED: u32 = 1 << 30;

impl FastOutcome {
    /// Nothing: the XSUB returns an empty list.
    pub const DONE: FastOutcome = FastOutcome(0);
    /// The handler did nothing: the fallback method gets the call, with the same arguments, in the same context.
    pub const FALLBACK: FastOutcome = FastOutcome(FALLBACK);

    /// Call the method with this index in [`FastXsub::methods`] (below 16) on the object.
    pub const fn call(index: u32) -> FastOutcome {
        FastOutcome(1 << (index & 15))
    }

    /// Both: methods are called in the order of their indices.
    pub const fn and(self, other: FastOutcome) -> FastOutcome {
        FastOutcome(self.0 | other.0)
    }
}

/// A fast XSUB. It is called as `$object->name($a, $b, $c)` or with a code reference (or undef) behind; any other number of
/// arguments, other kinds of last argument, references in place of strings, and objects without the state go to the fallback
/// method.
pub struct FastXsub<T: Native> {
    /// Such as `EV::Kafka::Client::produce`.
    pub name: &'static str,
    /// Must not run Perl code: protected calls die at once here, and values whose last reference is dropped are freed only
    /// after the call.
    pub handler: fn(&T, &FastArgs<'_>) -> FastOutcome,
    /// The method for all other calls.
    pub fallback: &'static str,
    /// What [`FastOutcome::call`] means. A die in one of them is a die of the XSUB.
    pub methods: &'static [&'static str],
}

/// Makes the XSUB known to Perl. Tied or overloaded arguments are copied to plain strings before the object is looked up.
pub fn register_fast3<T: Native>(perl: Perl, xsub: FastXsub<T>) {
    let text = |text: &str| CString::new(text).expect("names of XSUBs are literals without NUL");
    let methods: Vec<*const c_char> = xsub
        .methods
        .iter()
        .map(|name| text(name).into_raw().cast_const())
        .collect();
    let def = Definition(Box::into_raw(Box::new(ffi::RawFast {
        type_number: object::type_number::<T>(),
        nmethods: methods.len() as u32,
        entry: entry::<T>,
        handler: xsub.handler as *const c_void,
        fallback: text(xsub.fallback).into_raw().cast_const(),
        methods: methods.leak().as_ptr(),
    })));
    unsafe { ffi::pxs_new_fast(perl.as_raw(), text(xsub.name).as_ptr(), def.0) };
    let mut definitions = DEFINITIONS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    definitions.push(def);
}

/// What describes an XSUB is never freed: threads' copies of it share the description.
static DEFINITIONS: Mutex<Vec<Definition>> = Mutex::new(Vec::new());

struct Definition(*const ffi::RawFast);

// SAFETY: nobody changes it, and what it points to is constant.
unsafe impl Send for Definition {}

unsafe extern "C" fn entry<T: Native>(
    def: *const ffi::RawFast,
    value: *const c_void,
    args: *const ffi::RawFastArgs,
    error: *mut *mut ffi::SV,
) -> u32 {
    let handler: fn(&T, &FastArgs<'_>) -> FastOutcome = std::mem::transmute((*def).handler);
    let value = value.cast::<T>();
    Rc::increment_strong_count(value);
    let value = Rc::from_raw(value);
    match panic::caught(|| handler(&value, &*args.cast::<FastArgs<'_>>())) {
        Ok(outcome) => outcome.0,
        Err(croak) => {
            *error = croak.into_raw(Perl::current());
            PANICKED
        }
    }
}
