//! Describing share groups (KIP-932).

kafka_message! {
    /// Asks for share groups and their members.
    request ShareGroupDescribeRequest for ShareGroupDescribe -> ShareGroupDescribeResponse {
        /// The names of the groups.
        group_ids: [string], "0+";
        /// Whether to tell what the client may do with the groups (KIP-430).
        include_authorized_operations: bool, "0+";
    }

    /// The groups.
    response ShareGroupDescribeResponse for ShareGroupDescribe {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// The groups.
        groups: [DescribedGroup], "0+";
    }

    /// A group.
    part DescribedGroup {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+", default None;
        /// The name of the group.
        group_id: string, "0+";
        /// The state of the group.
        group_state: string, "0+";
        /// The epoch of the group.
        group_epoch: int32, "0+";
        /// The epoch of the assignment that members are to reach.
        assignment_epoch: int32, "0+";
        /// What shares out the partitions.
        assignor_name: string, "0+";
        /// The members.
        members: [Member], "0+";
        /// What the client may do with the group, as a bit field (KIP-430); the smallest number when not asked for.
        authorized_operations: int32, "0+", default i32::MIN;
    }

    /// A member.
    part Member {
        /// The id of the member.
        member_id: string, "0+";
        /// Where the member is; null when it has not said.
        rack_id: string, "0+", nullable "0+", default None;
        /// The epoch of the member.
        member_epoch: int32, "0+";
        /// What the member calls itself.
        client_id: string, "0+";
        /// From where it is connected.
        client_host: string, "0+";
        /// The topics that it has subscribed to by name.
        subscribed_topic_names: [string], "0+";
        /// What it has.
        assignment: Assignment, "0+";
    }

    /// Partitions that a member has.
    part Assignment {
        /// The partitions, by topic.
        topic_partitions: [TopicPartitions], "0+";
    }

    /// Partitions of a topic.
    part TopicPartitions {
        /// The id of the topic (KIP-516).
        topic_id: uuid, "0+";
        /// The name of the topic.
        topic_name: string, "0+";
        /// The partitions.
        partitions: [int32], "0+";
    }
}
