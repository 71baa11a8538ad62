//! Settling records of a share group without acquiring others (KIP-932).

kafka_message! {
    /// Says what became of records.
    request ShareAcknowledgeRequest for ShareAcknowledge -> ShareAcknowledgeResponse {
        /// The group.
        group_id: string, "0+", nullable "0+", default None;
        /// The member.
        member_id: string, "0+", nullable "0+";
        /// The epoch of the share session; -1 closes it.
        share_session_epoch: int32, "0+";
        /// Some locks are to be renewed (KIP-1222).
        is_renew_ack: bool, "2+";
        /// The topics.
        topics: [AcknowledgeTopic], "0+";
    }

    /// A topic.
    part AcknowledgeTopic {
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// Its partitions.
        partitions: [AcknowledgePartition], "0+";
    }

    /// A partition.
    part AcknowledgePartition {
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

    /// Whether they were settled.
    response ShareAcknowledgeResponse for ShareAcknowledge {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong with the request as a whole.
        error_code: int16, "0+";
        /// What went wrong, in words.
        error_message: string, "0+", nullable "0+", default None;
        /// For how long the records are locked, in milliseconds.
        acquisition_lock_timeout_ms: int32, "2+", ignorable true;
        /// The topics.
        responses: [ShareAcknowledgeTopicResponse], "0+";
        /// Where the brokers named as current leaders listen.
        node_endpoints: [NodeEndpoint], "0+";
    }

    /// What became of a topic's.
    part ShareAcknowledgeTopicResponse {
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// Its partitions.
        partitions: [PartitionData], "0+";
    }

    /// What became of a partition's.
    part PartitionData {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The same in words.
        error_message: string, "0+", nullable "0+", default None;
        /// Who leads the partition, when the broker asked does not.
        current_leader: LeaderIdAndEpoch, "0+";
    }

    /// A leader and its epoch.
    part LeaderIdAndEpoch {
        /// The id of the leader; -1 when there is none.
        leader_id: int32, "0+";
        /// The epoch of the leader.
        leader_epoch: int32, "0+";
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
