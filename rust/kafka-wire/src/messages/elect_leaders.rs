//! Electing leaders (KIP-183, KIP-460).

kafka_message! {
    /// Elects leaders.
    request ElectLeadersRequest for ElectLeaders -> ElectLeadersResponse {
        /// 0 elects the preferred leader, 1 any replica, even one that is not in sync (KIP-460).
        election_type: int8, "1+";
        /// The partitions, by topic; null for all.
        topic_partitions: [TopicPartitions], "0+", nullable "0+";
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "0+", default 60000;
    }

    /// Partitions of a topic.
    part TopicPartitions {
        /// The name of the topic.
        topic: string, "0+";
        /// The partitions.
        partitions: [int32], "0+";
    }

    /// What became of the partitions.
    response ElectLeadersResponse for ElectLeaders {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "1+";
        /// What became of each topic.
        replica_election_results: [ReplicaElectionResult], "0+";
    }

    /// What became of a topic.
    part ReplicaElectionResult {
        /// The name of the topic.
        topic: string, "0+";
        /// What became of each partition.
        partition_result: [PartitionResult], "0+";
    }

    /// What became of a partition.
    part PartitionResult {
        /// The number of the partition.
        partition_id: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
    }
}
