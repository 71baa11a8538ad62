//! Adding partitions to a transaction.

kafka_message! {
    /// Adds partitions to a transaction. One transaction up to version 3, any number from 4 on (brokers only).
    request AddPartitionsToTxnRequest for AddPartitionsToTxn -> AddPartitionsToTxnResponse {
        /// The transactions, as brokers ask for them.
        transactions: [AddPartitionsToTxnTransaction], "4+";
        /// The transactional id.
        v3_and_below_transactional_id: string, "0-3";
        /// The producer id.
        v3_and_below_producer_id: int64, "0-3";
        /// The producer epoch.
        v3_and_below_producer_epoch: int16, "0-3";
        /// The topics.
        v3_and_below_topics: [AddPartitionsToTxnTopic], "0-3";
    }

    /// Partitions for one transaction.
    part AddPartitionsToTxnTransaction {
        /// The transactional id.
        transactional_id: string, "4+";
        /// The producer id.
        producer_id: int64, "4+";
        /// The producer epoch.
        producer_epoch: int16, "4+";
        /// Whether only to check that the partitions belong to the transaction (KIP-890).
        verify_only: bool, "4+";
        /// The topics.
        topics: [AddPartitionsToTxnTopic], "4+";
    }

    /// Partitions of a topic.
    part AddPartitionsToTxnTopic {
        /// The name of the topic.
        name: string, "0+";
        /// Its partitions.
        partitions: [int32], "0+";
    }

    /// What became of the partitions.
    response AddPartitionsToTxnResponse for AddPartitionsToTxn {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "4+", ignorable true;
        /// One result for each transaction.
        results_by_transaction: [AddPartitionsToTxnResult], "4+";
        /// The topics.
        results_by_topic_v3_and_below: [AddPartitionsToTxnTopicResult], "0-3";
    }

    /// What became of one transaction's partitions.
    part AddPartitionsToTxnResult, partial topic_results {
        /// The transactional id.
        transactional_id: string, "4+";
        /// The topics.
        topic_results: [AddPartitionsToTxnTopicResult], "4+";
    }

    /// What became of a topic's partitions.
    part AddPartitionsToTxnTopicResult, partial results_by_partition {
        /// The name of the topic.
        name: string, "0+";
        /// The partitions.
        results_by_partition: [AddPartitionsToTxnPartitionResult], "0+";
    }

    /// What became of a partition.
    part AddPartitionsToTxnPartitionResult {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        partition_error_code: int16, "0+";
    }
}
