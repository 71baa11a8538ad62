//! Parts that the hashes of several APIs have in common.

use perl_xs::{Av, Hv, Perl, Sv};

/// An array reference with one element for each value.
pub fn list<'a, T: 'a>(
    perl: Perl,
    values: impl IntoIterator<Item = &'a T>,
    mut build: impl FnMut(&'a T) -> Hv,
) -> Sv {
    let mut array = Av::new(perl);
    for value in values {
        array.push(perl, build(value).into_ref(perl));
    }
    array.into_ref(perl)
}

/// An array reference of integers.
pub fn ints(perl: Perl, values: &[i32]) -> Sv {
    let mut array = Av::with_capacity(perl, values.len());
    for &value in values {
        array.push(perl, Sv::int(perl, value.into()));
    }
    array.into_ref(perl)
}

/// Stores bytes that a broker may leave out.
pub fn store_optional(perl: Perl, hash: &mut Hv, key: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        hash.store_bytes(perl, key, value);
    }
}

/// Stores bytes of which brokers say by an empty value that there are none.
pub fn store_unless_empty(perl: Perl, hash: &mut Hv, key: &str, bytes: &[u8]) {
    let given = Some(bytes).filter(|bytes| !bytes.is_empty());
    store_optional(perl, hash, key, given);
}

/// Stores what went wrong in words, if the broker says so. Where a version has no such field, or a
/// broker has nothing to say, it is null or empty.
pub fn store_message(perl: Perl, hash: &mut Hv, message: Option<&[u8]>) {
    store_unless_empty(perl, hash, "error_message", message.unwrap_or_default());
}

/// `{ error_code }`
pub fn outcome(perl: Perl, error_code: i16) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "error_code", error_code.into());
    hash
}

/// `{ partition, error_code }`
pub fn partition_outcome(perl: Perl, partition: i32, error_code: i16) -> Hv {
    let mut hash = outcome(perl, error_code);
    hash.store_int(perl, "partition", partition.into());
    hash
}

/// `{ topics => [...] }`, one hash for each topic: its name under `topic`, and its partitions.
pub fn topics<'a, T: 'a>(
    perl: Perl,
    topics: impl IntoIterator<Item = &'a T>,
    name: impl Fn(&'a T) -> &'a [u8],
    partitions: impl Fn(&'a T) -> Sv,
) -> Hv {
    let mut hash = Hv::new(perl);
    let list = list(perl, topics, |topic| {
        let mut hash = Hv::new(perl);
        hash.store_bytes(perl, "topic", name(topic));
        hash.store(perl, "partitions", partitions(topic));
        hash
    });
    hash.store(perl, "topics", list);
    hash
}

/// `{ topics => [{ topic, partitions => [{ partition, error_code, … }] }] }`: what became of each partition.
pub fn partition_outcomes<'a, T: 'a, P: 'a>(
    perl: Perl,
    of_topics: &'a [T],
    parts: fn(&'a T) -> (&'a [u8], &'a [P]),
    outcome: fn(&P) -> (i32, i16),
    more: impl Fn(&P, &mut Hv),
) -> Hv {
    topics(
        perl,
        of_topics,
        |topic| parts(topic).0,
        |topic| {
            list(perl, parts(topic).1, |partition| {
                let (number, error_code) = outcome(partition);
                let mut hash = partition_outcome(perl, number, error_code);
                more(partition, &mut hash);
                hash
            })
        },
    )
}

/// `{ topic, partitions => [$number, …] }`, the topic by its name or its id.
pub fn topic_partitions(perl: Perl, topic: &[u8], numbers: &[i32]) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store_bytes(perl, "topic", topic);
    hash.store(perl, "partitions", ints(perl, numbers));
    hash
}

/// `{ name, error_code, error_message? }`: what became of a topic that was to be created or deleted.
pub fn topic_outcome(
    perl: Perl,
    name: Option<&[u8]>,
    error_code: i16,
    error_message: Option<&[u8]>,
) -> Hv {
    let mut hash = outcome(perl, error_code);
    hash.store(perl, "name", Sv::bytes_or_undef(perl, name));
    store_message(perl, &mut hash, error_message);
    hash
}
