//! Reading a group's stored positions.

kafka_message! {
    /// Reads stored positions. One group up to version 7, any number from 8 on (KIP-709).
    request OffsetFetchRequest for OffsetFetch -> OffsetFetchResponse {
        /// The group.
        group_id: string, "0-7";
        /// The topics; null for all that have an offset.
        topics: [OffsetFetchRequestTopic], "0-7", nullable "2-7";
        /// The groups (KIP-709).
        groups: [OffsetFetchRequestGroup], "8+";
        /// Whether to refuse offsets of transactions that have not ended (KIP-447).
        require_stable: bool, "7+";
    }

    /// What to read of a topic.
    part OffsetFetchRequestTopic {
        /// The name of the topic.
        name: string, "0-7";
        /// The partitions.
        partition_indexes: [int32], "0-7";
    }

    /// What to read of a group.
    part OffsetFetchRequestGroup {
        /// The group.
        group_id: string, "8+";
        /// The member; empty for one that is new.
        member_id: string, "9+", nullable "9+", default None, ignorable true;
        /// The member's epoch (KIP-848); -1 for none.
        member_epoch: int32, "9+", default -1, ignorable true;
        /// The topics; null for all that have an offset.
        topics: [OffsetFetchRequestTopics], "8+", nullable "8+";
    }

    /// What to read of a topic.
    part OffsetFetchRequestTopics {
        /// The name of the topic.
        name: string, "8-9", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "10+", ignorable true;
        /// The partitions.
        partition_indexes: [int32], "8+";
    }

    /// The stored positions.
    response OffsetFetchResponse for OffsetFetch {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "3+", ignorable true;
        /// The topics.
        topics: [OffsetFetchResponseTopic], "0-7";
        /// 0, or what went wrong.
        error_code: int16, "2-7", ignorable true;
        /// The groups (KIP-709).
        groups: [OffsetFetchResponseGroup], "8+";
    }

    /// The positions in a topic.
    part OffsetFetchResponseTopic, partial partitions {
        /// The name of the topic.
        name: string, "0-7";
        /// Its partitions.
        partitions: [OffsetFetchResponsePartition], "0-7";
    }

    /// The position in a partition.
    part OffsetFetchResponsePartition {
        /// The number of the partition.
        partition_index: int32, "0-7";
        /// The position; -1 when there is none.
        committed_offset: int64, "0-7";
        /// The leader epoch of the last record read; -1 when unknown.
        committed_leader_epoch: int32, "5-7", default -1, ignorable true;
        /// What the client kept beside it.
        metadata: string, "0-7", nullable "0-7";
        /// 0, or what went wrong.
        error_code: int16, "0-7";
    }

    /// The positions of a group.
    part OffsetFetchResponseGroup, partial topics {
        /// The group.
        group_id: string, "8+";
        /// The topics.
        topics: [OffsetFetchResponseTopics], "8+";
        /// 0, or what went wrong.
        error_code: int16, "8+";
    }

    /// The positions in a topic.
    part OffsetFetchResponseTopics, partial partitions {
        /// The name of the topic.
        name: string, "8-9", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "10+", ignorable true;
        /// Its partitions.
        partitions: [OffsetFetchResponsePartitions], "8+";
    }

    /// The position in a partition.
    part OffsetFetchResponsePartitions {
        /// The number of the partition.
        partition_index: int32, "8+";
        /// The position; -1 when there is none.
        committed_offset: int64, "8+";
        /// The leader epoch of the last record read; -1 when unknown.
        committed_leader_epoch: int32, "8+", default -1, ignorable true;
        /// What the client kept beside it.
        metadata: string, "8+", nullable "8+";
        /// 0, or what went wrong.
        error_code: int16, "8+";
    }
}
