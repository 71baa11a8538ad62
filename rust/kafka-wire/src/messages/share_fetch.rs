//! Acquiring records of a share group, and settling those that were acquired (KIP-932).

kafka_message! {
    /// Acquires records, and says what became of those acquired before.
    request ShareFetchRequest for ShareFetch -> ShareFetchResponse {
        /// The group.
        group_id: string, "0+", nullable "0+", default None;
        /// The member.
        member_id: string, "0+", nullable "0+";
        /// The epoch of the share session; 0 opens one, -1 closes it.
        share_session_epoch: int32, "0+";
        /// How long the broker may wait for min_bytes, in milliseconds.
        max_wait_ms: int32, "0+";
        /// How many bytes the broker waits for.
        min_bytes: int32, "0+";
        /// How many bytes the answer may have, the first batch excepted.
        max_bytes: int32, "0+", default i32::MAX;
        /// How many records are wanted; whole batches may be more.
        max_records: int32, "1+";
        /// How many records are to be acquired, and settled, together.
        batch_size: int32, "1+";
        /// 0 batches may exceed max_records, 1 they may not (KIP-1206).
        share_acquire_mode: int8, "2+", ignorable true;
        /// Some locks are to be renewed (KIP-1222).
        is_renew_ack: bool, "2+";
        /// The topics that are new to the session, or that there is something to say of.
        topics: [FetchTopic], "0+";
        /// What to remove from the session.
        forgotten_topics_data: [ForgottenTopic], "0+";
    }

    /// A topic.
    part FetchTopic {
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// Its partitions.
        partitions: [FetchPartition], "0+";
    }

    /// A partition.
    part FetchPartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// What became of records, in the order of their offsets.
        acknowledgement_batches: [AcknowledgementBatch], "0+";
    }

    /// What became of records that follow each other.
    part AcknowledgementBatch {
        /// The offset of the first.
        first_offset: int64, "0+";
        /// The offset of the last.
        last_offset: int64, "0+";
        /// For all of them, or for each: 0 there is none, 1 accepted, 2 released, 3 rejected, 4 renewed.
        acknowledge_types: [int8], "0+";
    }

    /// A topic to remove from the session.
    part ForgottenTopic {
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// The partitions to remove.
        partitions: [int32], "0+";
    }

    /// Records that were acquired, and whether others were settled.
    response ShareFetchResponse for ShareFetch {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong with the request as a whole.
        error_code: int16, "0+";
        /// What went wrong, in words.
        error_message: string, "0+", nullable "0+", default None;
        /// For how long the records are locked, in milliseconds.
        acquisition_lock_timeout_ms: int32, "1+";
        /// The topics.
        responses: [ShareFetchableTopicResponse], "0+";
        /// Where the brokers named as current leaders listen.
        node_endpoints: [NodeEndpoint], "0+";
    }

    /// What came of a topic.
    part ShareFetchableTopicResponse, partial partitions {
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// Its partitions.
        partitions: [PartitionData], "0+";
    }

    /// What came of a partition.
    part PartitionData {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or why nothing was acquired.
        error_code: int16, "0+";
        /// The same in words.
        error_message: string, "0+", nullable "0+", default None;
        /// 0, or why nothing was settled.
        acknowledge_error_code: int16, "0+";
        /// The same in words.
        acknowledge_error_message: string, "0+", nullable "0+", default None;
        /// Who leads the partition, when the broker asked does not.
        current_leader: LeaderIdAndEpoch, "0+";
        /// Record batches, which may have more than what was acquired. The last may be cut off.
        records: records, "0+", nullable "0";
        /// What was acquired.
        acquired_records: [AcquiredRecords], "0+";
    }

    /// A leader and its epoch.
    part LeaderIdAndEpoch {
        /// The id of the leader; -1 when there is none.
        leader_id: int32, "0+";
        /// The epoch of the leader.
        leader_epoch: int32, "0+";
    }

    /// Records that follow each other.
    part AcquiredRecords {
        /// The offset of the first.
        first_offset: int64, "0+";
        /// The offset of the last.
        last_offset: int64, "0+";
        /// How often they were delivered by now.
        delivery_count: int16, "0+";
    }

    /// Where a broker listens.
    part NodeEndpoint {
        /// The id of the broker.
        node_id: int32, "0+";
        /// Where it listens: host.
        host: string, "0+";
        /// Where it listens: port.
        port: int32, "0+";
        /// The rack it stands in, if it was told.
        rack: string, "0+", nullable "0+", default None;
    }
}
