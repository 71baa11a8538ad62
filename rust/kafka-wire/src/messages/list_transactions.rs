//! Listing the transactions of a coordinator (KIP-664).

kafka_message! {
    /// Asks a broker for the transactions that it coordinates.
    request ListTransactionsRequest for ListTransactions -> ListTransactionsResponse {
        /// Only transactions in these states; empty for all.
        state_filters: [string], "0+";
        /// Only those of these producers; empty for all.
        producer_id_filters: [int64], "0+";
        /// Only those that have been open for longer, in milliseconds; negative for all (KIP-994).
        duration_filter: int64, "1+", default -1;
        /// Only those whose id this regular expression matches; null for all (KIP-1152).
        transactional_id_pattern: string, "2+", nullable "2+", default None;
    }

    /// The transactions.
    response ListTransactionsResponse for ListTransactions {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// States that the broker has not heard of.
        unknown_state_filters: [string], "0+";
        /// The transactions.
        transaction_states: [TransactionState], "0+";
    }

    /// A transaction.
    part TransactionState {
        /// The transactional id.
        transactional_id: string, "0+";
        /// The id of the producer.
        producer_id: int64, "0+";
        /// The state of the transaction.
        transaction_state: string, "0+";
    }
}
