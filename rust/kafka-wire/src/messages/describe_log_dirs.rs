//! Describing a broker's folders (KIP-113).

kafka_message! {
    /// Asks a broker for its folders.
    request DescribeLogDirsRequest for DescribeLogDirs -> DescribeLogDirsResponse {
        /// The topics; null for all.
        topics: [DescribableLogDirTopic], "0+", nullable "0+";
    }

    /// Partitions of a topic to tell of.
    part DescribableLogDirTopic {
        /// The name of the topic.
        topic: string, "0+";
        /// The partitions.
        partitions: [int32], "0+";
    }

    /// The folders. Version 0 is gone from Kafka 4.
    response DescribeLogDirsResponse for DescribeLogDirs {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "3+", ignorable true;
        /// What became of each.
        results: [DescribeLogDirsResult], "0+";
    }

    /// A folder.
    part DescribeLogDirsResult {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The path of the folder.
        log_dir: string, "0+";
        /// The topics.
        topics: [DescribeLogDirsTopic], "0+";
        /// How many bytes the volume has; -1 when unknown.
        total_bytes: int64, "4+", default -1, ignorable true;
        /// How many of them may still be used; -1 when unknown.
        usable_bytes: int64, "4+", default -1, ignorable true;
        /// Whether it gets no new partitions (KIP-1066).
        is_cordoned: bool, "5+", ignorable true;
    }

    /// A topic in a folder.
    part DescribeLogDirsTopic {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [DescribeLogDirsPartition], "0+";
    }

    /// A partition in a folder.
    part DescribeLogDirsPartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// How many bytes it has there.
        partition_size: int64, "0+";
        /// How far it is behind, in records.
        offset_lag: int64, "0+";
        /// Whether it is a copy that is on its way to this folder.
        is_future_key: bool, "0+";
    }
}
