//! Brokers, topics, partitions and their leaders.

kafka_message! {
    /// Asks for brokers, topics and partition leaders.
    request MetadataRequest for Metadata -> MetadataResponse {
        /// The topics to describe. Null asks for all of them, as does an empty list at version 0.
        topics: [MetadataRequestTopic], "0+", nullable "1+";
        /// Whether the broker may create a topic that does not exist.
        allow_auto_topic_creation: bool, "4+", default true;
        /// Whether to say what we may do with the cluster.
        include_cluster_authorized_operations: bool, "8-10";
        /// Whether to say what we may do with each topic.
        include_topic_authorized_operations: bool, "8+";
    }

    /// A topic to describe.
    part MetadataRequestTopic {
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "10+", ignorable true;
        /// The name of the topic; null where it is asked for by its id.
        name: string, "0+", nullable "10+";
    }

    /// Brokers, topics and partition leaders.
    response MetadataResponse for Metadata {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "3+", ignorable true;
        /// The brokers that are alive.
        brokers: [MetadataResponseBroker], "0+";
        /// The id of the cluster.
        cluster_id: string, "2+", nullable "2+", default None, ignorable true;
        /// The id of the broker that is the controller; -1 when unknown.
        controller_id: int32, "1+", default -1, ignorable true;
        /// The topics that were asked for.
        topics: [MetadataResponseTopic], "0+";
        /// What we may do with the cluster, one bit an operation; the smallest number when not asked.
        cluster_authorized_operations: int32, "8-10", default i32::MIN;
        /// 0, or what went wrong.
        error_code: int16, "13+", ignorable true;
    }

    /// A broker and where it listens.
    part MetadataResponseBroker {
        /// The id of the broker.
        node_id: int32, "0+";
        /// Where it listens: host.
        host: string, "0+";
        /// Where it listens: port.
        port: int32, "0+";
        /// The rack it stands in, if it was told.
        rack: string, "1+", nullable "1+", default None, ignorable true;
    }

    /// A topic and its partitions.
    part MetadataResponseTopic, partial partitions {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The name of the topic; null when an unknown id was asked for.
        name: string, "0+", nullable "12+";
        /// The id of the topic (KIP-516); all zero when it has none or is not known.
        topic_id: uuid, "10+", ignorable true;
        /// Whether the topic is one of Kafka's own.
        is_internal: bool, "1+", ignorable true;
        /// Its partitions.
        partitions: [MetadataResponsePartition], "0+";
        /// What we may do with the topic, one bit an operation; the smallest number when not asked.
        topic_authorized_operations: int32, "8+", default i32::MIN;
    }

    /// A partition and who leads it.
    part MetadataResponsePartition {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The number of the partition.
        partition_index: int32, "0+";
        /// The id of the leader; -1 when there is none.
        leader_id: int32, "0+";
        /// The epoch of the leader; -1 when unknown.
        leader_epoch: int32, "7+", default -1, ignorable true;
        /// The brokers that hold the partition.
        replica_nodes: [int32], "0+";
        /// Those of them that are in sync.
        isr_nodes: [int32], "0+";
        /// Those of them that are offline.
        offline_replicas: [int32], "5+", ignorable true;
    }
}
