//! From a program's records to a record batch.

use bytes::Bytes;
use kafka_wire::codec::Compression;
use kafka_wire::records::{
    AppendError, BatchBuilder, SealOptions, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
};
use kafka_wire::Codec;
use perl_xs::{Croak, HashRef, Sv};

use crate::arguments::{Options, Values};
use crate::strings::Strings;

/// A record's headers: names and values; a value may be null.
pub type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// One record, its bytes copied out of Perl.
pub struct NewRecord {
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// Headers as a hash reference, or, where order and repeats matter, as a reference to an array of
/// `[name, value]` pairs.
pub fn headers(values: Values, value: Option<&Sv>, strings: Strings) -> Result<Headers, Croak> {
    const BAD: &str = "headers must be a hashref or an arrayref of [name, value] pairs";
    const NAME: &str = "header's name";
    const VALUE: &str = "header's value";
    let Some(value) = value.filter(|value| value.is_defined()) else {
        return Ok(Headers::new());
    };
    if let Some(hash) = HashRef::new(value) {
        return hash
            .entries(values.perl)?
            .into_iter()
            .map(|(name, value)| {
                let name = values.encoded(Some(&name), NAME, strings)?;
                let value = values.encoded(Some(&value), VALUE, strings)?;
                Ok((name.unwrap_or_default(), value))
            })
            .collect();
    }
    values
        .elements(Some(value), BAD)?
        .iter()
        .map(|pair| {
            let pair = values.elements(Some(pair), BAD)?;
            let name = pair.first().ok_or_else(|| values.error(BAD))?;
            let name = values.encoded(Some(name), NAME, strings)?;
            let value = values.encoded(pair.get(1), VALUE, strings)?;
            Ok((name.unwrap_or_default(), value))
        })
        .collect()
}

/// The records of an array reference, each a hash reference with key, value, headers and timestamp.
pub fn records(
    values: Values,
    value: Option<&Sv>,
    timestamp: i64,
    strings: Strings,
) -> Result<Vec<NewRecord>, Croak> {
    let elements = values.elements(value, "expected arrayref of records")?;
    if elements.is_empty() {
        return Err(values.error("a batch must have records"));
    }
    elements
        .iter()
        .map(|element| record(values, element, timestamp, strings))
        .collect()
}

fn record(
    values: Values,
    element: &Sv,
    timestamp: i64,
    strings: Strings,
) -> Result<NewRecord, Croak> {
    let hash = values.hash(Some(element), "record element must be a hashref")?;
    let record = Options::new(values, Some(hash));
    let headers_given = record.value("headers")?;
    Ok(NewRecord {
        timestamp: record.int("timestamp", timestamp)?,
        key: record.encoded("key", strings)?,
        value: record.encoded("value", strings)?,
        headers: headers(values, headers_given.as_ref(), strings)?,
    })
}

/// The codec that an option names, none without one, at the level that another says.
///
/// # Errors
/// `unsupported compression: NAME`, or that the codec does not have the level.
pub fn compression(name: Option<&[u8]>, level: Option<i64>) -> Result<Compression, Croak> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(Compression::default());
    };
    let text = String::from_utf8_lossy(name);
    let codec =
        Codec::from_name(&text).ok_or_else(|| format!("unsupported compression: {text}"))?;
    let Some(level) = level else {
        return Ok(codec.into());
    };
    // No codec has a level that is so large.
    let level = i32::try_from(level).unwrap_or(i32::MAX);
    Compression::new(codec, level).map_err(|error| format!("compression_level {error}").into())
}

/// How a batch is sealed, from the options of `produce` and `produce_batch`.
pub fn seal_options(options: &Options, transactional: bool) -> Result<SealOptions, Croak> {
    Ok(SealOptions {
        compression: compression(
            options.bytes("compression")?.as_deref(),
            options.nullable_int("compression_level")?,
        )?,
        producer_id: options.int("producer_id", NO_PRODUCER_ID)?,
        producer_epoch: options.int("producer_epoch", NO_PRODUCER_EPOCH)?,
        base_sequence: options.int("base_sequence", NO_SEQUENCE)?,
        transactional,
    })
}

/// The encoded batch.
///
/// # Errors
/// When it would pass 2 GiB.
pub fn encode(records: &[NewRecord], options: SealOptions) -> Result<Bytes, AppendError> {
    let mut batch = BatchBuilder::new();
    for record in records {
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_deref()));
        batch.append(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            headers,
        )?;
    }
    Ok(batch.seal(options))
}
