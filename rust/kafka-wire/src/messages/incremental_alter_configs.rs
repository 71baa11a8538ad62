//! Changing settings, each by itself (KIP-339).

kafka_message! {
    /// Changes settings and leaves the others alone.
    request IncrementalAlterConfigsRequest for IncrementalAlterConfigs -> IncrementalAlterConfigsResponse {
        /// The resources.
        resources: [AlterConfigsResource], "0+";
        /// Whether only to check what would happen.
        validate_only: bool, "0+";
    }

    /// A resource with settings to change.
    part AlterConfigsResource {
        /// What kind of resource it is.
        resource_type: int8, "0+";
        /// The name of the resource.
        resource_name: string, "0+";
        /// The settings.
        configs: [AlterableConfig], "0+";
    }

    /// A change of a setting.
    part AlterableConfig {
        /// The name.
        name: string, "0+";
        /// 0 sets it, 1 deletes it, 2 appends to a list, 3 takes from a list.
        config_operation: int8, "0+";
        /// The value; null where it is taken away.
        value: string, "0+", nullable "0+";
    }

    /// What became of the changes.
    response IncrementalAlterConfigsResponse for IncrementalAlterConfigs {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// What became of each.
        responses: [AlterConfigsResourceResponse], "0+";
    }

    /// What became of a resource.
    part AlterConfigsResourceResponse {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// What kind of resource it is.
        resource_type: int8, "0+";
        /// The name of the resource.
        resource_name: string, "0+";
    }
}
