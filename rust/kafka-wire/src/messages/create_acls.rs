//! Adding access rules (KIP-140).

kafka_message! {
    /// Adds access rules. Version 0 is gone from Kafka 4.
    request CreateAclsRequest for CreateAcls -> CreateAclsResponse {
        /// The rules to add.
        creations: [AclCreation], "0+";
    }

    /// A rule to add.
    part AclCreation {
        /// What kind of resource it is.
        resource_type: int8, "0+";
        /// The name of the resource.
        resource_name: string, "0+";
        /// How the name is meant (KIP-290).
        resource_pattern_type: int8, "1+", default 3;
        /// Who, as in `User:alice`.
        principal: string, "0+";
        /// From where; `*` for anywhere.
        host: string, "0+";
        /// What is done.
        operation: int8, "0+";
        /// 2 denies, 3 allows.
        permission_type: int8, "0+";
    }

    /// What became of the rules, in the order in which they were given.
    response CreateAclsResponse for CreateAcls {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// What became of each.
        results: [AclCreationResult], "0+";
    }

    /// What became of a rule.
    part AclCreationResult {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
    }
}
