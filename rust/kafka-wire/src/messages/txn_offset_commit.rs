//! Storing a group's positions as part of a transaction.

kafka_message! {
    /// Stores positions as part of a transaction.
    request TxnOffsetCommitRequest for TxnOffsetCommit -> TxnOffsetCommitResponse {
        /// The transactional id.
        transactional_id: string, "0+";
        /// The group.
        group_id: string, "0+";
        /// The producer id.
        producer_id: int64, "0+";
        /// The producer epoch.
        producer_epoch: int16, "0+";
        /// The generation of the group.
        generation_id: int32, "3+", default -1;
        /// The member; empty for one that is new.
        member_id: string, "3+";
        /// The static member's name (KIP-345); null for a dynamic member.
        group_instance_id: string, "3+", nullable "3+", default None;
        /// The topics.
        topics: [TxnOffsetCommitRequestTopic], "0+";
    }

    /// Positions in a topic.
    part TxnOffsetCommitRequestTopic {
        /// The name of the topic.
        name: string, "0+";
        /// Its partitions.
        partitions: [TxnOffsetCommitRequestPartition], "0+";
    }

    /// The position in a partition.
    part TxnOffsetCommitRequestPartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The position: the offset of the next record to read.
        committed_offset: int64, "0+";
        /// The leader epoch of the last record read; -1 when unknown.
        committed_leader_epoch: int32, "2+", default -1, ignorable true;
        /// Anything the client wants to keep beside it.
        committed_metadata: string, "0+", nullable "0+";
    }

    /// What became of the positions.
    response TxnOffsetCommitResponse for TxnOffsetCommit {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// The topics.
        topics: [TxnOffsetCommitResponseTopic], "0+";
    }

    /// What became of a topic's positions.
    part TxnOffsetCommitResponseTopic, partial partitions {
        /// The name of the topic.
        name: string, "0+";
        /// Its partitions.
        partitions: [TxnOffsetCommitResponsePartition], "0+";
    }

    /// What became of a partition's position.
    part TxnOffsetCommitResponsePartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
    }
}
