//! Staying a member of a group.

kafka_message! {
    /// Says that a member lives.
    request HeartbeatRequest for Heartbeat -> HeartbeatResponse {
        /// The group.
        group_id: string, "0+";
        /// The generation of the group.
        generation_id: int32, "0+";
        /// The member; empty for one that is new.
        member_id: string, "0+";
        /// The static member's name (KIP-345); null for a dynamic member.
        group_instance_id: string, "3+", nullable "3+", default None;
    }

    /// Whether the generation still stands.
    response HeartbeatResponse for Heartbeat {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
    }
}
