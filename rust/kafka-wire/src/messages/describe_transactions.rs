//! Describing transactions (KIP-664).

kafka_message! {
    /// Asks for transactions.
    request DescribeTransactionsRequest for DescribeTransactions -> DescribeTransactionsResponse {
        /// The transactional ids.
        transactional_ids: [string], "0+";
    }

    /// The transactions.
    response DescribeTransactionsResponse for DescribeTransactions {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// The transactions.
        transaction_states: [TransactionState], "0+";
    }

    /// A transaction.
    part TransactionState {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The transactional id.
        transactional_id: string, "0+";
        /// The state of the transaction.
        transaction_state: string, "0+";
        /// How long it may be open, in milliseconds.
        transaction_timeout_ms: int32, "0+";
        /// When it began, in milliseconds since the epoch; -1 when it has not.
        transaction_start_time_ms: int64, "0+";
        /// The id of the producer.
        producer_id: int64, "0+";
        /// The epoch of the producer.
        producer_epoch: int16, "0+";
        /// The topics.
        topics: [TopicData], "0+";
    }

    /// Partitions of a topic that belong to it.
    part TopicData {
        /// The name of the topic.
        topic: string, "0+";
        /// The partitions.
        partitions: [int32], "0+";
    }
}
