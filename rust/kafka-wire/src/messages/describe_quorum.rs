//! Describing the quorum of controllers (KIP-595, KIP-836).

kafka_message! {
    /// Asks who votes in the quorum.
    request DescribeQuorumRequest for DescribeQuorum -> DescribeQuorumResponse {
        /// The topics.
        topics: [TopicData], "0+";
    }

    /// A topic to tell of.
    part TopicData {
        /// The name of the topic.
        topic_name: string, "0+";
        /// The partitions.
        partitions: [PartitionData], "0+";
    }

    /// A partition to tell of.
    part PartitionData {
        /// The number of the partition.
        partition_index: int32, "0+";
    }

    /// The quorum.
    response DescribeQuorumResponse for DescribeQuorum {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "2+", nullable "2+", ignorable true;
        /// The topics.
        topics: [TopicDataResponse], "0+";
        /// The nodes and their addresses.
        nodes: [Node], "2+";
    }

    /// A topic.
    part TopicDataResponse {
        /// The name of the topic.
        topic_name: string, "0+";
        /// The partitions.
        partitions: [PartitionDataResponse], "0+";
    }

    /// A partition and who keeps it.
    part PartitionDataResponse {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "2+", nullable "2+", ignorable true;
        /// The leader; -1 when there is none.
        leader_id: int32, "0+";
        /// The epoch of the leader; -1 when unknown.
        leader_epoch: int32, "0+";
        /// The high watermark.
        high_watermark: int64, "0+";
        /// Those who vote.
        current_voters: [ReplicaState], "0+";
        /// Those who only listen.
        observers: [ReplicaState], "0+";
    }

    /// How far a replica is.
    part ReplicaState {
        /// The id of the replica.
        replica_id: int32, "0+";
        /// The id of its folder (KIP-853).
        replica_directory_id: uuid, "2+";
        /// Where its log ends; -1 when unknown.
        log_end_offset: int64, "0+";
        /// When it last fetched, in milliseconds since the epoch; -1 when unknown.
        last_fetch_timestamp: int64, "1+", default -1, ignorable true;
        /// When it last had all there was, in milliseconds since the epoch; -1 when unknown.
        last_caught_up_timestamp: int64, "1+", default -1, ignorable true;
    }

    /// A node.
    part Node {
        /// The id of the node.
        node_id: int32, "2+";
        /// Where it listens.
        listeners: [Listener], "2+";
    }

    /// An address.
    part Listener {
        /// The name.
        name: string, "2+";
        /// The name or address of its host.
        host: string, "2+";
        /// Its port.
        port: uint16, "2+";
    }
}
