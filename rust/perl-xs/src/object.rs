//! Native state attached to Perl values by ext magic: survives whatever users do to the value itself (keys, re-blessing),
//! and is not shared by shallow copies or threads.

use std::any::TypeId;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Mutex;

use crate::ffi::{self, SV};
use crate::{panic, Croak, Perl, Sv};

/// State that can be attached to a Perl value.
pub trait Native: 'static {
    /// What messages call it, usually its class.
    const NAME: &'static str;

    /// The value it was attached to is gone (or [`detach`] was called by hand: then this is not called). The state itself
    /// lives until its last `Rc` is dropped. Handles no longer find the value.
    fn on_free(&self, perl: Perl, how: Freed) {
        let _ = (perl, how);
    }

    /// Why a method that is called now must not use the state, although it is there: the text to croak with.
    fn refusal(&self) -> Option<String> {
        None
    }

    /// The text to croak with when a method finds no state.
    fn describe(error: ObjectError) -> String {
        let why = match error {
            ObjectError::NotAReference => "not a reference",
            ObjectError::NeverAttached => "not an object made by its constructor",
            ObjectError::Destroyed => "method called on a destroyed object",
            ObjectError::Cloned => "object belongs to another thread",
        };
        format!("{}: {why}", Self::NAME)
    }
}

/// Under which circumstances the value went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// In the normal course: Perl code may be called (protected).
    Normally,
    /// In global destruction: values may be dropped, nothing may be called.
    GlobalDestruction,
    /// In a forked child of the process that attached it: unless the child has made the state its own, file descriptors may
    /// be closed and memory freed, but nothing may be called or sent.
    Forked,
}

/// Why there is no state of the wanted type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// The value is no reference.
    NotAReference,
    /// The referent never had such state: another object, a shallow copy, something blessed by hand.
    NeverAttached,
    /// It was detached.
    Destroyed,
    /// The value is a thread's copy of another thread's object.
    Cloned,
}

#[repr(C)]
struct Holder<T> {
    raw: ffi::RawHolder,
    sv: Rc<Cell<*mut SV>>,
    value: Rc<T>,
}

/// A small number for each type of state, for C to compare.
pub(crate) fn type_number<T: 'static>() -> u32 {
    static TYPES: Mutex<Vec<TypeId>> = Mutex::new(Vec::new());
    let mut types = TYPES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let id = TypeId::of::<T>();
    let index = types
        .iter()
        .position(|known| *known == id)
        .unwrap_or_else(|| {
            types.push(id);
            types.len() - 1
        });
    index as u32
}

/// Knows the Perl value of an object without keeping it alive.
#[derive(Clone, Debug)]
pub struct ObjectHandle {
    sv: Rc<Cell<*mut SV>>,
}

impl ObjectHandle {
    /// A handle of nothing.
    pub fn dangling() -> ObjectHandle {
        ObjectHandle {
            sv: Rc::new(Cell::new(std::ptr::null_mut())),
        }
    }

    /// A new reference to the object, if it still lives.
    pub fn upgrade(&self, perl: Perl) -> Option<Sv> {
        let sv = self.sv.get();
        if sv.is_null() {
            return None;
        }
        unsafe { Sv::from_raw(ffi::pxs_upgrade(perl.as_raw(), sv)) }
    }

    /// Whether the object still lives.
    pub fn is_alive(&self) -> bool {
        !self.sv.get().is_null()
    }
}

/// Attaches state to what the reference points to. One of each type at most: a second one is refused.
pub fn attach<T: Native>(perl: Perl, reference: &Sv, value: Rc<T>) -> Result<ObjectHandle, Croak> {
    let referent = reference
        .referent()
        .ok_or_else(|| Croak::from(T::describe(ObjectError::NotAReference)))?;
    if !matches!(
        get::<T>(reference),
        Err(ObjectError::NeverAttached | ObjectError::Cloned)
    ) {
        return Err(Croak::from(format!(
            "{}: the value has its state already",
            T::NAME
        )));
    }
    let sv = Rc::new(Cell::new(referent.as_ptr()));
    let holder = Box::new(Holder {
        raw: ffi::RawHolder {
            type_number: type_number::<T>(),
            pid: std::process::id() as i32,
            value: Rc::as_ptr(&value).cast::<c_void>(),
            free: free::<T>,
        },
        sv: sv.clone(),
        value,
    });
    let raw = Box::into_raw(holder);
    if unsafe {
        ffi::pxs_attach(
            perl.as_raw(),
            referent.as_ptr(),
            raw.cast::<ffi::RawHolder>(),
        )
    } != ffi::OK
    {
        drop(unsafe { Box::from_raw(raw) });
        return Err(Croak::from(format!(
            "{}: one of perl's own constants cannot be an object",
            T::NAME
        )));
    }
    Ok(ObjectHandle { sv })
}

fn find<T: 'static>(reference: &Sv) -> Result<*mut Holder<T>, ObjectError> {
    let mut holder = std::ptr::null_mut();
    match unsafe { ffi::pxs_find(reference.as_ptr(), type_number::<T>(), &mut holder) } {
        ffi::FIND_OK => Ok(holder.cast::<Holder<T>>()),
        ffi::FIND_NOT_REF => Err(ObjectError::NotAReference),
        ffi::FIND_DESTROYED => Err(ObjectError::Destroyed),
        ffi::FIND_CLONED => Err(ObjectError::Cloned),
        _ => Err(ObjectError::NeverAttached),
    }
}

/// The state of what the reference points to.
pub fn get<T: Native>(reference: &Sv) -> Result<Rc<T>, ObjectError> {
    find::<T>(reference).map(|holder| unsafe { (*holder).value.clone() })
}

/// The handle of what the reference points to.
pub fn handle<T: Native>(reference: &Sv) -> Result<ObjectHandle, ObjectError> {
    find::<T>(reference).map(|holder| ObjectHandle {
        sv: unsafe { (*holder).sv.clone() },
    })
}

/// Takes the state off (as a `DESTROY` does): from now on [`get`] says [`ObjectError::Destroyed`]. [`Native::on_free`] is
/// not called.
pub fn detach<T: Native>(reference: &Sv) -> Result<Rc<T>, ObjectError> {
    find::<T>(reference)?;
    let referent = reference.referent().ok_or(ObjectError::NotAReference)?;
    let holder = unsafe {
        Box::from_raw(ffi::pxs_detach(referent.as_ptr(), type_number::<T>()).cast::<Holder<T>>())
    };
    holder.sv.set(std::ptr::null_mut());
    Ok(holder.value.clone())
}

/// Called by the magic's free hook, which has already forgotten the holder.
unsafe extern "C" fn free<T: Native>(perl: ffi::Interp, holder: *mut ffi::RawHolder, dirty: c_int) {
    let perl = Perl::from_raw(perl);
    let holder = Box::from_raw(holder.cast::<Holder<T>>());
    holder.sv.set(std::ptr::null_mut());
    let how = if dirty != 0 {
        Freed::GlobalDestruction
    } else if holder.raw.pid != std::process::id() as i32 {
        Freed::Forked
    } else {
        Freed::Normally
    };
    let result = panic::caught(move || {
        holder.value.on_free(perl, how);
        drop(holder);
    });
    if let (Err(croak), Freed::Normally) = (result, how) {
        let _ = perl.warn(format!("{}: {}", T::NAME, croak.into_text(perl)));
    }
}
