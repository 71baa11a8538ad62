//! Describing groups of the classic protocol.

kafka_message! {
    /// Asks for groups and their members.
    request DescribeGroupsRequest for DescribeGroups -> DescribeGroupsResponse {
        /// The groups.
        groups: [string], "0+";
        /// Whether to tell what the client may do with the groups (KIP-430).
        include_authorized_operations: bool, "3+";
    }

    /// The groups.
    response DescribeGroupsResponse for DescribeGroups {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// The groups.
        groups: [DescribedGroup], "0+";
    }

    /// A group.
    part DescribedGroup {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "6+", nullable "6+", default None;
        /// The name of the group.
        group_id: string, "0+";
        /// The state of the group.
        group_state: string, "0+";
        /// The kind of members, as in `consumer`.
        protocol_type: string, "0+";
        /// The protocol that members have agreed on.
        protocol_data: string, "0+";
        /// The members.
        members: [DescribedGroupMember], "0+";
        /// What the client may do with the group, as a bit field (KIP-430); the smallest number when not asked for.
        authorized_operations: int32, "3+", default i32::MIN;
    }

    /// A member.
    part DescribedGroupMember {
        /// The id of the member.
        member_id: string, "0+";
        /// The name of a static member (KIP-345); null when it is none.
        group_instance_id: string, "4+", nullable "4+", default None, ignorable true;
        /// What the member calls itself.
        client_id: string, "0+";
        /// From where it is connected.
        client_host: string, "0+";
        /// What it has told of itself, in bytes of its protocol.
        member_metadata: bytes, "0+";
        /// What it was given, in bytes of its protocol.
        member_assignment: bytes, "0+";
    }
}
