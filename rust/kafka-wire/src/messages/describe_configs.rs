//! Reading settings (KIP-133).

kafka_message! {
    /// Asks for settings.
    request DescribeConfigsRequest for DescribeConfigs -> DescribeConfigsResponse {
        /// The resources.
        resources: [DescribeConfigsResource], "0+";
        /// Whether to tell from where values come (KIP-226).
        include_synonyms: bool, "1+";
        /// Whether to tell what settings are for (KIP-569).
        include_documentation: bool, "3+";
    }

    /// A resource to tell of.
    part DescribeConfigsResource {
        /// What kind of resource it is.
        resource_type: int8, "0+";
        /// The name of the resource.
        resource_name: string, "0+";
        /// The settings to tell of; null for all.
        configuration_keys: [string], "0+", nullable "0+";
    }

    /// The settings. Version 0 is gone from Kafka 4.
    response DescribeConfigsResponse for DescribeConfigs {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// What became of each.
        results: [DescribeConfigsResult], "0+";
    }

    /// A resource and its settings.
    part DescribeConfigsResult {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// What kind of resource it is.
        resource_type: int8, "0+";
        /// The name of the resource.
        resource_name: string, "0+";
        /// The settings.
        configs: [DescribeConfigsResourceResult], "0+";
    }

    /// A setting.
    part DescribeConfigsResourceResult {
        /// The name.
        name: string, "0+";
        /// The value; null when it is secret.
        value: string, "0+", nullable "0+";
        /// Whether it cannot be changed.
        read_only: bool, "0+";
        /// Whether the value is the default one.
        is_default: bool, "0";
        /// Where the value comes from; -1 when unknown.
        config_source: int8, "1+", default -1, ignorable true;
        /// Whether its value is kept secret.
        is_sensitive: bool, "0+";
        /// Where a value may come from, the one that counts first (KIP-226).
        synonyms: [DescribeConfigsSynonym], "1+", ignorable true;
        /// The type of the value (KIP-569).
        config_type: int8, "3+", ignorable true;
        /// What the setting is for.
        documentation: string, "3+", nullable "0+", ignorable true;
    }

    /// A place where the value may come from.
    part DescribeConfigsSynonym {
        /// The name.
        name: string, "1+";
        /// The value there; null when it is secret.
        value: string, "1+", nullable "0+";
        /// What place that is.
        source: int8, "1+";
    }
}
