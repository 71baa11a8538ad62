//! Describing the cluster (KIP-700).

kafka_message! {
    /// Asks who belongs to the cluster.
    request DescribeClusterRequest for DescribeCluster -> DescribeClusterResponse {
        /// Whether to tell what the client may do with the cluster (KIP-430).
        include_cluster_authorized_operations: bool, "0+";
        /// 1 for brokers, 2 for controllers (KIP-919).
        endpoint_type: int8, "1+", default 1;
        /// Whether to tell of brokers that are fenced.
        include_fenced_brokers: bool, "2+";
    }

    /// The cluster.
    response DescribeClusterResponse for DescribeCluster {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+", default None;
        /// 1 for brokers, 2 for controllers (KIP-919).
        endpoint_type: int8, "1+", default 1;
        /// The id of the cluster.
        cluster_id: string, "0+";
        /// The controller; -1 when unknown.
        controller_id: int32, "0+", default -1;
        /// The brokers.
        brokers: [DescribeClusterBroker], "0+";
        /// What the client may do with the cluster, as a bit field (KIP-430); the smallest number when not asked
        /// for.
        cluster_authorized_operations: int32, "0+", default i32::MIN;
    }

    /// A broker.
    part DescribeClusterBroker {
        /// The id of the broker.
        broker_id: int32, "0+";
        /// The name or address of its host.
        host: string, "0+";
        /// Its port.
        port: int32, "0+";
        /// Where it is; null when it has not said.
        rack: string, "0+", nullable "0+", default None;
        /// Whether it is fenced.
        is_fenced: bool, "2+";
    }
}
