//! Listing partitions on the move (KIP-455).

kafka_message! {
    /// Asks which partitions are being moved.
    request ListPartitionReassignmentsRequest for ListPartitionReassignments -> ListPartitionReassignmentsResponse {
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "0+", default 60000;
        /// The topics; null for all.
        topics: [ListPartitionReassignmentsTopics], "0+", nullable "0+", default None;
    }

    /// Partitions of a topic to tell of.
    part ListPartitionReassignmentsTopics {
        /// The name.
        name: string, "0+";
        /// The numbers of the partitions.
        partition_indexes: [int32], "0+";
    }

    /// The partitions on the move.
    response ListPartitionReassignmentsResponse for ListPartitionReassignments {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// The topics.
        topics: [OngoingTopicReassignment], "0+";
    }

    /// A topic.
    part OngoingTopicReassignment {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [OngoingPartitionReassignment], "0+";
    }

    /// A partition on the move.
    part OngoingPartitionReassignment {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The replicas.
        replicas: [int32], "0+";
        /// Those that are being added.
        adding_replicas: [int32], "0+";
        /// Those that are being removed.
        removing_replicas: [int32], "0+";
    }
}
