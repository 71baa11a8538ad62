//! Who waits when a broker throttles a client (KIP-219).

use kafka_wire::ApiKey;

/// Whether the broker has answered at once and leaves it to the client to wait. At versions from
/// before that change it has waited itself before it answered, and only says for how long.
pub fn is_left_to_client(api: ApiKey, version: i16) -> bool {
    let since = match api {
        ApiKey::Fetch => 8,
        ApiKey::Produce | ApiKey::Metadata => 6,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 4,
        ApiKey::ListOffsets | ApiKey::JoinGroup | ApiKey::CreateTopics => 3,
        ApiKey::DescribeGroups | ApiKey::ListGroups | ApiKey::DescribeConfigs => 2,
        ApiKey::FindCoordinator
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::ApiVersions
        | ApiKey::DeleteTopics => 2,
        ApiKey::InitProducerId
        | ApiKey::AddPartitionsToTxn
        | ApiKey::AddOffsetsToTxn
        | ApiKey::EndTxn
        | ApiKey::TxnOffsetCommit
        | ApiKey::CreatePartitions
        | ApiKey::DeleteGroups
        | ApiKey::DeleteRecords
        | ApiKey::DescribeAcls
        | ApiKey::CreateAcls
        | ApiKey::DeleteAcls
        | ApiKey::DescribeLogDirs => 1,
        // Their first versions with a throttle time are younger than the change, or say none.
        ApiKey::OffsetForLeaderEpoch
        | ApiKey::ConsumerGroupHeartbeat
        | ApiKey::SaslHandshake
        | ApiKey::SaslAuthenticate
        | ApiKey::DescribeTopicPartitions
        | ApiKey::IncrementalAlterConfigs
        | ApiKey::ConsumerGroupDescribe
        | ApiKey::ShareGroupDescribe
        | ApiKey::ShareGroupHeartbeat
        | ApiKey::ShareFetch
        | ApiKey::ShareAcknowledge
        | ApiKey::OffsetDelete
        | ApiKey::DescribeCluster
        | ApiKey::ListConfigResources
        | ApiKey::DescribeUserScramCredentials
        | ApiKey::AlterUserScramCredentials
        | ApiKey::DescribeClientQuotas
        | ApiKey::AlterClientQuotas
        | ApiKey::ElectLeaders
        | ApiKey::AlterPartitionReassignments
        | ApiKey::ListPartitionReassignments
        | ApiKey::ListTransactions
        | ApiKey::DescribeTransactions
        | ApiKey::DescribeProducers
        | ApiKey::WriteTxnMarkers
        | ApiKey::UpdateFeatures
        | ApiKey::DescribeQuorum
        | ApiKey::DescribeShareGroupOffsets => 0,
    };
    version >= since
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_before_the_change_have_waited_themselves() {
        for (api, since) in [
            (ApiKey::Produce, 6),
            (ApiKey::Fetch, 8),
            (ApiKey::Metadata, 6),
            (ApiKey::JoinGroup, 3),
            (ApiKey::Heartbeat, 2),
        ] {
            assert!(!is_left_to_client(api, since - 1), "{}", api.name());
            assert!(is_left_to_client(api, since), "{}", api.name());
        }
    }
}
