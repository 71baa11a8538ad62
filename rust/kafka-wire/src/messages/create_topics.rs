//! Creating topics.

kafka_message! {
    /// Creates topics. Versions 0 and 1 are gone from Kafka 4 but kept here for older brokers.
    request CreateTopicsRequest for CreateTopics -> CreateTopicsResponse {
        /// The topics to create.
        topics: [CreatableTopic], "0+";
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "0+", default 60000;
        /// Whether only to check what would happen.
        validate_only: bool, "1+";
    }

    /// A topic to create.
    part CreatableTopic {
        /// The name of the topic.
        name: string, "0+";
        /// How many partitions; -1 for the broker's default, or with assignments.
        num_partitions: int32, "0+";
        /// How many replicas of each; -1 for the broker's default, or with assignments.
        replication_factor: int16, "0+";
        /// Replicas chosen by hand; empty to let the broker choose.
        assignments: [CreatableReplicaAssignment], "0+";
        /// Settings of the topic.
        configs: [CreatableTopicConfig], "0+";
    }

    /// The replicas of one partition.
    part CreatableReplicaAssignment {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The brokers that are to hold the partition.
        broker_ids: [int32], "0+";
    }

    /// A setting.
    part CreatableTopicConfig {
        /// The name of the setting.
        name: string, "0+";
        /// The value of the setting.
        value: string, "0+", nullable "0+";
    }

    /// What became of the topics.
    response CreateTopicsResponse for CreateTopics {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "2+", ignorable true;
        /// The topics.
        topics: [CreatableTopicResult], "0+";
    }

    /// What became of a topic.
    part CreatableTopicResult {
        /// The name of the topic.
        name: string, "0+";
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "7+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "1+", nullable "0+", ignorable true;
        /// Why the settings are not told.
        topic_config_error_code: int16, "5+", tag 0, ignorable true;
        /// How many partitions it has; -1 when not told.
        num_partitions: int32, "5+", default -1, ignorable true;
        /// How many replicas of each; -1 when not told.
        replication_factor: int16, "5+", default -1, ignorable true;
        /// Settings of the topic.
        configs: [CreatableTopicConfigs], "5+", nullable "5+", ignorable true;
    }

    /// A setting of a new topic.
    part CreatableTopicConfigs {
        /// The name of the setting.
        name: string, "5+";
        /// The value of the setting.
        value: string, "5+", nullable "5+";
        /// Whether it cannot be changed.
        read_only: bool, "5+";
        /// Where the value comes from; -1 when unknown.
        config_source: int8, "5+", default -1, ignorable true;
        /// Whether its value is kept secret.
        is_sensitive: bool, "5+";
    }
}
