//! From a program's records to a record batch.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka_wire::records::{
    BatchBuilder, SealOptions, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
};
use kafka_wire::Codec;
use perl_xs::{ArrayRef, Croak, HashRef, Perl, Sv};

use super::args::{clamp16, clamp32, Options};

/// A record's headers: names and values; a value may be null.
pub type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// One record, its bytes copied out of Perl.
pub struct NewRecord {
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis().try_into().unwrap_or(i64::MAX)
}

/// Headers as a hash reference, or, where order and repeats matter, as a reference to an array of
/// `[name, value]` pairs.
pub fn headers(perl: Perl, value: Option<&Sv>, method: &str) -> Result<Headers, Croak> {
    let Some(value) = value.filter(|value| value.is_defined()) else {
        return Ok(Headers::new());
    };
    if let Some(hash) = HashRef::new(value) {
        return hash
            .pairs(perl)?
            .into_iter()
            .map(|(name, value)| Ok((name, value.to_bytes(perl)?)))
            .collect();
    }
    let bad = || {
        Croak::from(format!(
            "{method}: headers must be a hashref or an arrayref of [name, value] pairs"
        ))
    };
    let pairs = ArrayRef::new(value).ok_or_else(bad)?.to_vec(perl)?;
    pairs
        .iter()
        .map(|pair| {
            let pair = ArrayRef::new(pair).ok_or_else(bad)?.to_vec(perl)?;
            let name = pair
                .first()
                .ok_or_else(bad)?
                .to_bytes(perl)?
                .unwrap_or_default();
            let value = pair.get(1).map_or(Ok(None), |value| value.to_bytes(perl))?;
            Ok((name, value))
        })
        .collect()
}

/// The records of an array reference, each a hash reference with key, value, headers and timestamp.
pub fn records(
    perl: Perl,
    value: Option<&Sv>,
    timestamp: i64,
    method: &str,
) -> Result<Vec<NewRecord>, Croak> {
    let array = value
        .and_then(ArrayRef::new)
        .ok_or_else(|| Croak::from(format!("{method}: expected arrayref of records")))?;
    let elements = array.to_vec(perl)?;
    if elements.is_empty() {
        return Err(format!("{method}: a batch must have records").into());
    }
    elements
        .iter()
        .map(|element| record(perl, element, timestamp, method))
        .collect()
}

fn record(perl: Perl, element: &Sv, timestamp: i64, method: &str) -> Result<NewRecord, Croak> {
    let hash = HashRef::new(element)
        .ok_or_else(|| Croak::from(format!("{method}: record element must be a hashref")))?;
    Ok(NewRecord {
        timestamp: hash.get_i64(perl, "timestamp")?.unwrap_or(timestamp),
        key: hash.get_bytes(perl, "key")?,
        value: hash.get_bytes(perl, "value")?,
        headers: headers(perl, hash.get(perl, "headers")?.as_ref(), method)?,
    })
}

/// The codec that an option names; none without one.
///
/// # Errors
/// `unsupported compression: NAME`
pub fn codec(name: Option<&[u8]>) -> Result<Codec, Croak> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(Codec::None);
    };
    let text = String::from_utf8_lossy(name);
    Codec::from_name(&text).ok_or_else(|| format!("unsupported compression: {text}").into())
}

/// How a batch is sealed, from the options of `produce` and `produce_batch`.
pub fn seal_options(perl: Perl, options: &Options) -> Result<SealOptions, Croak> {
    Ok(SealOptions {
        codec: codec(options.string(perl, "compression")?.as_deref())?,
        producer_id: options.int(perl, "producer_id", NO_PRODUCER_ID)?,
        producer_epoch: clamp16(options.int(perl, "producer_epoch", NO_PRODUCER_EPOCH.into())?),
        base_sequence: clamp32(options.int(perl, "base_sequence", NO_SEQUENCE.into())?),
        transactional: options.string(perl, "transactional_id")?.is_some(),
    })
}

/// The encoded batch.
///
/// # Errors
/// When it would pass 2 GiB.
pub fn encode(records: &[NewRecord], options: SealOptions) -> Result<Bytes, Croak> {
    let mut batch = BatchBuilder::new();
    for record in records {
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_deref()));
        batch
            .append(
                record.timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                headers,
            )
            .map_err(|error| Croak::from(error.to_string()))?;
    }
    Ok(batch.seal(options))
}
