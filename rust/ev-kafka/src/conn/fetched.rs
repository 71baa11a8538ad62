//! What `fetch` and `fetch_multi` give: every record as a hash.

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchResponse, PartitionData};
use kafka_wire::records::{Batch, BatchError, Headers, Record, RecordBatches, Records};
use kafka_wire::ErrorCode;
use perl_xs::{Av, Hv, Perl, Sv};

use super::budget::Budget;
use super::results::list;

/// A partition and the first offset that was asked for.
pub struct Asked {
    pub topic: Bytes,
    pub partition: i32,
    pub offset: i64,
}

/// The result. Brokers send whole batches: records before the offset that was asked for are left
/// out, as are control batches (the ends of transactions).
pub fn result(perl: Perl, response: &FetchResponse, asked: &[Asked]) -> Hv {
    let mut budget = Budget::new();
    let topics = list(perl, &response.responses, |topic| {
        let mut hash = Hv::new(perl);
        hash.store_bytes(perl, "topic", &topic.topic);
        let partitions = list(perl, &topic.partitions, |data| {
            let first = asked
                .iter()
                .find(|asked| asked.partition == data.partition_index && asked.topic == topic.topic)
                .map_or(i64::MIN, |asked| asked.offset);
            partition(perl, data, first, &mut budget)
        });
        hash.store(perl, "partitions", partitions);
        hash
    });
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "error_code", response.error_code.into());
    hash.store(perl, "topics", topics);
    hash
}

fn partition(perl: Perl, data: &PartitionData, first: i64, budget: &mut Budget) -> Hv {
    let mut hash = Hv::new(perl);
    let mut records = Av::new(perl);
    let broken = append_records(
        perl,
        &mut records,
        data.records.clone().unwrap_or_default(),
        first,
        budget,
    )
    .err();
    let error_code = match &broken {
        Some(_) if data.error_code == 0 => ErrorCode::CorruptMessage.code(),
        _ => data.error_code,
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

/// Appends the records of all batches up to the first one that cannot be read, or that the budget has nothing left for.
fn append_records(
    perl: Perl,
    records: &mut Av,
    bytes: Bytes,
    first: i64,
    budget: &mut Budget,
) -> Result<(), BatchError> {
    for batch in RecordBatches::new(bytes) {
        if budget.is_spent() {
            break;
        }
        let batch = batch?;
        let batch_records = budget.records(&batch)?;
        append_batch(perl, records, &batch, &batch_records, first);
    }
    Ok(())
}

fn append_batch(perl: Perl, records: &mut Av, batch: &Batch, batch_records: &Records, first: i64) {
    if batch.is_control() {
        return;
    }
    for record in batch_records.iter().filter(|record| record.offset >= first) {
        records.push(perl, record_hash(perl, &record).into_ref(perl));
    }
}

/// One record. `headers` is there only when it has any.
pub fn record_hash(perl: Perl, record: &Record<'_>) -> Hv {
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "offset", record.offset);
    hash.store_int(perl, "timestamp", record.timestamp);
    hash.store(perl, "key", Sv::bytes_or_undef(perl, record.key));
    hash.store(perl, "value", Sv::bytes_or_undef(perl, record.value));
    if record.headers().len() > 0 {
        hash.store(perl, "headers", headers_ref(perl, record.headers()));
    }
    hash
}

/// A reference to a hash of a record's headers. The last value of a repeated name wins, as in any hash that is built from
/// pairs.
pub fn headers_ref(perl: Perl, headers: Headers<'_>) -> Sv {
    let mut hash = Hv::new(perl);
    for (name, value) in headers {
        hash.store(perl, name, Sv::bytes_or_undef(perl, value));
    }
    hash.into_ref(perl)
}
