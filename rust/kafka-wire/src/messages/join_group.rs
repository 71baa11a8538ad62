//! Joining a group.

kafka_message! {
    /// Joins a group, or rejoins it.
    request JoinGroupRequest for JoinGroup -> JoinGroupResponse {
        /// The group.
        group_id: string, "0+";
        /// How long the coordinator waits for a heartbeat, in milliseconds.
        session_timeout_ms: int32, "0+";
        /// How long the coordinator waits for members to rejoin, in milliseconds; -1 for the session timeout.
        rebalance_timeout_ms: int32, "1+", default -1, ignorable true;
        /// The member; empty for one that is new.
        member_id: string, "0+";
        /// The static member's name (KIP-345); null for a dynamic member.
        group_instance_id: string, "5+", nullable "5+", default None;
        /// The class of protocols, `consumer` for consumers.
        protocol_type: string, "0+";
        /// The assignment protocols that the member offers, best first.
        protocols: [JoinGroupRequestProtocol], "0+";
        /// Why, for the coordinator's log (KIP-800).
        reason: string, "8+", nullable "8+", default None, ignorable true;
    }

    /// A protocol that the member offers.
    part JoinGroupRequestProtocol {
        /// The name of the protocol.
        name: string, "0+";
        /// What the member says to the leader: for consumers a subscription.
        metadata: bytes, "0+";
    }

    /// The generation that the member is in now.
    response JoinGroupResponse for JoinGroup {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "2+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The generation of the group.
        generation_id: int32, "0+", default -1;
        /// The class of protocols, `consumer` for consumers.
        protocol_type: string, "7+", nullable "7+", default None, ignorable true;
        /// The protocol that was chosen.
        protocol_name: string, "0+", nullable "7+";
        /// The member id of the leader.
        leader: string, "0+";
        /// Whether the leader must not assign anew (KIP-814).
        skip_assignment: bool, "9+";
        /// The member; empty for one that is new.
        member_id: string, "0+";
        /// The members; empty for all but the leader.
        members: [JoinGroupResponseMember], "0+";
    }

    /// A member, as told to the leader.
    part JoinGroupResponseMember {
        /// The member; empty for one that is new.
        member_id: string, "0+";
        /// The static member's name (KIP-345); null for a dynamic member.
        group_instance_id: string, "5+", nullable "5+", default None, ignorable true;
        /// What the member says to the leader: for consumers a subscription.
        metadata: bytes, "0+";
    }
}
