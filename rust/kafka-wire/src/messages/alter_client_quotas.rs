//! Changing quotas (KIP-546).

kafka_message! {
    /// Changes quotas.
    request AlterClientQuotasRequest for AlterClientQuotas -> AlterClientQuotasResponse {
        /// The entities with what they have.
        entries: [EntryData], "0+";
        /// Whether only to check what would happen.
        validate_only: bool, "0+";
    }

    /// An entity and what to change.
    part EntryData {
        /// Of whom it is said: one part for each kind.
        entity: [EntityData], "0+";
        /// What to change.
        ops: [OpData], "0+";
    }

    /// One part of an entity.
    part EntityData {
        /// The kind of entity, as in `user`.
        entity_type: string, "0+";
        /// The name of the entity; null for the default.
        entity_name: string, "0+", nullable "0+";
    }

    /// A change of a quota.
    part OpData {
        /// The name of the quota.
        key: string, "0+";
        /// The value.
        value: float64, "0+";
        /// Whether to take the quota away.
        remove: bool, "0+";
    }

    /// What became of the changes.
    response AlterClientQuotasResponse for AlterClientQuotas {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// The entities with what they have.
        entries: [EntryDataResponse], "0+";
    }

    /// What became of an entity.
    part EntryDataResponse {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// Of whom it is said: one part for each kind.
        entity: [EntityData], "0+";
    }
}
