//! Deleting groups (KIP-229).

kafka_message! {
    /// Deletes groups that have no members.
    request DeleteGroupsRequest for DeleteGroups -> DeleteGroupsResponse {
        /// The names of the groups.
        groups_names: [string], "0+";
    }

    /// What became of the groups.
    response DeleteGroupsResponse for DeleteGroups {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// What became of each.
        results: [DeletableGroupResult], "0+";
    }

    /// What became of a group.
    part DeletableGroupResult {
        /// The name of the group.
        group_id: string, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "3+", nullable "3+", default None, ignorable true;
    }
}
