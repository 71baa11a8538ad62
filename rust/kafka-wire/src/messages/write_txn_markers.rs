//! Ending transactions in partitions (KIP-664).

kafka_message! {
    /// Writes the ends of transactions into partitions. Version 0 is gone from Kafka 4.
    request WriteTxnMarkersRequest for WriteTxnMarkers -> WriteTxnMarkersResponse {
        /// The markers to write.
        markers: [WritableTxnMarker], "0+";
    }

    /// The end of a transaction.
    part WritableTxnMarker {
        /// The id of the producer.
        producer_id: int64, "0+";
        /// The epoch of the producer.
        producer_epoch: int16, "0+";
        /// True commits, false aborts.
        transaction_result: bool, "0+";
        /// The topics.
        topics: [WritableTxnMarkerTopic], "0+";
        /// The epoch of the coordinator that writes.
        coordinator_epoch: int32, "0+";
        /// The version of transactions (KIP-1228).
        transaction_version: int8, "2+", ignorable true;
    }

    /// Partitions of a topic that get the marker.
    part WritableTxnMarkerTopic {
        /// The name.
        name: string, "0+";
        /// The numbers of the partitions.
        partition_indexes: [int32], "0+";
    }

    /// What became of the markers.
    response WriteTxnMarkersResponse for WriteTxnMarkers {
        /// What became of each marker.
        markers: [WritableTxnMarkerResult], "0+";
    }

    /// What became of a marker.
    part WritableTxnMarkerResult {
        /// The id of the producer.
        producer_id: int64, "0+";
        /// The topics.
        topics: [WritableTxnMarkerTopicResult], "0+";
    }

    /// What became of a topic.
    part WritableTxnMarkerTopicResult {
        /// The name.
        name: string, "0+";
        /// The partitions.
        partitions: [WritableTxnMarkerPartitionResult], "0+";
    }

    /// What became of a partition.
    part WritableTxnMarkerPartitionResult {
        /// The number of the partition.
        partition_index: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
    }
}
