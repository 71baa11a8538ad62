//! Reading access rules (KIP-140).

kafka_message! {
    /// Asks for access rules.
    request DescribeAclsRequest for DescribeAcls -> DescribeAclsResponse {
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

    /// The rules. Version 0 is gone from Kafka 4.
    response DescribeAclsResponse for DescribeAcls {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// The resources.
        resources: [DescribeAclsResource], "0+";
    }

    /// A resource and its rules.
    part DescribeAclsResource {
        /// What kind of resource it is.
        resource_type: int8, "0+";
        /// The name of the resource.
        resource_name: string, "0+";
        /// How the name is meant (KIP-290).
        pattern_type: int8, "1+", default 3;
        /// The rules.
        acls: [AclDescription], "0+";
    }

    /// A rule.
    part AclDescription {
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
