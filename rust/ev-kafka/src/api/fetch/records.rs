//! What `fetch` and `fetch_multi` give: every record as a hash.

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchResponse, PartitionData};
use kafka_wire::records::{Batch, BatchError, Headers, Record, RecordBatches, Records};
use perl_xs::{Av, Hv, Perl, Sv};

use super::batches::{or_corrupt, Budget, Unpacking, VerifiedBatches};
use super::request::Asked;
use crate::api::shapes::list;
use crate::strings::{Form, HeadersAs};

/// What the records of one answer may cost as Perl values, in bytes: the smallest record is some
/// sixty times as large there as on the wire. It is above what brokers send at once by default
/// (`fetch.max.bytes`, 55 MiB) in records of usual sizes.
const MAX_COST: usize = 512 << 20;

// What perl needs on a 64-bit machine, in bytes, beside the strings themselves: measured.
/// A record's hash with its four values.
const RECORD_COST: usize = 420;
/// The hash of its headers, and each of them.
const HEADERS_COST: usize = 200;
const HEADER_COST: usize = 130;

/// Goes along with the records of an answer. Once it is spent those that follow are left out, as if
/// the answer ended there: they come with the next fetch.
struct Room {
    left: usize,
    form: Form,
}

impl Room {
    fn is_spent(&self) -> bool {
        self.left == 0
    }

    fn take(&mut self, record: &Record<'_>) {
        let strings = [record.key, record.value].into_iter().flatten();
        let mut cost = RECORD_COST + strings.map(<[u8]>::len).sum::<usize>();
        let headers = record.headers();
        if headers.len() > 0 {
            cost += HEADERS_COST;
            for (name, value) in headers {
                cost += HEADER_COST + name.len() + value.map_or(0, <[u8]>::len);
            }
        }
        self.left = self.left.saturating_sub(cost);
    }
}

/// The result. Brokers send whole batches: records before the offset that was asked for are left
/// out, as are control batches (the ends of transactions).
pub fn result(
    perl: Perl,
    response: &FetchResponse,
    asked: &Asked,
    form: Form,
    unpacking: &Unpacking,
) -> Hv {
    let mut budget = Budget::new(unpacking);
    let mut room = Room {
        left: MAX_COST,
        form,
    };
    let topics = list(perl, &response.responses, |topic| {
        let mut hash = Hv::new(perl);
        hash.store_bytes(perl, "topic", &topic.topic);
        let partitions = list(perl, &topic.partitions, |data| {
            let first = asked.offset(&topic.topic, data.partition_index);
            let first = first.unwrap_or(i64::MIN);
            partition(perl, data, first, &mut budget, &mut room)
        });
        hash.store(perl, "partitions", partitions);
        hash
    });
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "error_code", response.error_code.into());
    hash.store(perl, "topics", topics);
    hash
}

fn partition(
    perl: Perl,
    data: &PartitionData,
    first: i64,
    budget: &mut Budget<'_>,
    room: &mut Room,
) -> Hv {
    let mut hash = Hv::new(perl);
    let mut records = Av::new(perl);
    let broken = append_records(
        perl,
        &mut records,
        data.records.clone().unwrap_or_default(),
        first,
        (budget, room),
    )
    .err();
    let error_code = match &broken {
        Some(_) => or_corrupt(data.error_code),
        None => data.error_code,
    };
    hash.store_int(perl, "partition", data.partition_index.into());
    hash.store_int(perl, "error_code", error_code.into());
    if let Some(error) = broken {
        hash.store_bytes(perl, "error_message", error.to_string().as_bytes());
    }
    hash.store_int(perl, "high_watermark", data.high_watermark);
    hash.store_int(perl, "last_stable_offset", data.last_stable_offset);
    hash.store_int(perl, "log_start_offset", data.log_start_offset);
    hash.store(perl, "records", records.into_ref(perl));
    hash
}

/// Appends the records of the batches, as far as there is room for them.
fn append_records(
    perl: Perl,
    records: &mut Av,
    bytes: Bytes,
    first: i64,
    (budget, room): (&mut Budget<'_>, &mut Room),
) -> Result<(), BatchError> {
    let mut batches = VerifiedBatches::new(RecordBatches::of_log(bytes), budget);
    while !room.is_spent() {
        let Some(verified) = batches.next() else {
            break;
        };
        let (batch, batch_records) = verified?;
        append_batch(perl, records, &batch, &batch_records, first, room);
    }
    Ok(())
}

fn append_batch(
    perl: Perl,
    records: &mut Av,
    batch: &Batch,
    batch_records: &Records,
    first: i64,
    room: &mut Room,
) {
    if batch.is_control() {
        return;
    }
    for record in batch_records.iter().filter(|record| record.offset >= first) {
        if room.is_spent() {
            break;
        }
        room.take(&record);
        records.push(perl, record_hash(perl, &record, room.form).into_ref(perl));
    }
}

/// One record. `headers` is there only when it has any.
pub fn record_hash(perl: Perl, record: &Record<'_>, form: Form) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "offset", record.offset);
    hash.store_int(perl, "timestamp", record.timestamp);
    let string =
        |bytes| Sv::string_or_undef(perl, Option::map(bytes, |bytes| form.strings.decode(bytes)));
    hash.store(perl, "key", string(record.key));
    hash.store(perl, "value", string(record.value));
    if record.headers().len() > 0 {
        hash.store(perl, "headers", headers_ref(perl, record.headers(), form));
    }
    hash
}

/// A reference to what a record's headers are to the program.
pub fn headers_ref(perl: Perl, headers: Headers<'_>, form: Form) -> Sv {
    let strings = form.strings;
    let read =
        |value: Option<_>| Sv::string_or_undef(perl, value.map(|value| strings.decode(value)));
    match form.headers {
        HeadersAs::Hash => {
            let mut hash = Hv::new(perl);
            for (name, value) in headers {
                hash.store_at(perl, strings.decode(name), read(value));
            }
            hash.into_ref(perl)
        }
        HeadersAs::Pairs => {
            let mut list = Av::with_capacity(perl, headers.len());
            for (name, value) in headers {
                let mut pair = Av::with_capacity(perl, 2);
                pair.push(perl, read(Some(name)));
                pair.push(perl, read(value));
                list.push(perl, pair.into_ref(perl));
            }
            list.into_ref(perl)
        }
    }
}
