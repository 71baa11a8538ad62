//! Deleting records (KIP-107).

kafka_message! {
    /// Deletes the records before an offset.
    request DeleteRecordsRequest for DeleteRecords -> DeleteRecordsResponse {
        /// The topics.
        topics: [DeleteRecordsTopic], "0+";
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "0+";
    }

    /// What to delete of a topic.
    part DeleteRecordsTopic {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [DeleteRecordsPartition], "0+";
    }

    /// What to delete of a partition.
    part DeleteRecordsPartition {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The offset before which all is deleted; -1 for the high watermark.
        offset: int64, "0+";
    }

    /// What became of the partitions.
    response DeleteRecordsResponse for DeleteRecords {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// The topics.
        topics: [DeleteRecordsTopicResult], "0+";
    }

    /// What became of a topic.
    part DeleteRecordsTopicResult {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [DeleteRecordsPartitionResult], "0+";
    }

    /// What became of a partition.
    part DeleteRecordsPartitionResult {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// Where the partition begins now; -1 when unknown.
        low_watermark: int64, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
    }
}
