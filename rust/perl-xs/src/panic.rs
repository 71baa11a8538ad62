//! Panics end at the boundary to C.

use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::{Croak, Perl};

thread_local! {
    /// How many boundaries are open on this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What the last panic below an open boundary said.
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the hook that keeps caught panics from printing. Panics elsewhere are reported as before.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                return previous(info);
            }
            let text = describe(info);
            let _ = MESSAGE.try_with(|message| *message.borrow_mut() = Some(text));
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned());
    match info.location() {
        Some(location) => format!("{text} ({}:{})", location.file(), location.line()),
        None => text,
    }
}

/// Runs the closure; a panic becomes the error `internal error: …`.
pub(crate) fn caught<R>(body: impl FnOnce() -> R) -> Result<R, Croak> {
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(body));
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    result.map_err(|_payload| {
        let message = MESSAGE.with(|message| message.borrow_mut().take());
        Croak::from(format!(
            "internal error: {}",
            message.as_deref().unwrap_or("panic")
        ))
    })
}

/// The boundary for C callbacks other than XSUBs, such as an event loop's watchers: runs the closure, a panic becomes the
/// warning `"{what}: internal error: …"`. The C frame that called must end with `perl_xs_leave` (`perl_xs.h`), which
/// carries out an `exit` that Perl code asked for meanwhile.
///
/// # Safety
/// As for [`Perl::current`].
pub unsafe fn callback(what: &str, body: impl FnOnce(Perl)) {
    let perl = Perl::current();
    if let Err(croak) = caught(|| body(perl)) {
        let _ = perl.warn(format!("{what}: {}", croak.into_text(perl)));
    }
}
