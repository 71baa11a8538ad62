//! Reading quotas (KIP-546).

kafka_message! {
    /// Asks for quotas.
    request DescribeClientQuotasRequest for DescribeClientQuotas -> DescribeClientQuotasResponse {
        /// What to look for.
        components: [ComponentData], "0+";
        /// Whether to leave out entities that have other kinds, too.
        strict: bool, "0+";
    }

    /// What one part of an entity is to be.
    part ComponentData {
        /// The kind of entity, as in `user`.
        entity_type: string, "0+";
        /// 0 for this name, 1 for the default, 2 for any name.
        match_type: int8, "0+";
        /// The name to look for, or null. Kafka calls it match, which is a word of the language here.
        matched: string, "0+", nullable "0+";
    }

    /// The quotas.
    response DescribeClientQuotasResponse for DescribeClientQuotas {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// The entities with what they have; null when there was an error.
        entries: [EntryData], "0+", nullable "0+";
    }

    /// An entity and its quotas.
    part EntryData {
        /// Of whom it is said: one part for each kind.
        entity: [EntityData], "0+";
        /// The quotas.
        values: [ValueData], "0+";
    }

    /// One part of an entity.
    part EntityData {
        /// The kind of entity, as in `user`.
        entity_type: string, "0+";
        /// The name of the entity; null for the default.
        entity_name: string, "0+", nullable "0+";
    }

    /// A quota.
    part ValueData {
        /// The name of the quota.
        key: string, "0+";
        /// The value.
        value: float64, "0+";
    }
}
