//! Adding partitions to topics (KIP-195).

kafka_message! {
    /// Adds partitions to topics.
    request CreatePartitionsRequest for CreatePartitions -> CreatePartitionsResponse {
        /// The topics.
        topics: [CreatePartitionsTopic], "0+";
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "0+";
        /// Whether only to check what would happen.
        validate_only: bool, "0+";
    }

    /// A topic that is to have more partitions.
    part CreatePartitionsTopic {
        /// The name.
        name: string, "0+";
        /// How many partitions the topic is to have in all.
        count: int32, "0+";
        /// Replicas chosen by hand for each new partition; null to let the broker choose.
        assignments: [CreatePartitionsAssignment], "0+", nullable "0+";
    }

    /// The replicas of one new partition.
    part CreatePartitionsAssignment {
        /// The brokers that are to hold the partition, the preferred leader first.
        broker_ids: [int32], "0+";
    }

    /// What became of the topics.
    response CreatePartitionsResponse for CreatePartitions {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// What became of each.
        results: [CreatePartitionsTopicResult], "0+";
    }

    /// What became of a topic.
    part CreatePartitionsTopicResult {
        /// The name.
        name: string, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+", default None;
    }
}
