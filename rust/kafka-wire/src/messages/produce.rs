//! Appending record batches to partitions.

mod single;

pub use single::{SingleAnswer, SinglePartition};

kafka_message! {
    /// Appends record batches.
    request ProduceRequest for Produce -> ProduceResponse {
        /// The transactional id; null outside a transaction.
        transactional_id: string, "3+", nullable "3+", default None;
        /// How many replicas must have it before the broker answers: -1 all in sync, 1 the leader, 0 no answer at
        /// all.
        acks: int16, "0+";
        /// How long the broker may wait for the replicas, in milliseconds.
        timeout_ms: int32, "0+";
        /// The topics.
        topic_data: [TopicProduceData], "0+";
    }

    /// Batches for a topic.
    part TopicProduceData {
        /// The name of the topic.
        name: string, "0-12", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "13+", ignorable true;
        /// The partitions.
        partition_data: [PartitionProduceData], "0+";
    }

    /// The batch for a partition.
    part PartitionProduceData {
        /// The number of the partition.
        index: int32, "0+";
        /// One record batch.
        records: pieces, "0+", nullable "0+";
    }

    /// What became of the batches.
    response ProduceResponse for Produce {
        /// The topics.
        responses: [TopicProduceResponse], "0+";
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// Where the brokers named as current leaders listen (KIP-951).
        node_endpoints: [NodeEndpoint], "10+", tag 0;
    }

    /// What became of a topic's batches.
    part TopicProduceResponse, partial partition_responses {
        /// The name of the topic.
        name: string, "0-12", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "13+", ignorable true;
        /// The partitions.
        partition_responses: [PartitionProduceResponse], "0+";
    }

    /// What became of a partition's batch.
    part PartitionProduceResponse {
        /// The number of the partition.
        index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The offset of the batch's first record.
        base_offset: int64, "0+";
        /// When the broker appended it, in milliseconds since the epoch; -1 unless the topic uses LogAppendTime.
        log_append_time_ms: int64, "2+", default -1, ignorable true;
        /// The first offset that the partition still has; -1 when unknown.
        log_start_offset: int64, "5+", default -1, ignorable true;
        /// Which records made the broker refuse the batch (KIP-467).
        record_errors: [BatchIndexAndErrorMessage], "8+", ignorable true;
        /// What went wrong in words, if the broker says.
        error_message: string, "8+", nullable "8+", default None, ignorable true;
        /// Who leads the partition, when the broker asked does not (KIP-951).
        current_leader: LeaderIdAndEpoch, "10+", tag 0;
    }

    /// A record that was refused.
    part BatchIndexAndErrorMessage {
        /// The record's index in the batch.
        batch_index: int32, "8+";
        /// What is wrong with it.
        batch_index_error_message: string, "8+", nullable "8+", default None;
    }

    /// A leader and its epoch.
    part LeaderIdAndEpoch {
        /// The id of the leader; -1 when there is none.
        leader_id: int32, "10+", default -1;
        /// The epoch of the leader; -1 when unknown.
        leader_epoch: int32, "10+", default -1;
    }

    /// Where a broker listens.
    part NodeEndpoint {
        /// The id of the broker.
        node_id: int32, "10+";
        /// Where it listens: host.
        host: string, "10+";
        /// Where it listens: port.
        port: int32, "10+";
        /// The rack it stands in, if it was told.
        rack: string, "10+", nullable "10+", default None;
    }
}
