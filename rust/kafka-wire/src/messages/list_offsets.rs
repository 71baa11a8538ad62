//! Finding offsets: the ends of partitions, and by timestamp.

kafka_message! {
    /// Finds offsets by timestamp, or the ends of partitions.
    request ListOffsetsRequest for ListOffsets -> ListOffsetsResponse {
        /// The broker that asks; -1 for a client.
        replica_id: int32, "0+";
        /// 0 read_uncommitted, 1 read_committed.
        isolation_level: int8, "2+";
        /// The topics.
        topics: [ListOffsetsTopic], "0+";
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "10+", ignorable true;
    }

    /// What to find in a topic.
    part ListOffsetsTopic {
        /// The name of the topic.
        name: string, "0+";
        /// Its partitions.
        partitions: [ListOffsetsPartition], "0+";
    }

    /// What to find in a partition.
    part ListOffsetsPartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The epoch of the leader that we know of (KIP-320); -1 when unknown.
        current_leader_epoch: int32, "4+", default -1, ignorable true;
        /// Finds the first record at or after this time, in milliseconds since the epoch; -1 latest, -2 earliest, -3
        /// the record with the largest timestamp.
        timestamp: int64, "0+";
    }

    /// The offsets found.
    response ListOffsetsResponse for ListOffsets {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "2+", ignorable true;
        /// The topics.
        topics: [ListOffsetsTopicResponse], "0+";
    }

    /// What was found in a topic.
    part ListOffsetsTopicResponse, partial partitions {
        /// The name of the topic.
        name: string, "0+";
        /// Its partitions.
        partitions: [ListOffsetsPartitionResponse], "0+";
    }

    /// What was found in a partition.
    part ListOffsetsPartitionResponse {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The timestamp of the record found; -1 when none was or none was asked for.
        timestamp: int64, "1+", default -1;
        /// The offset found; -1 when there is none.
        offset: int64, "1+", default -1;
        /// The epoch of the leader; -1 when unknown.
        leader_epoch: int32, "4+", default -1;
    }
}
