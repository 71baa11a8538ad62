//! Deleting access rules (KIP-140).

kafka_message! {
    /// Deletes access rules. Version 0 is gone from Kafka 4.
    request DeleteAclsRequest for DeleteAcls -> DeleteAclsResponse {
        /// Which rules to delete.
        filters: [DeleteAclsFilter], "0+";
    }

    /// What the rules to delete are like.
    part DeleteAclsFilter {
        /// The kind of resource; 1 for any.
        resource_type_filter: int8, "0+";
        /// The name of the resource; null for any.
        resource_name_filter: string, "0+", nullable "0+";
        /// How the name is meant (KIP-290).
        pattern_type_filter: int8, "1+", default 3;
        /// Who, as in `User:alice`; null for anybody.
        principal_filter: string, "0+", nullable "0+";
        /// From where; null for anywhere.
        host_filter: string, "0+", nullable "0+";
        /// What is done.
        operation: int8, "0+";
        /// 2 denies, 3 allows; 1 for either.
        permission_type: int8, "0+";
    }

    /// What became of the filters, in the order in which they were given.
    response DeleteAclsResponse for DeleteAcls {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// What became of each filter.
        filter_results: [DeleteAclsFilterResult], "0+";
    }

    /// What became of a filter.
    part DeleteAclsFilterResult {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// The rules that it found.
        matching_acls: [DeleteAclsMatchingAcl], "0+";
    }

    /// A rule that a filter has found.
    part DeleteAclsMatchingAcl {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// What kind of resource it is.
        resource_type: int8, "0+";
        /// The name of the resource.
        resource_name: string, "0+";
        /// How the name is meant (KIP-290).
        pattern_type: int8, "1+", default 3;
        /// Who, as in `User:alice`.
        principal: string, "0+";
        /// From where; `*` for anywhere.
        host: string, "0+";
        /// What is done.
        operation: int8, "0+";
        /// 2 denies, 3 allows.
        permission_type: int8, "0+";
    }
}
