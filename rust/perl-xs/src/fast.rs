//! The XSUB of a hot path: an object, three byte strings, perhaps options and a callback, read in C, handed to Rust as slices.

use std::ffi::{c_char, c_void, CString};
use std::marker::PhantomData;
use std::ptr;
use std::rc::Rc;
use std::sync::Mutex;

use crate::object::{self, Native};
use crate::{ffi, panic, Perl, SharedString, Sv, With};

/// What the handler is given. The slices are Perl's own buffers.
#[repr(transparent)]
pub struct FastArgs<'a> {
    raw: ffi::RawFastArgs,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> FastArgs<'a> {
    /// The interpreter.
    pub fn perl(&self) -> Perl {
        // SAFETY: it has just called the XSUB.
        unsafe { Perl::current() }
    }

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

    /// The third string's buffer, to be kept beyond the call; `None` when only a copy of it can be.
    #[cold]
    pub fn share_c(&self) -> Option<SharedString> {
        unsafe { SharedString::of(*self.raw.scalars.add(2)) }
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

    /// What the callback is to be called with behind its own arguments, for [`Slots::with`](crate::Slots::with). Can be
    /// taken once.
    #[inline]
    pub fn with(&self) -> Option<With> {
        let raw = self.raw.with.replace(ffi::RawWith::NOTHING);
        match raw.kind {
            ffi::WITH_INT => Some(With::Int(raw.int)),
            ffi::WITH_REF => unsafe { Sv::from_raw(raw.sv) }.map(With::Ref),
            ffi::WITH_VALUE => unsafe { Sv::from_raw(raw.sv) }.map(With::Value),
            _ => None,
        }
    }

    /// What was given by name, if anything was.
    #[inline]
    pub fn options(&self) -> Option<FastOptions<'a>> {
        let raw = unsafe { self.raw.options.as_ref() }?;
        Some(FastOptions {
            raw,
            _borrow: PhantomData,
        })
    }

    /// What the code has answered that was asked: the handler is called for the second time.
    #[inline]
    pub fn answer(&self) -> Option<i64> {
        (self.raw.answer >= 0).then_some(self.raw.answer)
    }

    /// With this outcome the code is called with the first two strings and the number, and then the handler again with what
    /// it answers, if that is an integer from 0 on and below the number. Otherwise, and if the handler falls back then,
    /// [`FastXsub::answered`] gets the call. If the code dies, so does the call.
    pub fn ask(&self, code: Sv, answers: i64) -> FastOutcome {
        self.raw.asked.set(code.into_raw());
        self.raw.answers.set(answers);
        FastOutcome(ASK)
    }
}

/// What was given by name.
#[derive(Clone, Copy)]
pub struct FastOptions<'a> {
    raw: &'a ffi::RawFastOptions,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> FastOptions<'a> {
    /// The integer with this index in [`FastXsub::integers`], which is not negative.
    #[inline]
    pub fn integer(&self, index: usize) -> Option<i64> {
        let is_given = self.raw.given & 1 << index != 0;
        is_given.then(|| self.raw.integers[index])
    }

    /// The pairs, in their order.
    #[inline]
    pub fn pairs(&self) -> &'a [FastPair<'a>] {
        // The wrapper is transparent, and the slice is C's for as long as the call lasts.
        unsafe {
            std::slice::from_raw_parts(self.raw.pairs.cast::<FastPair<'a>>(), self.raw.npairs)
        }
    }
}

/// A name and its value.
#[repr(transparent)]
pub struct FastPair<'a> {
    raw: ffi::RawPair,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> FastPair<'a> {
    /// The name's bytes.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        unsafe { slice(self.raw.name) }.unwrap_or_default()
    }

    /// The value's bytes; `None` for undef.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        unsafe { slice(self.raw.value) }
    }

    /// Whether the bytes of the name are UTF-8 that stands for characters.
    pub fn name_is_utf8(&self) -> bool {
        self.raw.utf8 & ffi::PAIR_NAME_UTF8 != 0
    }

    /// The same of the value.
    pub fn value_is_utf8(&self) -> bool {
        self.raw.utf8 & ffi::PAIR_VALUE_UTF8 != 0
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
const ASK: u32 = 1 << 29;

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

/// A fast XSUB. It is called as `$object->name($a, $b, $c)`, with a hash of options, a code reference or both behind, in either
/// order and with undef in the place of either; or with what the code is to be called with behind both, in this order. Other
/// arguments, options with other names or of other kinds, references in place of strings, and objects without the state go to
/// the fallback method.
pub struct FastXsub<T: Native> {
    /// Such as `EV::Kafka::Client::produce`.
    pub name: &'static str,
    /// Must not run Perl code: protected calls die at once here, and values whose last reference is dropped are freed only
    /// after the call.
    pub handler: fn(&T, &FastArgs<'_>) -> FastOutcome,
    /// The method for all other calls.
    pub fallback: &'static str,
    /// The method for calls about which somebody was asked: it gets the answer in front of their arguments. See
    /// [`FastArgs::ask`].
    pub answered: &'static str,
    /// Options that are natural numbers, at most [`FastXsub::MAX_INTEGERS`].
    pub integers: &'static [&'static str],
    /// The option that is a hash, or an array of pairs; '' for none.
    pub pairs: &'static str,
    /// What [`FastOutcome::call`] means. A die in one of them is a die of the XSUB.
    pub methods: &'static [&'static str],
}

impl<T: Native> FastXsub<T> {
    /// So many options are numbers at most.
    pub const MAX_INTEGERS: usize = ffi::FAST_INTEGERS;
}

fn name(text: Option<&'static str>) -> ffi::RawBytes {
    // No key is as long as that.
    text.map_or(
        ffi::RawBytes {
            ptr: ptr::null(),
            len: u32::MAX as usize,
        },
        |text| ffi::RawBytes {
            ptr: text.as_ptr(),
            len: text.len(),
        },
    )
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
        answered: text(xsub.answered).into_raw().cast_const(),
        methods: methods.leak().as_ptr(),
        integers: std::array::from_fn(|index| name(xsub.integers.get(index).copied())),
        pairs: name(Some(xsub.pairs).filter(|pairs| !pairs.is_empty())),
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
