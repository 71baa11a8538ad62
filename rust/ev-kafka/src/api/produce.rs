//! `produce` and `produce_batch` of a connection: a batch for one partition.

pub mod acknowledged;
pub mod records;
pub mod request;
mod single;

use std::rc::Rc;

use bytes::Bytes;
use kafka_wire::messages::produce::{PartitionProduceResponse, ProduceResponse};
use kafka_wire::{ApiKey, NO_TOPIC_ID};
use perl_xs::{Croak, Frame, Hv, Perl, Sv, XsubDef};

use self::records::NewRecord;
use self::request::{carries, Terms, DEFAULT_ACKS, TIMEOUT_MS, ZSTD_FROM};
use self::single::completion;
use super::request::{check_connected, encode_at, send_encoded, server_wait, Encoded, TopicName};
use super::result::{Read, Shaped};
use super::shapes::{list, partition_outcome, store_message, topics};
use super::transaction_version::TransactionVersion;
use crate::arguments::{options_and_callback, Arguments, Options};
use crate::conn::{call_back, ConnHandle};
use crate::wall::now_ms;

/// What the callbacks of a connection get that the broker has closed.
const CLOSED_BY_BROKER: &str = "connection closed by broker";

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::produce",
        body: produce,
    },
    XsubDef {
        name: "EV::Kafka::Conn::produce_batch",
        body: produce_batch,
    },
];

/// `produce($topic, $partition, $key, $value, [\%opts,] [$cb])`
fn produce(frame: &mut Frame<'_>) -> Result<(), Croak> {
    const METHOD: &str = "produce";
    check_connected(frame)?;
    if single::produce(frame) {
        return Ok(());
    }
    let args = Arguments::new(frame, METHOD);
    let now = now_ms();
    let topic = args.string(1, "topic")?;
    let partition = args.int(2, "partition", 0)?;
    let strings = frame.object::<ConnHandle>()?.form().strings;
    let key = args.encoded(3, "key", strings)?;
    let value = args.encoded(4, "value", strings)?;
    let (options, callback) = options_and_callback(frame, 5, METHOD)?;
    let record = NewRecord {
        timestamp: options.int("timestamp", now)?,
        key,
        value,
        headers: records::headers(args.values(), options.value("headers")?.as_ref(), strings)?,
    };
    send_records(frame, topic, partition, &[record], &options, callback)
}

/// `produce_batch($topic, $partition, \@records, [\%opts,] [$cb])`
fn produce_batch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    const METHOD: &str = "produce_batch";
    check_connected(frame)?;
    let args = Arguments::new(frame, METHOD);
    let now = now_ms();
    let topic = args.string(1, "topic")?;
    let partition = args.int(2, "partition", 0)?;
    let strings = frame.object::<ConnHandle>()?.form().strings;
    let elements = frame.value(3)?;
    let (options, callback) = options_and_callback(frame, 4, METHOD)?;
    let timestamp = options.int("timestamp", now)?;
    let records = records::records(args.values(), elements.as_ref(), timestamp, strings)?;
    send_records(frame, topic, partition, &records, &options, callback)
}

fn send_records(
    frame: &Frame<'_>,
    topic: Bytes,
    partition: i32,
    records: &[NewRecord],
    options: &Options,
    callback: Option<Sv>,
) -> Result<(), Croak> {
    let perl = frame.perl();
    let acks = options.int("acks", DEFAULT_ACKS)?;
    let transactional_id = options.string("transactional_id")?;
    let of = TransactionVersion::of_number(options.int("transaction_version", 1)?)
        .map_err(|why| options.error(why))?;
    let part_of = transactional_id.as_ref().map(|_| of);
    let seal = records::seal_options(options, transactional_id.is_some())?;
    let batch = records::encode(records, seal).map_err(|error| options.error(error))?;
    let terms = Terms {
        transactional_id,
        acks,
        timeout_ms: TIMEOUT_MS,
    };
    let handle = frame.object::<ConnHandle>()?;
    // A program knows topics by their names.
    let version = request::version(&handle, part_of, false);
    if version
        .as_ref()
        .is_ok_and(|&version| !carries(version, seal.compression.codec()))
    {
        let reason =
            format!("zstd compression needs Produce version {ZSTD_FROM}, which the broker lacks");
        return handle.fail(perl, completion(callback), reason).ok();
    }
    let name = TopicName {
        id: NO_TOPIC_ID,
        topic,
    };
    let encoded = encode_at(version, |_| {
        request::request(terms, [(name, partition, batch.into())])
    });
    match acks {
        0 => send_unanswered(perl, &handle, encoded, callback),
        _ => {
            let (api, wait) = (ApiKey::Produce, server_wait(TIMEOUT_MS));
            send_encoded(perl, &handle, api, encoded, wait, completion(callback))
        }
    }
}

/// With acks 0 the broker never answers: what was handed to the socket counts as done.
fn send_unanswered(
    perl: Perl,
    handle: &Rc<ConnHandle>,
    encoded: Encoded,
    callback: Option<Sv>,
) -> Result<(), Croak> {
    let sent = encoded.and_then(|(version, body)| {
        if handle.has_ended() {
            return Err(CLOSED_BY_BROKER.into());
        }
        handle
            .send_oneway(ApiKey::Produce, version, body)
            .map_err(|error| error.to_string())
    });
    match (sent, callback) {
        (Err(reason), callback) => handle.fail(perl, completion(callback), reason).ok(),
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(callback)) => handle
            .call_at_once(perl, move |perl| {
                call_back(perl, &callback, Ok(Hv::new(perl).into_ref(perl)))
            })
            .ok(),
    }
}

impl Shaped for ProduceResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ topics => [{ topic, partitions => [{ partition, error_code, base_offset, error_message? }] }] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let partition = |partition: &PartitionProduceResponse| {
            let mut hash = partition_outcome(perl, partition.index, partition.error_code);
            hash.store_int(perl, "base_offset", partition.base_offset);
            store_message(perl, &mut hash, partition.error_message.as_deref());
            hash
        };
        Ok(topics(
            perl,
            &self.responses,
            |topic| &topic.name,
            |topic| list(perl, &topic.partition_responses, partition),
        ))
    }
}
