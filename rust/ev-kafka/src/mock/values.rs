//! What the methods' arguments are read as, and what errors become.

use kafka_mock::ClusterError;
use kafka_wire::ApiKey;
use perl_xs::{ArrayRef, Croak, Frame, HashRef, Native, Perl, Sv};

use super::server::Server;

pub fn croak(error: ClusterError) -> Croak {
    format!("{}: {error}", Server::NAME).into()
}

pub fn hash(frame: &Frame<'_>, index: usize) -> Result<HashRef, Croak> {
    frame
        .value(index)?
        .as_ref()
        .and_then(HashRef::new)
        .ok_or_else(|| "expected hashref".into())
}

pub fn elements(perl: Perl, value: Option<&Sv>) -> Result<Vec<Sv>, Croak> {
    value
        .and_then(ArrayRef::new)
        .ok_or("expected arrayref")?
        .to_vec(perl)
}

pub fn text(frame: &Frame<'_>, index: usize) -> Result<String, Croak> {
    Ok(String::from_utf8_lossy(&frame.bytes(index)?.unwrap_or_default()).into_owned())
}

/// A number that need not be given.
pub fn optional32(frame: &Frame<'_>, index: usize) -> Result<Option<i32>, Croak> {
    // What does not fit names nothing that exists.
    Ok(frame
        .int(index)?
        .map(|value| i32::try_from(value).unwrap_or(i32::MIN)))
}

pub fn int32(frame: &Frame<'_>, index: usize) -> Result<i32, Croak> {
    Ok(optional32(frame, index)?.unwrap_or(0))
}

pub fn api_named(name: &str) -> Result<ApiKey, Croak> {
    let found = ApiKey::ALL.iter().copied().find(|api| api.name() == name);
    found.ok_or_else(|| format!("{}: unknown API '{name}'", Server::NAME).into())
}
