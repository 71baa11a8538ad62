//! Ending a transaction.

kafka_message! {
    /// Commits or aborts a transaction.
    request EndTxnRequest for EndTxn -> EndTxnResponse {
        /// The transactional id.
        transactional_id: string, "0+";
        /// The producer id.
        producer_id: int64, "0+";
        /// The producer epoch.
        producer_epoch: int16, "0+";
        /// True commits, false aborts.
        committed: bool, "0+";
    }

    /// Whether that was accepted.
    response EndTxnResponse for EndTxn {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The producer id to go on with (KIP-890); -1 when unchanged.
        producer_id: int64, "5+", default -1, ignorable true;
        /// The producer epoch to go on with (KIP-890); -1 when unchanged.
        producer_epoch: int16, "5+", default -1, ignorable true;
    }
}
