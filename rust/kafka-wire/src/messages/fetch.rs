//! Reading record batches from partitions.

kafka_message! {
    /// Reads record batches from given offsets on.
    request FetchRequest for Fetch -> FetchResponse {
        /// The id of the cluster.
        cluster_id: string, "12+", nullable "12+", default None, tag 0, ignorable true;
        /// The broker that asks; -1 for a client.
        replica_id: int32, "0-14", default -1;
        /// The broker that asks, if one does.
        replica_state: ReplicaState, "15+", tag 1;
        /// How long the broker may wait for min_bytes, in milliseconds.
        max_wait_ms: int32, "0+";
        /// How many bytes the broker waits for.
        min_bytes: int32, "0+";
        /// How many bytes the answer may have, the first batch excepted.
        max_bytes: int32, "3+", default i32::MAX, ignorable true;
        /// 0 read_uncommitted, 1 read_committed.
        isolation_level: int8, "4+", ignorable true;
        /// The fetch session (KIP-227); 0 for none.
        session_id: int32, "7+", ignorable true;
        /// The epoch of the fetch session (KIP-227); -1 for none.
        session_epoch: int32, "7+", default -1, ignorable true;
        /// The topics to fetch.
        topics: [FetchTopic], "0+";
        /// What to remove from the fetch session (KIP-227).
        forgotten_topics_data: [ForgottenTopic], "7+";
        /// The rack of the client (KIP-392).
        rack_id: string, "11+", ignorable true;
    }

    /// The broker that asks.
    part ReplicaState {
        /// The broker that asks; -1 for a client.
        replica_id: int32, "15+", default -1;
        /// The epoch of the broker that asks; -1 for a client.
        replica_epoch: int64, "15+", default -1;
    }

    /// What to fetch of a topic.
    part FetchTopic {
        /// The name of the topic.
        topic: string, "0-12", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "13+", ignorable true;
        /// The partitions to fetch.
        partitions: [FetchPartition], "0+";
    }

    /// What to fetch of a partition.
    part FetchPartition {
        /// The number of the partition.
        partition: int32, "0+";
        /// The epoch of the leader that we know of (KIP-320); -1 when unknown.
        current_leader_epoch: int32, "9+", default -1, ignorable true;
        /// The offset to start at.
        fetch_offset: int64, "0+";
        /// The epoch of the last record fetched (KIP-595); -1 when unknown.
        last_fetched_epoch: int32, "12+", default -1;
        /// A follower's own log start offset; -1 for a client.
        log_start_offset: int64, "5+", default -1, ignorable true;
        /// How many bytes to return of this partition, the first batch excepted.
        partition_max_bytes: int32, "0+";
        /// A follower's log directory.
        replica_directory_id: uuid, "17+", tag 0, ignorable true;
        /// A follower's own high watermark.
        high_watermark: int64, "18+", default i64::MAX, tag 1, ignorable true;
    }

    /// A topic to remove from the fetch session.
    part ForgottenTopic {
        /// The name of the topic.
        topic: string, "7-12", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "13+", ignorable true;
        /// The partitions to remove.
        partitions: [int32], "7+";
    }

    /// Record batches.
    response FetchResponse for Fetch {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// 0, or what went wrong with the request as a whole.
        error_code: int16, "7+", ignorable true;
        /// The fetch session (KIP-227); 0 for none.
        session_id: int32, "7+";
        /// The topics.
        responses: [FetchableTopicResponse], "0+";
        /// Where the brokers named as current leaders listen (KIP-951).
        node_endpoints: [NodeEndpoint], "16+", tag 0;
    }

    /// What was fetched of a topic.
    part FetchableTopicResponse, partial partitions {
        /// The name of the topic.
        topic: string, "0-12", ignorable true;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "13+", ignorable true;
        /// Its partitions.
        partitions: [PartitionData], "0+";
    }

    /// What was fetched of a partition.
    part PartitionData {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The offset after the last record that all in-sync replicas have.
        high_watermark: int64, "0+";
        /// The offset before which every transaction has ended; -1 when unknown.
        last_stable_offset: int64, "4+", default -1, ignorable true;
        /// The first offset that the partition still has; -1 when unknown.
        log_start_offset: int64, "5+", default -1, ignorable true;
        /// Where a follower's log diverges (KIP-595).
        diverging_epoch: EpochEndOffset, "12+", tag 0;
        /// Who leads the partition, when the broker asked does not (KIP-951).
        current_leader: LeaderIdAndEpoch, "12+", tag 1;
        /// The snapshot to fetch instead (KIP-630).
        snapshot_id: SnapshotId, "12+", tag 2;
        /// The aborted transactions among the records, under read_committed only.
        aborted_transactions: [AbortedTransaction], "4+", nullable "4+", ignorable true;
        /// The broker to fetch from instead (KIP-392); -1 for none.
        preferred_read_replica: int32, "11+", default -1;
        /// Record batches. The first may start before the offset asked for, the last may be cut off.
        records: records, "0+", nullable "0+";
    }

    /// Where an epoch ends.
    part EpochEndOffset {
        /// The epoch.
        epoch: int32, "12+", default -1;
        /// The offset after the last of the epoch.
        end_offset: int64, "12+", default -1;
    }

    /// A leader and its epoch.
    part LeaderIdAndEpoch {
        /// The id of the leader; -1 when there is none.
        leader_id: int32, "12+", default -1;
        /// The epoch of the leader; -1 when unknown.
        leader_epoch: int32, "12+", default -1;
    }

    /// A snapshot's name.
    part SnapshotId {
        /// The offset after the last of the epoch.
        end_offset: int64, "0+", default -1;
        /// The epoch.
        epoch: int32, "0+", default -1;
    }

    /// A transaction that was aborted.
    part AbortedTransaction {
        /// The producer id.
        producer_id: int64, "4+";
        /// The offset of the first record in the aborted transaction.
        first_offset: int64, "4+";
    }

    /// Where a broker listens.
    part NodeEndpoint {
        /// The id of the broker.
        node_id: int32, "16+";
        /// Where it listens: host.
        host: string, "16+";
        /// Where it listens: port.
        port: int32, "16+";
        /// The rack it stands in, if it was told.
        rack: string, "16+", nullable "16+", default None;
    }
}
