//! Listing what has settings (KIP-1142).

kafka_message! {
    /// Asks which resources have settings.
    request ListConfigResourcesRequest for ListConfigResources -> ListConfigResourcesResponse {
        /// The kinds of resources; empty for all.
        resource_types: [int8], "1+";
    }

    /// The resources.
    response ListConfigResourcesResponse for ListConfigResources {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The resources that have settings.
        config_resources: [ConfigResource], "0+";
    }

    /// A resource.
    part ConfigResource {
        /// The name of the resource.
        resource_name: string, "0+";
        /// What kind of resource it is; client metrics when the version does not say.
        resource_type: int8, "1+", default 16, ignorable true;
    }
}
