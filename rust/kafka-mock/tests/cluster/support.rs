//! A client without opinions: it sends what a test says, to the broker it says.

use bytes::{Bytes, BytesMut};
use kafka_mock::{Cluster, ClusterConfig, ConnId, CoordinatorKey, IsolationLevel, Output, Reply};
use kafka_wire::api::strip_response_header;
use kafka_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use kafka_wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use kafka_wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_wire::messages::{
    AddOffsetsToTxnRequest, EndTxnRequest, InitProducerIdRequest, InitProducerIdResponse,
};
use kafka_wire::records::{BatchBuilder, SealOptions, NO_HEADERS};
use kafka_wire::{Codec, ErrorCode, Message, Reader, Request, RequestHeader, Writer};

/// A cluster, the time, and a connection to each broker; connection `n` is to broker `n`.
pub struct Bench {
    pub cluster: Cluster,
    pub now_ms: u64,
    last_correlation_id: i32,
}

impl Bench {
    pub fn new(config: ClusterConfig) -> Self {
        let mut cluster = Cluster::new(config);
        for broker in cluster.broker_ids().collect::<Vec<_>>() {
            cluster
                .set_address(broker, "127.0.0.1", 9000 + broker as u16)
                .unwrap();
            cluster.open(broker as ConnId, broker).unwrap();
        }
        Self {
            cluster,
            now_ms: 1_000,
            last_correlation_id: 0,
        }
    }

    /// One broker, and a topic "t" with so many partitions.
    pub fn with_topic(partitions: i32) -> Self {
        Self::with_brokers(1, partitions)
    }

    pub fn with_brokers(brokers: i32, partitions: i32) -> Self {
        let mut bench = Self::new(ClusterConfig {
            brokers,
            ..Default::default()
        });
        bench.cluster.create_topic("t", partitions).unwrap();
        bench
    }

    /// Sends a request on a connection; gives the reply and the correlation id it must carry.
    pub fn send<R: Request>(&mut self, conn: ConnId, request: &R, version: i16) -> (Reply, i32) {
        self.last_correlation_id += 1;
        let frame = request_frame(request, version, self.last_correlation_id);
        (
            self.cluster.handle(conn, frame, self.now_ms),
            self.last_correlation_id,
        )
    }

    /// Sends a request that is to be answered at once, and reads the answer.
    pub fn call_on<R: Request>(&mut self, conn: ConnId, request: &R, version: i16) -> R::Response {
        let (reply, correlation_id) = self.send(conn, request, version);
        let Reply::Answer(frame) = reply else {
            panic!("{} v{version}: {reply:?}", R::API)
        };
        read_answer::<R>(&frame, version, correlation_id)
    }

    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.call_on(0, request, version)
    }

    /// Moves the clock and collects what has become due.
    pub fn advance(&mut self, ms: u64) -> Vec<(ConnId, Output)> {
        self.now_ms += ms;
        self.cluster.poll(self.now_ms)
    }

    pub fn poll(&mut self) -> Vec<(ConnId, Output)> {
        self.advance(0)
    }

    /// Produces a batch to topic "t" at version 9 and gives the partition's answer.
    pub fn produce_to(&mut self, partition: i32, records: Bytes) -> PartitionProduceResponse {
        let answer = self.call(&produce(partition, records), 9);
        answer.responses[0].partition_responses[0].clone()
    }

    /// Produces one record a value to partition 0 of "t"; all must go well.
    pub fn fill(&mut self, values: &[&str]) {
        for value in values {
            assert_eq!(self.produce_to(0, batch(&[value])).error_code, 0);
        }
    }

    pub fn values(&self, partition: i32) -> Vec<String> {
        self.values_for(partition, IsolationLevel::ReadUncommitted)
    }

    /// The values that a reader of committed records sees.
    pub fn committed(&self, partition: i32) -> Vec<String> {
        self.values_for(partition, IsolationLevel::ReadCommitted)
    }

    /// The connection to the coordinator of a transactional id.
    pub fn txn_coordinator(&self, id: &str) -> ConnId {
        let broker = self
            .cluster
            .coordinator(CoordinatorKey::Transaction, id.as_bytes());
        broker as ConnId
    }

    fn values_for(&self, partition: i32, isolation: IsolationLevel) -> Vec<String> {
        let records = self
            .cluster
            .records_for(b"t", partition, isolation)
            .unwrap();
        let value = |value: Option<Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        records
            .into_iter()
            .map(|record| value(record.value))
            .collect()
    }
}

/// A Produce of one batch to a partition of topic "t", acks 1.
pub fn produce(partition: i32, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData {
        index: partition,
        records: Some(records.into()),
    };
    let topic = TopicProduceData {
        name: "t".into(),
        partition_data: vec![data],
        ..Default::default()
    };
    ProduceRequest {
        acks: 1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

pub const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

/// A batch of one record a value; record `n` has timestamp 1000 + `n`.
pub fn batch(values: &[&str]) -> Bytes {
    compressed_batch(values, Codec::None)
}

pub fn compressed_batch(values: &[&str], codec: Codec) -> Bytes {
    let timed: Vec<(i64, &str)> = (1000..).zip(values.iter().copied()).collect();
    sealed(&timed, codec)
}

pub fn batch_at(records: &[(i64, &str)]) -> Bytes {
    sealed(records, Codec::None)
}

/// Who writes a batch.
#[derive(Debug, Clone, Copy)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// A batch of an idempotent producer whose first record has this sequence.
pub fn stamped_batch(by: Producer, base_sequence: i32, values: &[&str]) -> Bytes {
    batch_by(by, base_sequence, values, false)
}

pub fn transactional_batch(by: Producer, base_sequence: i32, values: &[&str]) -> Bytes {
    batch_by(by, base_sequence, values, true)
}

fn batch_by(by: Producer, base_sequence: i32, values: &[&str], transactional: bool) -> Bytes {
    let timed: Vec<(i64, &str)> = (1000..).zip(values.iter().copied()).collect();
    let options = SealOptions {
        producer_id: by.id,
        producer_epoch: by.epoch,
        base_sequence,
        transactional,
        ..Default::default()
    };
    sealed_with(&timed, options)
}

fn sealed(records: &[(i64, &str)], codec: Codec) -> Bytes {
    let options = SealOptions {
        compression: codec.into(),
        ..Default::default()
    };
    sealed_with(records, options)
}

fn sealed_with(records: &[(i64, &str)], options: SealOptions) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (timestamp, value) in records {
        builder
            .append(*timestamp, None, Some(value.as_bytes()), NO_HEADERS)
            .unwrap();
    }
    builder.seal(options)
}

/// The same bytes with one of them changed.
pub fn tampered(bytes: &Bytes, at: usize, change: impl Fn(u8) -> u8) -> Bytes {
    let mut copy = BytesMut::from(&bytes[..]);
    copy[at] = change(copy[at]);
    copy.freeze()
}

/// As [`tampered`], with the checksum made to fit again.
pub fn forged(bytes: &Bytes, at: usize, change: impl Fn(u8) -> u8) -> Bytes {
    /// The checksum lies at 17 and covers everything behind itself.
    const CRC: std::ops::Range<usize> = 17..21;
    let mut copy = BytesMut::from(&tampered(bytes, at, change)[..]);
    let crc = kafka_wire::crc32c(&copy[CRC.end..]);
    copy[CRC].copy_from_slice(&crc.to_be_bytes());
    copy.freeze()
}

pub fn request_frame<R: Request>(request: &R, version: i16, correlation_id: i32) -> Bytes {
    let mut writer = Writer::new();
    let header = RequestHeader {
        api: R::API,
        version,
        correlation_id,
        client_id: Some("bench".into()),
    };
    header.encode(&mut writer).unwrap();
    request.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

/// Reads a whole answer frame, which must carry the correlation id and nothing behind its body.
pub fn read_answer<R: Request>(frame: &Bytes, version: i16, correlation_id: i32) -> R::Response {
    let length = i32::from_be_bytes(*frame.first_chunk().unwrap());
    assert_eq!(length as usize, frame.len() - 4, "length prefix");
    let (id, body) = strip_response_header(frame.slice(4..), R::API, version).unwrap();
    assert_eq!(id, correlation_id, "correlation id");
    let mut reader = Reader::new(body);
    let response = R::Response::decode(&mut reader, version).unwrap();
    assert_eq!(reader.remaining(), 0, "bytes behind the answer");
    response
}

/// The answer among what `poll` gave for a connection, which must be one.
pub fn only_answer(outputs: &[(ConnId, Output)], conn: ConnId) -> Bytes {
    let [(of, Output::Answer(frame))] = outputs else {
        panic!("{outputs:?}")
    };
    assert_eq!(*of, conn);
    frame.clone()
}

pub fn code(error: ErrorCode) -> i16 {
    error.code()
}

/// A producer with a transactional id, at the coordinator it finds.
pub struct TxnClient {
    pub id: &'static str,
    pub producer: Producer,
}

impl TxnClient {
    /// Gets an identity; an older holder's open transaction is aborted on the way.
    pub fn start(bench: &mut Bench, id: &'static str) -> Self {
        loop {
            let answer = init(bench, id, None);
            match answer.error_code {
                0 => {
                    let producer = Producer {
                        id: answer.producer_id,
                        epoch: answer.producer_epoch,
                    };
                    return Self { id, producer };
                }
                51 => {}
                code => panic!("InitProducerId: {code}"),
            }
        }
    }

    /// AddPartitionsToTxn of partitions of "t": the error codes.
    pub fn add(&self, bench: &mut Bench, partitions: &[i32]) -> Vec<i16> {
        let conn = bench.txn_coordinator(self.id);
        let answer = bench.call_on(conn, &self.adding(partitions), 3);
        let topics = answer.results_by_topic_v3_and_below;
        topics[0]
            .results_by_partition
            .iter()
            .map(|result| result.partition_error_code)
            .collect()
    }

    pub fn adding(&self, partitions: &[i32]) -> AddPartitionsToTxnRequest {
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.into(),
            v3_and_below_producer_id: self.producer.id,
            v3_and_below_producer_epoch: self.producer.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: "t".into(),
                partitions: partitions.to_vec(),
            }],
            ..Default::default()
        }
    }

    pub fn add_group(&self, bench: &mut Bench, group: &'static str) -> i16 {
        let request = AddOffsetsToTxnRequest {
            transactional_id: self.id.into(),
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            group_id: group.into(),
        };
        let conn = bench.txn_coordinator(self.id);
        bench.call_on(conn, &request, 3).error_code
    }

    /// A transactional Produce to "t", at its leader.
    pub fn write(&self, bench: &mut Bench, partition: i32, sequence: i32, values: &[&str]) -> i16 {
        self.write_at(bench, partition, sequence, values, 9)
    }

    pub fn write_at(
        &self,
        bench: &mut Bench,
        partition: i32,
        sequence: i32,
        values: &[&str],
        version: i16,
    ) -> i16 {
        let request = ProduceRequest {
            transactional_id: Some(self.id.into()),
            ..produce(
                partition,
                transactional_batch(self.producer, sequence, values),
            )
        };
        let leader = bench.cluster.leader(b"t", partition).unwrap() as ConnId;
        let answer = bench.call_on(leader, &request, version);
        answer.responses[0].partition_responses[0].error_code
    }

    /// TxnOffsetCommit of partition 0 of "t".
    pub fn commit_offset(&self, bench: &mut Bench, group: &'static str, offset: i64) -> i16 {
        let conn = bench
            .cluster
            .coordinator(CoordinatorKey::Group, group.as_bytes());
        let answer = bench.call_on(conn as ConnId, &self.storing(group, offset), 3);
        answer.topics[0].partitions[0].error_code
    }

    pub fn storing(&self, group: &'static str, offset: i64) -> TxnOffsetCommitRequest {
        TxnOffsetCommitRequest {
            transactional_id: self.id.into(),
            group_id: group.into(),
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: 0,
                    committed_offset: offset,
                    committed_metadata: Some("m".into()),
                    ..Default::default()
                }],
            }],
            ..Default::default()
        }
    }

    pub fn end(&self, bench: &mut Bench, committed: bool) -> i16 {
        let conn = bench.txn_coordinator(self.id);
        bench.call_on(conn, &self.ending(committed), 3).error_code
    }

    pub fn ending(&self, committed: bool) -> EndTxnRequest {
        EndTxnRequest {
            transactional_id: self.id.into(),
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            committed,
        }
    }
}

/// InitProducerId with a timeout of a minute.
pub fn init(
    bench: &mut Bench,
    id: &'static str,
    before: Option<Producer>,
) -> InitProducerIdResponse {
    let conn = bench.txn_coordinator(id);
    bench.call_on(conn, &initialising(id, before), 4)
}

pub fn initialising(id: &'static str, before: Option<Producer>) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: 60_000,
        producer_id: before.map_or(-1, |producer| producer.id),
        producer_epoch: before.map_or(-1, |producer| producer.epoch),
        ..Default::default()
    }
}
