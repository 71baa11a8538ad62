//! Deleting a group's positions (KIP-496).

kafka_message! {
    /// Deletes a group's stored positions.
    request OffsetDeleteRequest for OffsetDelete -> OffsetDeleteResponse {
        /// The name of the group.
        group_id: string, "0+";
        /// The topics.
        topics: [OffsetDeleteRequestTopic], "0+";
    }

    /// A topic with positions to delete.
    part OffsetDeleteRequestTopic {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [OffsetDeleteRequestPartition], "0+";
    }

    /// A partition whose position to delete.
    part OffsetDeleteRequestPartition {
        /// The number of the partition.
        partition_index: int32, "0+";
    }

    /// What became of the positions.
    response OffsetDeleteResponse for OffsetDelete {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+", ignorable true;
        /// The topics.
        topics: [OffsetDeleteResponseTopic], "0+";
    }

    /// What became of a topic.
    part OffsetDeleteResponseTopic {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [OffsetDeleteResponsePartition], "0+";
    }

    /// What became of a partition.
    part OffsetDeleteResponsePartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
    }
}
