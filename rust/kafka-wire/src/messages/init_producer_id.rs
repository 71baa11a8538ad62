//! Getting a producer id and epoch, for idempotence (KIP-98) and transactions.

kafka_message! {
    /// Asks for a producer id and epoch.
    request InitProducerIdRequest for InitProducerId -> InitProducerIdResponse {
        /// The transactional id; null for an idempotent producer without transactions.
        transactional_id: string, "0+", nullable "0+";
        /// After how long the coordinator aborts a transaction, in milliseconds.
        transaction_timeout_ms: int32, "0+";
        /// The current producer id, to be given a new epoch (KIP-360); -1 for none.
        producer_id: int64, "3+", default -1;
        /// The current producer epoch; -1 for none.
        producer_epoch: int16, "3+", default -1;
        /// Whether transactions are prepared and ended from outside (KIP-939).
        enable2_pc: bool, "6+";
        /// Whether to keep a prepared transaction (KIP-939).
        keep_prepared_txn: bool, "6+";
    }

    /// The producer id and epoch.
    response InitProducerIdResponse for InitProducerId {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The producer id.
        producer_id: int64, "0+", default -1;
        /// The producer epoch.
        producer_epoch: int16, "0+";
        /// The producer id of a prepared transaction (KIP-939); -1 for none.
        ongoing_txn_producer_id: int64, "6+", default -1;
        /// The producer epoch of a prepared transaction (KIP-939); -1 for none.
        ongoing_txn_producer_epoch: int16, "6+", default -1;
    }
}
