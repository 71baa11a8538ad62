//! Who may come in, and what they may do.

use bytes::Bytes;
use kafka_mock::{Denial, Mechanism, Operation, Resource, SaslConfig};
use perl_xs::{Croak, Frame, HashRef, Native, Perl, XsubDef};

use super::server::Server;
use super::tls::{Tls, TlsGiven};
use super::values::{elements, hash, text};

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Mock::_deny",
        body: deny,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_allow",
        body: allow,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_ca_certificate",
        body: ca_certificate,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_client_certificate",
        body: client_certificate,
    },
];

/// The option `sasl`: a hash with mechanisms, users and tokens (names and what belongs to them in turn), and
/// session_lifetime_ms.
pub(super) fn sasl(perl: Perl, given: &HashRef) -> Result<SaslConfig, Croak> {
    let strings = |name: &str| -> Result<Vec<Bytes>, Croak> {
        let list = elements(perl, given.get(perl, name)?.as_ref())?;
        let bytes = list
            .iter()
            .map(|value| Ok(value.to_bytes(perl)?.unwrap_or_default().into()));
        bytes.collect()
    };
    let pairs = |name: &str| -> Result<Vec<(Bytes, Bytes)>, Croak> {
        let all = strings(name)?;
        let pairs = all.chunks_exact(2);
        Ok(pairs
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect())
    };
    let mechanism = |name: &Bytes| {
        let found = Mechanism::ALL
            .into_iter()
            .find(|known| known.name() == *name);
        found.ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            Croak::from(format!("new: unknown SASL mechanism '{name}'"))
        })
    };
    Ok(SaslConfig {
        mechanisms: strings("mechanisms")?
            .iter()
            .map(mechanism)
            .collect::<Result<_, _>>()?,
        users: pairs("users")?,
        tokens: pairs("tokens")?,
        session_lifetime_ms: given
            .get_i64(perl, "session_lifetime_ms")?
            .and_then(|ms| u64::try_from(ms).ok())
            .ok_or("new: session_lifetime_ms must not be below 0")?,
    })
}

/// The options `tls*`, whose files are their contents here.
pub(super) fn tls(perl: Perl, options: &HashRef) -> Result<Option<Tls>, Croak> {
    let flag = |name: &str| match options.get(perl, name)? {
        Some(value) => value.to_bool(perl),
        None => Ok(false),
    };
    if !flag("tls")? {
        return Ok(None);
    }
    let chain = options.get_bytes(perl, "tls_cert_file")?;
    let key = options.get_bytes(perl, "tls_key_file")?;
    let given = TlsGiven {
        identity: chain.map(|chain| (chain.clone(), key.unwrap_or(chain))),
        client_ca: options.get_bytes(perl, "tls_client_ca_file")?,
        client_auth: flag("tls_client_auth")?,
    };
    match Tls::new(&given) {
        Ok(tls) => Ok(Some(tls)),
        Err(why) => Err(format!("new: TLS: {why}").into()),
    }
}

/// `_ca_certificate()`: DER, or undef.
fn ca_certificate(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let server = frame.object_as_it_is::<Server>()?;
    match server.tls().and_then(Tls::authority) {
        Some(authority) => frame.ret_bytes(authority.certificate()),
        None => frame.ret_undef(),
    }
    Ok(())
}

/// `_client_certificate($name)`: certificate and key, both in DER; nothing without an authority of our own.
fn client_certificate(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let name = text(frame, 1)?;
    let server = frame.object::<Server>()?;
    let Some(authority) = server.tls().and_then(Tls::authority) else {
        return Ok(());
    };
    let issued = authority.client(&name);
    let (certificate, key) = issued.map_err(|why| format!("client_certificate: {why}"))?;
    frame.ret_bytes(&certificate);
    frame.ret_bytes(&key);
    Ok(())
}

/// `_deny(\%rule)`, with every key there.
fn deny(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let denial = denial(frame.perl(), &hash(frame, 1)?)?;
    let server = frame.object::<Server>()?;
    server.change(|cluster| cluster.deny(denial));
    Ok(())
}

/// `_allow([\%rule])`; without one it takes back all.
fn allow(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let rule = match frame.value(1)? {
        Some(_) => Some(denial(frame.perl(), &hash(frame, 1)?)?),
        None => None,
    };
    let server = frame.object::<Server>()?;
    server.change(|cluster| match &rule {
        Some(denial) => cluster.allow(denial),
        None => cluster.allow_all(),
    });
    Ok(())
}

fn denial(perl: Perl, rule: &HashRef) -> Result<Denial, Croak> {
    let bytes = |name: &str| -> Result<Option<Bytes>, Croak> {
        Ok(rule.get_bytes(perl, name)?.map(Into::into))
    };
    let resource = bytes("resource")?.unwrap_or_default();
    let operation = match bytes("operation")? {
        None => None,
        Some(name) => {
            let found = Operation::ALL.into_iter().find(|op| op.name() == name);
            Some(found.ok_or_else(|| {
                let name = String::from_utf8_lossy(&name);
                Croak::from(format!("{}: unknown operation '{name}'", Server::NAME))
            })?)
        }
    };
    Ok(Denial {
        resource: match &resource[..] {
            b"topic" => Resource::Topic,
            b"group" => Resource::Group,
            b"transactional_id" => Resource::TransactionalId,
            _ => Resource::Cluster,
        },
        name: bytes("name")?,
        operation,
        user: bytes("user")?,
    })
}
