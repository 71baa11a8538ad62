//! Being a member of a group whose coordinator assigns the partitions (KIP-848).

kafka_message! {
    /// Joins a group, stays in it or leaves it, and tells what has changed since the last heartbeat.
    request ConsumerGroupHeartbeatRequest for ConsumerGroupHeartbeat -> ConsumerGroupHeartbeatResponse {
        /// The group.
        group_id: string, "0+";
        /// The member; made by the member itself from version 1 on (KIP-1082).
        member_id: string, "0+";
        /// The member's epoch; 0 joins, -1 leaves, -2 leaves as a static member that will be back.
        member_epoch: int32, "0+";
        /// The static member's name; null for a dynamic member or no change.
        instance_id: string, "0+", nullable "0+", default None;
        /// The rack of the member; null for none or no change.
        rack_id: string, "0+", nullable "0+", default None;
        /// How long the coordinator waits for the member to give partitions up, in milliseconds; -1 for no change.
        rebalance_timeout_ms: int32, "0+", default -1;
        /// The topics; null for no change.
        subscribed_topic_names: [string], "0+", nullable "0+", default None;
        /// A regular expression for topics; null for none or no change.
        subscribed_topic_regex: string, "1+", nullable "1+", default None;
        /// The assignor, `uniform` or `range`; null for the coordinator's choice or no change.
        server_assignor: string, "0+", nullable "0+", default None;
        /// The partitions that the member has; null for no change.
        topic_partitions: [HeartbeatTopicPartitions], "0+", nullable "0+", default None;
    }

    /// Partitions of a topic.
    part HeartbeatTopicPartitions {
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// The partitions.
        partitions: [int32], "0+";
    }

    /// What the member is to have.
    response ConsumerGroupHeartbeatResponse for ConsumerGroupHeartbeat {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong, in words.
        error_message: string, "0+", nullable "0+", default None;
        /// The member, as made by itself or by the coordinator.
        member_id: string, "0+", nullable "0+", default None;
        /// The member's epoch.
        member_epoch: int32, "0+";
        /// When to send the next heartbeat, in milliseconds from now.
        heartbeat_interval_ms: int32, "0+";
        /// All partitions that the member may have now; null for no change.
        assignment: Assignment, "0+", nullable "0+", default None;
    }

    /// The partitions of a member.
    part Assignment {
        /// By topic.
        topic_partitions: [HeartbeatTopicPartitions], "0+";
    }
}
