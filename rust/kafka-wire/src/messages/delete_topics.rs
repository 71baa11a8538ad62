//! Deleting topics.

kafka_message! {
    /// Deletes topics. Version 0 is gone from Kafka 4 but kept here for older brokers.
    request DeleteTopicsRequest for DeleteTopics -> DeleteTopicsResponse {
        /// The topics to delete, by name or by id.
        topics: [DeleteTopicState], "6+";
        /// The names of the topics to delete.
        topic_names: [string], "0-5", ignorable true;
        /// How long the broker may take, in milliseconds.
        timeout_ms: int32, "0+";
    }

    /// A topic to delete.
    part DeleteTopicState {
        /// The name of the topic; null to delete it by its id.
        name: string, "6+", nullable "6+", default None;
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "6+";
    }

    /// What became of the topics.
    response DeleteTopicsResponse for DeleteTopics {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// The topics.
        responses: [DeletableTopicResult], "0+";
    }

    /// What became of a topic.
    part DeletableTopicResult {
        /// The name of the topic; null when an unknown id was given.
        name: string, "0+", nullable "6+";
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "6+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "5+", nullable "5+", default None, ignorable true;
    }
}
