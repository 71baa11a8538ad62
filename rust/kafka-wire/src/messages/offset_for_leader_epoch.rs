//! Finding where a leader epoch ends, and so where a log that was read diverges from the leader's (KIP-320).

kafka_message! {
    /// Asks for the end offsets of leader epochs.
    request OffsetForLeaderEpochRequest for OffsetForLeaderEpoch -> OffsetForLeaderEpochResponse {
        /// The broker that asks; -1 for a client, -2 for one that may see beyond the high watermark.
        replica_id: int32, "3+", default -2, ignorable true;
        /// The topics.
        topics: [OffsetForLeaderTopic], "0+";
    }

    /// What to find in a topic.
    part OffsetForLeaderTopic {
        /// The name of the topic.
        topic: string, "0+";
        /// Its partitions.
        partitions: [OffsetForLeaderPartition], "0+";
    }

    /// What to find in a partition.
    part OffsetForLeaderPartition {
        /// The number of the partition.
        partition: int32, "0+";
        /// The epoch of the leader that we know of; -1 when unknown.
        current_leader_epoch: int32, "2+", default -1, ignorable true;
        /// The epoch whose end is wanted.
        leader_epoch: int32, "0+";
    }

    /// The end offsets.
    response OffsetForLeaderEpochResponse for OffsetForLeaderEpoch {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "2+", ignorable true;
        /// The topics.
        topics: [OffsetForLeaderTopicResult], "0+";
    }

    /// What was found in a topic.
    part OffsetForLeaderTopicResult, partial partitions {
        /// The name of the topic.
        topic: string, "0+";
        /// Its partitions.
        partitions: [EpochEndOffset], "0+";
    }

    /// What was found in a partition.
    part EpochEndOffset {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The number of the partition.
        partition: int32, "0+";
        /// The largest epoch up to the one asked for that the leader has records of; -1 for none.
        leader_epoch: int32, "1+", default -1, ignorable true;
        /// The offset after the last record of that epoch; -1 for none.
        end_offset: int64, "0+", default -1;
    }
}
