//! Being a member of a share group (KIP-932).

kafka_message! {
    /// Joins a share group, stays in it or leaves it, and tells what has changed since the last heartbeat.
    request ShareGroupHeartbeatRequest for ShareGroupHeartbeat -> ShareGroupHeartbeatResponse {
        /// The group.
        group_id: string, "0+";
        /// The member, made by the member itself: a UUID of 22 characters.
        member_id: string, "0+";
        /// The member's epoch; 0 joins, -1 leaves.
        member_epoch: int32, "0+";
        /// The rack of the member; null for none or no change.
        rack_id: string, "0+", nullable "0+", default None;
        /// The topics; null for no change.
        subscribed_topic_names: [string], "0+", nullable "0+", default None;
    }

    /// What the member is to fetch.
    response ShareGroupHeartbeatResponse for ShareGroupHeartbeat {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong, in words.
        error_message: string, "0+", nullable "0+", default None;
        /// The member, as made by itself.
        member_id: string, "0+", nullable "0+", default None;
        /// The member's epoch.
        member_epoch: int32, "0+";
        /// When to send the next heartbeat, in milliseconds from now.
        heartbeat_interval_ms: int32, "0+";
        /// All partitions that the member is to fetch; null for no change.
        assignment: Assignment, "0+", nullable "0+", default None;
    }

    /// The partitions of a member.
    part Assignment {
        /// By topic.
        topic_partitions: [TopicPartitions], "0+";
    }

    /// Partitions of a topic.
    part TopicPartitions {
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// The partitions.
        partitions: [int32], "0+";
    }
}
