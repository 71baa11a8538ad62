//! Storing a group's positions.

kafka_message! {
    /// Stores positions.
    request OffsetCommitRequest for OffsetCommit -> OffsetCommitResponse {
        /// The group.
        group_id: string, "0+";
        /// The generation, or the member's epoch (KIP-848); -1 outside a group.
        generation_id_or_member_epoch: int32, "1+", default -1, ignorable true;
        /// The member; empty for one that is new.
        member_id: string, "1+", ignorable true;
        /// The static member's name (KIP-345); null for a dynamic member.
        group_instance_id: string, "7+", nullable "7+", default None;
        /// How long to keep the offset, in milliseconds; -1 for the broker's default.
        retention_time_ms: int64, "2-4", default -1, ignorable true;
        /// The topics.
        topics: [OffsetCommitRequestTopic], "0+";
    }

    /// Positions in a topic.
    part OffsetCommitRequestTopic {
        /// The name of the topic.
        name: string, "0-9", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "10+", ignorable true;
        /// Its partitions.
        partitions: [OffsetCommitRequestPartition], "0+";
    }

    /// The position in a partition.
    part OffsetCommitRequestPartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The position: the offset of the next record to read.
        committed_offset: int64, "0+";
        /// The leader epoch of the last record read; -1 when unknown.
        committed_leader_epoch: int32, "6+", default -1, ignorable true;
        /// Anything the client wants to keep beside it.
        committed_metadata: string, "0+", nullable "0+";
    }

    /// What became of the positions.
    response OffsetCommitResponse for OffsetCommit {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "3+", ignorable true;
        /// The topics.
        topics: [OffsetCommitResponseTopic], "0+";
    }

    /// What became of a topic's positions.
    part OffsetCommitResponseTopic, partial partitions {
        /// The name of the topic.
        name: string, "0-9", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "10+", ignorable true;
        /// Its partitions.
        partitions: [OffsetCommitResponsePartition], "0+";
    }

    /// What became of a partition's position.
    part OffsetCommitResponsePartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
    }
}
