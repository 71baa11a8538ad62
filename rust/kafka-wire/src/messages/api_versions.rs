//! What a broker speaks: the first thing asked on every connection.

kafka_message! {
    /// Asks what a broker speaks. Every broker answers version 0.
    request ApiVersionsRequest for ApiVersions -> ApiVersionsResponse {
        /// The name of the client library (KIP-511).
        client_software_name: string, "3+", ignorable true;
        /// The version of the client library (KIP-511).
        client_software_version: string, "3+", ignorable true;
        /// The cluster that the broker is taken for one of (KIP-1242); null when that is not known.
        cluster_id: string, "5+", nullable "5+", default None, ignorable true;
        /// The broker that it is taken for; -1 when that is not known.
        node_id: int32, "5+", default -1, ignorable true;
    }

    /// What a broker speaks.
    response ApiVersionsResponse for ApiVersions {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What the broker speaks.
        api_keys: [ApiVersion], "0+";
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// The features that the broker has (KIP-584).
        supported_features: [SupportedFeatureKey], "3+", tag 0, ignorable true;
        /// Grows with every change of the finalized features; -1 when unknown.
        finalized_features_epoch: int64, "3+", default -1, tag 1, ignorable true;
        /// The features that the whole cluster has agreed on.
        finalized_features: [FinalizedFeatureKey], "3+", tag 2, ignorable true;
        /// Whether a KRaft controller is ready for a migration from ZooKeeper.
        zk_migration_ready: bool, "3+", tag 3, ignorable true;
    }

    /// The versions of one API.
    part ApiVersion {
        /// The number of the API.
        api_key: int16, "0+";
        /// The lowest version.
        min_version: int16, "0+";
        /// The highest version.
        max_version: int16, "0+";
    }

    /// A feature that the broker has.
    part SupportedFeatureKey {
        /// The name of the feature.
        name: string, "3+";
        /// The lowest version.
        min_version: int16, "3+";
        /// The highest version.
        max_version: int16, "3+";
    }

    /// A feature that the cluster agreed on.
    part FinalizedFeatureKey {
        /// The name of the feature.
        name: string, "3+";
        /// The highest level that the cluster agreed on.
        max_version_level: int16, "3+";
        /// The lowest level that the cluster agreed on.
        min_version_level: int16, "3+";
    }
}
