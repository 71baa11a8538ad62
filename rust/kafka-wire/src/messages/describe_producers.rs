//! Describing the producers of partitions (KIP-664).

kafka_message! {
    /// Asks leaders for the producers that they remember.
    request DescribeProducersRequest for DescribeProducers -> DescribeProducersResponse {
        /// The topics.
        topics: [TopicRequest], "0+";
    }

    /// Partitions of a topic to tell of.
    part TopicRequest {
        /// The name.
        name: string, "0+";
        /// The numbers of the partitions.
        partition_indexes: [int32], "0+";
    }

    /// The producers.
    response DescribeProducersResponse for DescribeProducers {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// The topics.
        topics: [TopicResponse], "0+";
    }

    /// A topic.
    part TopicResponse {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [PartitionResponse], "0+";
    }

    /// A partition and its producers.
    part PartitionResponse {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+", default None;
        /// The producers that the leader remembers.
        active_producers: [ProducerState], "0+";
    }

    /// What is remembered of a producer.
    part ProducerState {
        /// The id of the producer.
        producer_id: int64, "0+";
        /// The epoch of the producer.
        producer_epoch: int32, "0+";
        /// The last sequence number; -1 when there was none.
        last_sequence: int32, "0+", default -1;
        /// The timestamp of its last batch; -1 when there was none.
        last_timestamp: int64, "0+", default -1;
        /// The epoch of the coordinator that has written its last marker.
        coordinator_epoch: int32, "0+";
        /// Where its open transaction begins; -1 when none is open.
        current_txn_start_offset: int64, "0+", default -1;
    }
}
