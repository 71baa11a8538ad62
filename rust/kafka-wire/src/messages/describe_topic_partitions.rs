//! Describing topics, a page at a time (KIP-966).

kafka_message! {
    /// Asks for the partitions of topics.
    request DescribeTopicPartitionsRequest for DescribeTopicPartitions -> DescribeTopicPartitionsResponse {
        /// The topics.
        topics: [TopicRequest], "0+";
        /// How many partitions the answer may have.
        response_partition_limit: int32, "0+", default 2000;
        /// Where to go on; null to begin.
        cursor: Cursor, "0+", nullable "0+", default None;
    }

    /// A topic to tell of.
    part TopicRequest {
        /// The name.
        name: string, "0+";
    }

    /// A place among topics and partitions.
    part Cursor {
        /// The name of the topic.
        topic_name: string, "0+";
        /// The partition to go on with.
        partition_index: int32, "0+";
    }

    /// The topics, as far as this page goes.
    response DescribeTopicPartitionsResponse for DescribeTopicPartitions {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+", ignorable true;
        /// The topics.
        topics: [DescribeTopicPartitionsResponseTopic], "0+";
        /// Where the next request goes on; null when this was all.
        next_cursor: Cursor, "0+", nullable "0+", default None;
    }

    /// A topic.
    part DescribeTopicPartitionsResponseTopic {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The name.
        name: string, "0+", nullable "0+";
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+", ignorable true;
        /// Whether it is one of Kafka's own topics.
        is_internal: bool, "0+", ignorable true;
        /// The partitions.
        partitions: [DescribeTopicPartitionsResponsePartition], "0+";
        /// What the client may do with the topic, as a bit field (KIP-430); the smallest number when not asked for.
        topic_authorized_operations: int32, "0+", default i32::MIN;
    }

    /// A partition.
    part DescribeTopicPartitionsResponsePartition {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The leader; -1 when there is none.
        leader_id: int32, "0+";
        /// The epoch of the leader; -1 when unknown.
        leader_epoch: int32, "0+", default -1, ignorable true;
        /// The brokers that hold the partition.
        replica_nodes: [int32], "0+";
        /// Those of them that are in sync.
        isr_nodes: [int32], "0+";
        /// Replicas out of sync that may still lead without loss (KIP-966).
        eligible_leader_replicas: [int32], "0+", nullable "0+", default None;
        /// Those that were the last ones that might.
        last_known_elr: [int32], "0+", nullable "0+", default None;
        /// Replicas that are offline.
        offline_replicas: [int32], "0+", ignorable true;
    }
}
