//! The methods of EV::Kafka::Conn that encrypt and authenticate.

use std::cell::RefCell;
use std::rc::Rc;

use kafka_conn::{Extensions, SaslSettings, Secret};
use perl_xs::{Croak, Frame, Native, ObjectError, Sv, XsubDef};

use super::handle::{ConnHandle, Sasl, TokenSource};
use super::tls_source::{Place, TlsSource, TlsWanted};
use crate::arguments::{is_plain_reference, Arguments};

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::tls",
        body: tls,
    },
    XsubDef {
        name: "EV::Kafka::Conn::sasl",
        body: sasl,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_secure_like",
        body: secure_like,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_provide_token",
        body: provide_token,
    },
];

/// What `tls` takes after `$enable`, in order and by name.
const TLS_ARGUMENTS: [&str; 6] = [
    "ca_file",
    "skip_verify",
    "cert_file",
    "key_file",
    "key_password",
    "server_name",
];

/// `tls($enable, [$ca_file, $skip_verify, $cert_file, $key_file, \%more])`: for connections made
/// from now on. The files are read here, and again when they have changed.
fn tls(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "EV::Kafka::Conn: tls");
    let enable = args.bool(1)?;
    let given = tls_arguments(frame, &args)?;
    let [ca, skip_verify, certificate, key, password, server_name] = &given;
    let text = |value: &Option<Sv>, name: &'static str| args.text(value.as_ref(), name);
    let place = |value, name, what| -> Result<Option<Place>, Croak> {
        Ok(text(value, name)?.and_then(|text| Place::new(what, text)))
    };
    let wanted = TlsWanted {
        ca: place(ca, "ca_file", "CA file")?,
        skip_verify: match skip_verify {
            Some(value) => value.to_bool(args.perl())?,
            None => false,
        },
        certificate: place(certificate, "cert_file", "certificate file")?,
        key: place(key, "key_file", "key file")?,
        key_password: text(password, "key_password")?.map(Secret::from),
        server_name: text(server_name, "server_name")?
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(&name).into_owned()),
    };
    let handle = frame.object::<ConnHandle>()?;
    let source = match enable {
        true => Some(TlsSource::new(wanted).map_err(|reason| args.error(reason))?),
        false => None,
    };
    handle.set_tls(source.map(RefCell::new).map(Rc::new));
    Ok(())
}

/// How many of [`TLS_ARGUMENTS`] may be given in order.
const IN_ORDER: usize = 4;

/// The values of [`TLS_ARGUMENTS`]. A hash that is the last argument names its own.
fn tls_arguments(
    frame: &Frame<'_>,
    args: &Arguments<'_, '_>,
) -> Result<[Option<Sv>; TLS_ARGUMENTS.len()], Croak> {
    let mut given = [const { None }; TLS_ARGUMENTS.len()];
    for (place, index) in (2..frame.len().min(2 + IN_ORDER + 1)).enumerate() {
        let Some(value) = frame.value(index)? else {
            continue;
        };
        let is_last = index + 1 == frame.len();
        if is_last && value.is_hash_ref() && !value.is_overloaded() && !value.is_object() {
            name_tls_arguments(args, index, &mut given)?;
        } else if place < IN_ORDER {
            given[place] = Some(value);
        } else if value.is_defined() {
            return Err(args.error("options must be a hashref"));
        }
    }
    Ok(given)
}

fn name_tls_arguments(
    args: &Arguments<'_, '_>,
    index: usize,
    given: &mut [Option<Sv>; TLS_ARGUMENTS.len()],
) -> Result<(), Croak> {
    for (name, value) in args.pairs(index)? {
        // Named as the client's options are, or shorter.
        let short = name.strip_prefix(b"tls_").unwrap_or(&name);
        let known = TLS_ARGUMENTS
            .iter()
            .position(|known| known.as_bytes() == short);
        let Some(place) = known else {
            let name = String::from_utf8_lossy(&name);
            return Err(args.error(format_args!("unknown option '{name}'")));
        };
        given[place] = Some(value);
    }
    Ok(())
}

/// `sasl($mechanism, [$username, $password])`, `sasl('OAUTHBEARER', $token_or_code, [\%extensions])`:
/// for connections made from now on. What is wrong with it shows when they authenticate.
fn sasl(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "EV::Kafka::Conn: sasl");
    let mechanism = args.bytes(1, "mechanism")?;
    let sasl = match mechanism.as_deref() {
        None => Sasl::default(),
        Some(b"OAUTHBEARER") => oauthbearer(frame, &args)?,
        Some(mechanism) => {
            let username = Secret::from(args.bytes(2, "username")?.unwrap_or_default());
            let password = Secret::from(args.bytes(3, "password")?.unwrap_or_default());
            let mechanism = String::from_utf8_lossy(mechanism);
            Sasl {
                settings: Some(SaslSettings::new(&mechanism, username, password)),
                token: None,
            }
        }
    };
    frame.object::<ConnHandle>()?.set_sasl(sasl);
    Ok(())
}

fn oauthbearer(frame: &Frame<'_>, args: &Arguments<'_, '_>) -> Result<Sasl, Croak> {
    let extensions = extensions(frame, args)?;
    let token = frame.value(2)?;
    if let Some(code) = token.as_ref().and_then(Sv::code) {
        let conn = frame
            .arg(0)
            .ok_or(ObjectError::NotAReference)
            .and_then(perl_xs::handle::<ConnHandle>)
            .map_err(ConnHandle::describe)?;
        return Ok(Sasl {
            settings: Some(SaslSettings::oauthbearer(None, extensions)),
            token: Some(TokenSource { conn, code }),
        });
    }
    if token.as_ref().is_some_and(is_plain_reference) {
        return Err(args.error("token must be a string or a code reference"));
    }
    let token = args.text(token.as_ref(), "token")?.unwrap_or_default();
    Ok(Sasl {
        settings: Some(SaslSettings::oauthbearer(Some(token.into()), extensions)),
        token: None,
    })
}

/// A hash after the token.
fn extensions(frame: &Frame<'_>, args: &Arguments<'_, '_>) -> Result<Extensions, Croak> {
    // Without one, what stands in the password's place means nothing here.
    if !frame.value(3)?.is_some_and(|value| value.is_hash_ref()) {
        return Ok(Extensions::default());
    }
    let mut pairs = Vec::new();
    for (key, value) in args.pairs(3)? {
        let value = args.text(Some(&value), "the value of an extension")?;
        pairs.push((key, value.unwrap_or_default()));
    }
    pairs.sort();
    Extensions::new(pairs.iter().map(|(key, value)| (&key[..], &value[..])))
        .map_err(|reason| args.error(reason))
}

/// `_secure_like($other)`: takes over the other connection's `tls` and `sasl`, so that a client
/// keeps no secrets of its own and its connections share what is slow to compute.
fn secure_like(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let other = frame
        .object_at::<ConnHandle>(1)
        .map_err(ConnHandle::describe)?;
    let handle = frame.object::<ConnHandle>()?;
    if Rc::ptr_eq(&handle, &other) {
        return Ok(());
    }
    let (tls, mut sasl) = other.security();
    if let (Some(source), Some(object)) = (&mut sasl.token, frame.arg(0)) {
        source.conn = perl_xs::handle::<ConnHandle>(object).map_err(ConnHandle::describe)?;
    }
    handle.set_tls(tls);
    handle.set_sasl(sasl);
    Ok(())
}

/// `_provide_token($id, $token, $error)`: what a token callback has come to. Nothing when the
/// connection that asked has gone.
fn provide_token(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let id = frame.int(1)?.unwrap_or(0) as u64;
    let token = frame.value(2)?;
    let error = frame.bytes(3)?;
    let token = match (token.filter(Sv::is_defined), error) {
        (_, Some(error)) => Err(String::from_utf8_lossy(&error).trim_end().to_owned()),
        (None, None) => Err("the token callback gave none".into()),
        (Some(token), None) if is_plain_reference(&token) => {
            Err("the token callback gave a reference".into())
        }
        (Some(token), None) => Ok(token.to_bytes(perl)?.unwrap_or_default().into()),
    };
    match frame.object_at::<ConnHandle>(0) {
        Ok(handle) => handle.provide_token(perl, id, token).ok(),
        Err(ObjectError::Destroyed) => Ok(()),
        Err(error) => Err(ConnHandle::describe(error).into()),
    }
}
