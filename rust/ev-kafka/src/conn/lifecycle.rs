//! The methods of EV::Kafka::Conn around its life: making, connecting, handlers, looking at it.

use std::rc::Rc;
use std::time::Duration;

use perl_xs::{Croak, Frame, Native, ObjectError, Sv, XsubDef};

use super::handle::{ConnHandle, HandlerKind, REQUEST_TIMEOUT};
use crate::arguments::Arguments;
use crate::ev::{check_thread, Loop};
use crate::strings::{Form, HeadersAs, Strings};

/// Seconds that connecting may take when the program does not say.
const CONNECT_TIMEOUT: f64 = 10.0;
/// Milliseconds before the first attempt to reconnect when the program does not say.
const RECONNECT_DELAY_MS: u32 = 1000;
/// A timeout of more seconds than this (some 30 years) is none.
const LONGEST_TIMEOUT: f64 = 1e9;

/// A request's header has two bytes for the length of the client id.
const MAX_CLIENT_ID: usize = i16::MAX as usize;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::_new",
        body: new,
    },
    XsubDef {
        name: "EV::Kafka::Conn::DESTROY",
        body: destroy,
    },
    XsubDef {
        name: "EV::Kafka::Conn::connect",
        body: connect,
    },
    XsubDef {
        name: "EV::Kafka::Conn::disconnect",
        body: disconnect,
    },
    XsubDef {
        name: "EV::Kafka::Conn::connected",
        body: connected,
    },
    XsubDef {
        name: "EV::Kafka::Conn::state",
        body: state,
    },
    XsubDef {
        name: "EV::Kafka::Conn::pending",
        body: pending,
    },
    XsubDef {
        name: "EV::Kafka::Conn::client_id",
        body: client_id,
    },
    XsubDef {
        name: "EV::Kafka::Conn::strings",
        body: strings,
    },
    XsubDef {
        name: "EV::Kafka::Conn::headers",
        body: headers,
    },
    XsubDef {
        name: "EV::Kafka::Conn::errors",
        body: errors,
    },
    XsubDef {
        name: "EV::Kafka::Conn::auto_reconnect",
        body: auto_reconnect,
    },
    XsubDef {
        name: "EV::Kafka::Conn::request_timeout",
        body: request_timeout,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_patience",
        body: patience,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_is_usable",
        body: is_usable,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_doubt",
        body: doubt,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_unanswered_for",
        body: unanswered_for,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_idle",
        body: idle,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_silent",
        body: silent,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_share_addresses",
        body: share_addresses,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_has_untried_addresses",
        body: has_untried_addresses,
    },
    XsubDef {
        name: "EV::Kafka::Conn::on_error",
        body: on_error,
    },
    XsubDef {
        name: "EV::Kafka::Conn::on_connect",
        body: on_connect,
    },
    XsubDef {
        name: "EV::Kafka::Conn::on_disconnect",
        body: on_disconnect,
    },
    XsubDef {
        name: "EV::Kafka::Conn::on_notice",
        body: on_notice,
    },
    XsubDef {
        name: "EV::Kafka::Conn::on_throttle",
        body: on_throttle,
    },
];

/// `_new($class, $loop)`: an EV::Loop object, or anything else for the default loop.
fn new(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_thread()?;
    let perl = frame.perl();
    let class = frame
        .value(0)?
        .ok_or("EV::Kafka::Conn: _new needs a class")?;
    let on = match frame.value(1)? {
        Some(value) => Loop::from_sv(&value),
        None => Loop::default_loop(),
    };
    let object = Sv::new_ref(perl, &Sv::undef(perl));
    object.bless(perl, &class)?;
    perl_xs::attach(perl, &object, ConnHandle::new(on))?;
    frame.ret(object);
    Ok(())
}

/// Fails what is pending with `destroyed`. Called by hand it leaves an object whose methods croak.
fn destroy(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let Some(object) = frame.arg(0) else {
        return Ok(());
    };
    match perl_xs::detach::<ConnHandle>(object) {
        Ok(handle) => handle.destroy(perl).ok(),
        Err(ObjectError::Destroyed | ObjectError::Cloned) => Ok(()),
        Err(ObjectError::NotAReference | ObjectError::NeverAttached) => Ok(()),
    }
}

/// `connect($host, $port, [$timeout])`
fn connect(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "connect");
    let host = args.bytes(1, "host")?.unwrap_or_default();
    let host = String::from_utf8_lossy(&host);
    let port = args.int(2, "port", 0_u16)?;
    let timeout = duration(args.seconds(3, "timeout", CONNECT_TIMEOUT)?);
    frame
        .object::<ConnHandle>()?
        .connect(args.perl(), &host, port, timeout)
        .ok()
}

/// Seconds; none for 0, for less, and for what is longer than any program runs.
fn duration(seconds: f64) -> Option<Duration> {
    (seconds > 0.0 && seconds <= LONGEST_TIMEOUT).then(|| Duration::from_secs_f64(seconds))
}

fn disconnect(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    frame.object_as_it_is::<ConnHandle>()?.disconnect(perl).ok()
}

fn connected(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let ready = frame.object::<ConnHandle>()?.is_ready();
    frame.ret_int(ready.into());
    Ok(())
}

fn state(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let state = frame.object::<ConnHandle>()?.state();
    frame.ret_int(state.number().into());
    Ok(())
}

fn pending(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let pending = frame.object::<ConnHandle>()?.pending();
    frame.ret_int(pending as i64);
    Ok(())
}

fn client_id(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "client_id");
    let client_id = args.string(1, "id")?;
    if client_id.len() > MAX_CLIENT_ID {
        return Err(args.error("id is too long"));
    }
    frame.object::<ConnHandle>()?.set_client_id(client_id);
    Ok(())
}

/// `strings($name)`: what keys, values and headers are; undef as at the beginning.
fn strings(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "strings");
    let name = args.bytes(1, "strings")?.unwrap_or_default();
    let strings =
        Strings::from_name(&name).ok_or_else(|| args.error("must be 'bytes', 'utf8' or undef"))?;
    let conn = frame.object::<ConnHandle>()?;
    conn.set_form(Form {
        strings,
        ..conn.form()
    });
    Ok(())
}

/// `headers($name)`: what the headers of a record that is read are; undef as at the beginning.
fn headers(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "headers");
    let name = args.bytes(1, "headers")?.unwrap_or_default();
    let headers = HeadersAs::from_name(&name)
        .ok_or_else(|| args.error("must be 'hash', 'pairs' or undef"))?;
    let conn = frame.object::<ConnHandle>()?;
    conn.set_form(Form {
        headers,
        ..conn.form()
    });
    Ok(())
}

/// `errors($name)`: what callbacks and on_error get of an error; undef as at the beginning.
fn errors(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "errors");
    let tells_objects = match args.bytes(1, "errors")?.as_deref() {
        None | Some(b"text") => false,
        Some(b"object") => true,
        Some(_) => return Err(args.error("must be 'text', 'object' or undef")),
    };
    let handle = frame.object::<ConnHandle>()?;
    handle.set_tells_objects(tells_objects);
    Ok(())
}

/// `auto_reconnect($enable, [$delay_ms])`
fn auto_reconnect(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "auto_reconnect");
    let enable = args.bool(1)?;
    let delay_ms = args.int(2, "delay_ms", RECONNECT_DELAY_MS)?;
    let delay = Duration::from_millis(delay_ms.into());
    frame
        .object::<ConnHandle>()?
        .set_auto_reconnect(enable, delay);
    Ok(())
}

/// `request_timeout($seconds)`: how long an answer may take, beyond what the request itself lets
/// the broker wait; 0 for ever, undef as at the beginning.
fn request_timeout(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "request_timeout");
    let timeout = args.seconds(1, "seconds", REQUEST_TIMEOUT.as_secs_f64())?;
    frame
        .object::<ConnHandle>()?
        .set_request_timeout(duration(timeout));
    Ok(())
}

/// `_patience($seconds)`: the next request has this time instead of the connection's request timeout; undef for none.
fn patience(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_patience");
    let seconds = args.seconds(1, "seconds", 0.0)?;
    let handle = frame.object::<ConnHandle>()?;
    handle.set_patience(duration(seconds));
    Ok(())
}

/// Whether requests can be sent and the broker has not closed the connection meanwhile.
fn is_usable(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let handle = frame.object::<ConnHandle>()?;
    frame.ret_int(handle.is_usable().into());
    Ok(())
}

/// `_doubt($is_so)`: a sign of life is waited for, or has come.
fn doubt(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let is_so = frame.bool(1)?;
    frame.object::<ConnHandle>()?.set_doubted(is_so);
    Ok(())
}

/// Seconds since a request left that nobody answers; undef if none has.
fn unanswered_for(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    match frame.object::<ConnHandle>()?.unanswered_for() {
        Some(time) => frame.ret(Sv::float(perl, time.as_secs_f64())),
        None => frame.ret_undef(),
    }
    Ok(())
}

/// Seconds for which nothing was asked and nothing has come; 0 while anything is under way.
fn idle(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let idle = frame.object::<ConnHandle>()?.idle_for();
    frame.ret(Sv::float(perl, idle.as_secs_f64()));
    Ok(())
}

/// Seconds for which the broker has said nothing though an answer is awaited.
fn silent(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let silent = frame.object::<ConnHandle>()?.silent_for();
    frame.ret(Sv::float(perl, silent.as_secs_f64()));
    Ok(())
}

/// `_share_addresses($conn)`: what the two learn of a name's addresses is known to both.
fn share_addresses(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let with = frame
        .object_at::<ConnHandle>(1)
        .map_err(ConnHandle::describe)?;
    let handle = frame.object::<ConnHandle>()?;
    if !Rc::ptr_eq(&handle, &with) {
        handle.share_addresses(&with);
    }
    Ok(())
}

/// Whether the name connected to has addresses that were not tried since one of them has failed.
fn has_untried_addresses(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let untried = frame.object::<ConnHandle>()?.has_untried_addresses();
    frame.ret_int(untried.into());
    Ok(())
}

fn on_error(frame: &mut Frame<'_>) -> Result<(), Croak> {
    set_handler(frame, HandlerKind::Error, "on_error")
}

fn on_connect(frame: &mut Frame<'_>) -> Result<(), Croak> {
    set_handler(frame, HandlerKind::Connect, "on_connect")
}

fn on_disconnect(frame: &mut Frame<'_>) -> Result<(), Croak> {
    set_handler(frame, HandlerKind::Disconnect, "on_disconnect")
}

fn on_notice(frame: &mut Frame<'_>) -> Result<(), Croak> {
    set_handler(frame, HandlerKind::Notice, "on_notice")
}

/// Called with the `throttle_time_ms` of an answer, and the name of its API.
fn on_throttle(frame: &mut Frame<'_>) -> Result<(), Croak> {
    set_handler(frame, HandlerKind::Throttle, "on_throttle")
}

fn set_handler(frame: &Frame<'_>, kind: HandlerKind, method: &'static str) -> Result<(), Croak> {
    let code = Arguments::new(frame, method).callback(1)?;
    frame.object::<ConnHandle>()?.set_handler(kind, code);
    Ok(())
}
