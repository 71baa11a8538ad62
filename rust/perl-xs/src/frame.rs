//! XSUBs: registering them, and what a body sees of its call.

use std::ffi::{c_int, c_void, CString};
use std::rc::Rc;

use crate::croak::Croak;
use crate::object::{self, Native, ObjectError};
use crate::{ffi, panic, Perl, Sv};

/// An XSUB: its full name and its body.
pub struct XsubDef {
    /// Such as `EV::Kafka::Conn::state`.
    pub name: &'static str,
    /// Called with the arguments; an error croaks once the body's values are dropped.
    pub body: fn(&mut Frame<'_>) -> Result<(), Croak>,
}

/// Makes the XSUBs known to Perl.
pub fn register(perl: Perl, xsubs: &'static [XsubDef]) {
    for def in xsubs {
        let name = CString::new(def.name).expect("names of XSUBs are literals without NUL");
        unsafe {
            ffi::pxs_new_xsub(
                perl.as_raw(),
                name.as_ptr(),
                (def as *const XsubDef).cast::<c_void>(),
            )
        };
    }
}

/// Gives the class a `CLONE_SKIP`: its objects become undef in new threads.
pub fn register_clone_skip(perl: Perl, class: &str) {
    let name = CString::new(format!("{class}::CLONE_SKIP")).expect("class names have no NUL");
    unsafe { ffi::pxs_new_clone_skip(perl.as_raw(), name.as_ptr()) };
}

/// What the trampoline calls.
#[no_mangle]
unsafe extern "C" fn pxs_run_body(
    perl: ffi::Interp,
    def: *const c_void,
    raw: *mut ffi::RawFrame,
) -> c_int {
    let perl = Perl::from_raw(perl);
    let def = &*def.cast::<XsubDef>();
    let raw = &mut *raw;
    let result = panic::caught(|| {
        (def.body)(&mut Frame {
            perl,
            raw: &mut *raw,
        })
    })
    .unwrap_or_else(Err);
    match result {
        Ok(()) => ffi::OK,
        Err(Croak::Exit) => ffi::EXIT,
        Err(croak) => {
            raw.error = croak.into_raw(perl);
            ffi::DIED
        }
    }
}

/// The call of an XSUB: arguments and results.
///
/// Arguments are held for the time of the call, whatever Perl code does meanwhile. **Read them all before looking the
/// object up** ([`Frame::object`]): a tied or overloaded argument runs Perl code that may destroy the object.
pub struct Frame<'f> {
    perl: Perl,
    raw: &'f mut ffi::RawFrame,
}

impl Frame<'_> {
    /// The interpreter.
    pub fn perl(&self) -> Perl {
        self.perl
    }

    pub(crate) fn args_ptr(&self) -> *const *mut ffi::SV {
        self.raw.args
    }

    /// How many arguments came, the object included.
    pub fn len(&self) -> usize {
        self.raw.items
    }

    /// Whether no argument came.
    pub fn is_empty(&self) -> bool {
        self.raw.items == 0
    }

    /// Whether the caller wants a list.
    pub fn wants_list(&self) -> bool {
        self.raw.want_list != 0
    }

    /// The argument itself.
    pub fn arg(&self, index: usize) -> Option<&Sv> {
        // An Sv is a transparent pointer, and the trampoline holds a count of each for as long as this frame lives.
        (index < self.raw.items).then(|| unsafe { &*self.raw.args.add(index).cast::<Sv>() })
    }

    /// The argument without magic (`None` when it did not come). May run Perl code.
    pub fn value(&self, index: usize) -> Result<Option<Sv>, Croak> {
        self.arg(index).map(|sv| sv.resolve(self.perl)).transpose()
    }

    /// The argument's bytes; `None` when it is undef or did not come. May run Perl code.
    pub fn bytes(&self, index: usize) -> Result<Option<Vec<u8>>, Croak> {
        self.arg(index)
            .map_or(Ok(None), |sv| sv.to_bytes(self.perl))
    }

    /// The integer (see [`Sv::to_i64`]); `None` when it is undef or did not come. May run Perl code.
    pub fn int(&self, index: usize) -> Result<Option<i64>, Croak> {
        self.arg(index).map_or(Ok(None), |sv| sv.to_i64(self.perl))
    }

    /// The number; `None` when it is undef or did not come. May run Perl code.
    pub fn number(&self, index: usize) -> Result<Option<crate::Number>, Croak> {
        self.arg(index)
            .map_or(Ok(None), |sv| sv.to_number(self.perl))
    }

    /// The float; `None` when it is undef or did not come. May run Perl code.
    pub fn float(&self, index: usize) -> Result<Option<f64>, Croak> {
        self.arg(index).map_or(Ok(None), |sv| sv.to_f64(self.perl))
    }

    /// Its truth; false when it did not come. May run Perl code.
    pub fn bool(&self, index: usize) -> Result<bool, Croak> {
        self.arg(index)
            .map_or(Ok(false), |sv| sv.to_bool(self.perl))
    }

    /// The code value of a code reference; `None` for anything else. May run Perl code.
    pub fn code(&self, index: usize) -> Result<Option<Sv>, Croak> {
        Ok(self.value(index)?.and_then(|sv| sv.code()))
    }

    /// Whether the argument is a reference (flags only).
    pub fn is_ref(&self, index: usize) -> bool {
        self.arg(index).is_some_and(Sv::is_ref)
    }

    /// Whether the argument is a code reference (flags only).
    pub fn is_code(&self, index: usize) -> bool {
        self.arg(index).is_some_and(Sv::is_code)
    }

    /// The native object of the first argument; croaks with [`Native::describe`] or [`Native::refusal`]. Look it up after all
    /// arguments are read.
    pub fn object<T: Native>(&self) -> Result<Rc<T>, Croak> {
        let object = self.object_as_it_is::<T>()?;
        match object.refusal() {
            None => Ok(object),
            Some(text) => Err(text.into()),
        }
    }

    /// The same for methods that are allowed whatever [`Native::refusal`] says.
    pub fn object_as_it_is<T: Native>(&self) -> Result<Rc<T>, Croak> {
        self.object_at::<T>(0)
            .map_err(|error| Croak::from(T::describe(error)))
    }

    /// The native object of an argument.
    pub fn object_at<T: Native>(&self, index: usize) -> Result<Rc<T>, ObjectError> {
        self.arg(index)
            .map_or(Err(ObjectError::NotAReference), object::get::<T>)
    }

    /// Adds a result. It becomes a temporary of the caller.
    pub fn ret(&mut self, value: Sv) {
        unsafe { ffi::pxs_frame_push(self.raw, value.into_raw()) };
    }

    /// Adds an integer to the results.
    pub fn ret_int(&mut self, value: i64) {
        self.ret(Sv::int(self.perl, value));
    }

    /// Adds a string to the results.
    pub fn ret_bytes(&mut self, value: &[u8]) {
        self.ret(Sv::bytes(self.perl, value));
    }

    /// Adds undef to the results.
    pub fn ret_undef(&mut self) {
        self.ret(Sv::undef(self.perl));
    }

    /// Adds all of these to the results.
    pub fn ret_list(&mut self, values: impl IntoIterator<Item = Sv>) {
        for value in values {
            self.ret(value);
        }
    }
}
