//! The methods of EV::Kafka::Conn that encrypt and authenticate.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use kafka_conn::{Pem, SaslSettings, Secret, TlsOptions, TlsSettings};
use perl_xs::{Croak, Frame, Native, ObjectError, Sv, XsubDef};

use super::args;
use super::arguments::Arguments;
use super::handle::{ConnHandle, Sasl, TokenSource};
use super::strerror::strerror;

/// No file of certificates is larger, in bytes: what is not a regular file may never end.
const MAX_FILE: usize = 16 << 20;

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

/// `tls($enable, [$ca_file, $skip_verify, $cert_file, $key_file])`: for connections made from now
/// on. The files are read here.
fn tls(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "EV::Kafka::Conn: tls");
    let enable = args.bool(1)?;
    let ca_file = file_name(&args, 2, "ca_file")?;
    let skip_verify = args.bool(3)?;
    let cert_file = file_name(&args, 4, "cert_file")?;
    let key_file = file_name(&args, 5, "key_file")?;
    let handle = frame.object::<ConnHandle>()?;
    if !enable {
        handle.set_tls(None);
        return Ok(());
    }
    let options = TlsOptions {
        ca: pem(&args, ca_file, "CA file")?,
        skip_verify,
        certificate: pem(&args, cert_file, "certificate file")?,
        key: pem(&args, key_file, "key file")?,
    };
    let settings = TlsSettings::new(&options).map_err(|error| {
        let text = error.to_string();
        args.error(text.strip_prefix("TLS: ").unwrap_or(&text))
    })?;
    handle.set_tls(Some(settings));
    Ok(())
}

/// None when it is undef, empty or left out.
fn file_name(args: &Arguments<'_, '_>, index: usize, name: &str) -> Result<Option<Vec<u8>>, Croak> {
    let file_name = args.bytes(index, name)?;
    Ok(file_name.filter(|file_name| !file_name.is_empty()))
}

fn pem(args: &Arguments<'_, '_>, path: Option<Vec<u8>>, what: &str) -> Result<Option<Pem>, Croak> {
    let Some(path) = path else { return Ok(None) };
    let name = String::from_utf8_lossy(&path).into_owned();
    match contents(&path) {
        Ok(contents) => Ok(Some(Pem { name, contents })),
        Err(reason) => Err(args.error(format_args!("cannot read {what} {name}: {reason}"))),
    }
}

fn contents(path: &[u8]) -> Result<Secret, String> {
    let contents = File::open(OsStr::from_bytes(path))
        .and_then(|file| Secret::read(file, MAX_FILE))
        .map_err(|error| strerror(&error))?;
    match contents.len() {
        0..=MAX_FILE => Ok(contents),
        _ => Err(format!("larger than {MAX_FILE} bytes")),
    }
}

/// `sasl($mechanism, [$username, $password])`, `sasl('OAUTHBEARER', $token_or_code)`: for
/// connections made from now on. What is wrong with it shows when they authenticate.
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
    let Some(token) = frame.value(2)? else {
        return Ok(fixed_token(Secret::default()));
    };
    if let Some(code) = token.code() {
        let conn = frame
            .arg(0)
            .ok_or(ObjectError::NotAReference)
            .and_then(perl_xs::handle::<ConnHandle>)
            .map_err(ConnHandle::describe)?;
        return Ok(Sasl {
            settings: Some(SaslSettings::oauthbearer_on_demand()),
            token: Some(TokenSource { conn, code }),
        });
    }
    if args::is_plain_reference(&token) {
        return Err(args.error("token must be a string or a code reference"));
    }
    let token = token.to_bytes(args.perl())?.unwrap_or_default();
    Ok(fixed_token(token.into()))
}

fn fixed_token(token: Secret) -> Sasl {
    Sasl {
        settings: Some(SaslSettings::new("OAUTHBEARER", Secret::default(), token)),
        token: None,
    }
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
        (Some(token), None) if args::is_plain_reference(&token) => {
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
