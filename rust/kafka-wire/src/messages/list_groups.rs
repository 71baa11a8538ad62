//! Listing the groups of a coordinator.

kafka_message! {
    /// Asks a broker for the groups that it coordinates.
    request ListGroupsRequest for ListGroups -> ListGroupsResponse {
        /// Only groups in these states; empty for all (KIP-518).
        states_filter: [string], "4+";
        /// Only groups of these types; empty for all (KIP-848).
        types_filter: [string], "5+";
    }

    /// The groups.
    response ListGroupsResponse for ListGroups {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The groups.
        groups: [ListedGroup], "0+";
    }

    /// A group.
    part ListedGroup {
        /// The name of the group.
        group_id: string, "0+";
        /// The kind of members, as in `consumer`.
        protocol_type: string, "0+";
        /// The state of the group.
        group_state: string, "4+", ignorable true;
        /// The type of the group, as in `classic`.
        group_type: string, "5+", ignorable true;
    }
}
