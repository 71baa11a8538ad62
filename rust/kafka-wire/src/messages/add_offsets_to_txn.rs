//! Adding a group's positions to a transaction.

kafka_message! {
    /// Announces that a group's positions will be part of a transaction.
    request AddOffsetsToTxnRequest for AddOffsetsToTxn -> AddOffsetsToTxnResponse {
        /// The transactional id.
        transactional_id: string, "0+";
        /// The producer id.
        producer_id: int64, "0+";
        /// The producer epoch.
        producer_epoch: int16, "0+";
        /// The group.
        group_id: string, "0+";
    }

    /// Whether that was accepted.
    response AddOffsetsToTxnResponse for AddOffsetsToTxn {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
    }
}
