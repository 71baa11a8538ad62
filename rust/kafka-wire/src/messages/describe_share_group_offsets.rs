//! Reading where share groups begin (KIP-932).

kafka_message! {
    /// Asks where share groups begin to read.
    request DescribeShareGroupOffsetsRequest for DescribeShareGroupOffsets -> DescribeShareGroupOffsetsResponse {
        /// The groups.
        groups: [DescribeShareGroupOffsetsRequestGroup], "0+";
    }

    /// A group to tell of.
    part DescribeShareGroupOffsetsRequestGroup {
        /// The name of the group.
        group_id: string, "0+";
        /// The topics; null for all.
        topics: [DescribeShareGroupOffsetsRequestTopic], "0+", nullable "0+";
    }

    /// Partitions of a topic to tell of.
    part DescribeShareGroupOffsetsRequestTopic {
        /// The name of the topic.
        topic_name: string, "0+";
        /// The partitions.
        partitions: [int32], "0+";
    }

    /// Where they begin.
    response DescribeShareGroupOffsetsResponse for DescribeShareGroupOffsets {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// The groups.
        groups: [DescribeShareGroupOffsetsResponseGroup], "0+";
    }

    /// A group.
    part DescribeShareGroupOffsetsResponseGroup {
        /// The name of the group.
        group_id: string, "0+";
        /// The topics.
        topics: [DescribeShareGroupOffsetsResponseTopic], "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+", default None;
    }

    /// A topic.
    part DescribeShareGroupOffsetsResponseTopic {
        /// The name of the topic.
        topic_name: string, "0+";
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// The partitions.
        partitions: [DescribeShareGroupOffsetsResponsePartition], "0+";
    }

    /// A partition.
    part DescribeShareGroupOffsetsResponsePartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// Where the group begins to read; -1 when that is not known.
        start_offset: int64, "0+";
        /// The epoch of the leader; -1 when unknown.
        leader_epoch: int32, "0+";
        /// How many records are left; -1 when unknown (KIP-1226).
        lag: int64, "1+", default -1, ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+", default None;
    }
}
