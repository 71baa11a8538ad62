//! Moving partitions between brokers (KIP-455).

kafka_message! {
    /// Begins or cancels moves of partitions.
    request AlterPartitionReassignmentsRequest for AlterPartitionReassignments -> AlterPartitionReassignmentsResponse {
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "0+", default 60000;
        /// Whether the number of replicas may change.
        allow_replication_factor_change: bool, "1+", default true;
        /// The topics.
        topics: [ReassignableTopic], "0+";
    }

    /// A topic with partitions to move.
    part ReassignableTopic {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [ReassignablePartition], "0+";
    }

    /// A partition to move.
    part ReassignablePartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The replicas that it is to have; null to cancel a move.
        replicas: [int32], "0+", nullable "0+", default None;
    }

    /// What became of the moves.
    response AlterPartitionReassignmentsResponse for AlterPartitionReassignments {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// Whether the number of replicas may change.
        allow_replication_factor_change: bool, "1+", default true, ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// What became of each.
        responses: [ReassignableTopicResponse], "0+";
    }

    /// What became of a topic.
    part ReassignableTopicResponse {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [ReassignablePartitionResponse], "0+";
    }

    /// What became of a partition.
    part ReassignablePartitionResponse {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
    }
}
