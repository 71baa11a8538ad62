//! Errors on their way back to Perl.

use crate::ffi;
use crate::perl::Perl;
use crate::sv::Sv;

/// Why an XSUB body ends early. The C frame outside the body croaks with it, after the body's values are dropped.
#[derive(Debug)]
pub enum Croak {
    /// A text; unless it ends in a newline Perl adds ` at FILE line N.`
    Text(Vec<u8>),
    /// A value that something died with, passed on as it is.
    Value(Sv),
    /// `exit` was called inside a callback: nothing more may be done but return.
    Exit,
}

impl Croak {
    /// An error with this text.
    pub fn new(text: impl Into<Vec<u8>>) -> Croak {
        Croak::Text(text.into())
    }

    /// The text for a message to people, whatever the kind. References are not stringified by their overloading.
    pub fn into_text(self, perl: Perl) -> String {
        match self {
            Croak::Text(text) => String::from_utf8_lossy(&text).into_owned(),
            Croak::Value(sv) => match sv.to_bytes(perl) {
                Ok(text) => String::from_utf8_lossy(&text.unwrap_or_default()).into_owned(),
                Err(_) => "(an error that cannot be read)".to_owned(),
            },
            Croak::Exit => "exit".to_owned(),
        }
    }

    pub(crate) fn into_raw(self, perl: Perl) -> *mut ffi::SV {
        match self {
            Croak::Text(text) => Sv::bytes(perl, &text).into_raw(),
            Croak::Value(sv) => sv.into_raw(),
            Croak::Exit => std::ptr::null_mut(),
        }
    }
}

impl From<&str> for Croak {
    fn from(text: &str) -> Croak {
        Croak::Text(text.as_bytes().to_vec())
    }
}

impl From<String> for Croak {
    fn from(text: String) -> Croak {
        Croak::Text(text.into_bytes())
    }
}

impl From<Sv> for Croak {
    fn from(value: Sv) -> Croak {
        Croak::Value(value)
    }
}

/// Turns a status of the C half and its error into a result.
///
/// # Safety
/// `err` is null or carries a count that passes to the result.
pub(crate) unsafe fn check(status: i32, err: *mut ffi::SV) -> Result<(), Croak> {
    match status {
        ffi::OK => Ok(()),
        ffi::EXIT => Err(Croak::Exit),
        _ => Err(match Sv::from_raw(err) {
            Some(sv) => Croak::Value(sv),
            None => Croak::from("unknown error"),
        }),
    }
}
