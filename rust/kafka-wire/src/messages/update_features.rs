//! Changing features (KIP-584).

kafka_message! {
    /// Changes the levels of features.
    request UpdateFeaturesRequest for UpdateFeatures -> UpdateFeaturesResponse {
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "0+", default 60000;
        /// The features to change.
        feature_updates: [FeatureUpdateKey], "0+";
        /// Whether only to check what would happen.
        validate_only: bool, "1+";
    }

    /// A feature to change.
    part FeatureUpdateKey {
        /// The name of the feature.
        feature: string, "0+";
        /// The level that is to hold; below 1 the feature is taken away.
        max_version_level: int16, "0+";
        /// Whether the level may fall.
        allow_downgrade: bool, "0";
        /// 1 upgrades, 2 downgrades without loss, 3 downgrades anyway (KIP-584).
        upgrade_type: int8, "1+", default 1;
    }

    /// What became of the features.
    response UpdateFeaturesResponse for UpdateFeatures {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// What became of each.
        results: [UpdatableFeatureResult], "0-1", ignorable true;
    }

    /// What became of a feature.
    part UpdatableFeatureResult {
        /// The name of the feature.
        feature: string, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
    }
}
