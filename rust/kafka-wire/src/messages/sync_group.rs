//! Handing out a group's assignment.

kafka_message! {
    /// Brings the leader's assignment, or asks for it.
    request SyncGroupRequest for SyncGroup -> SyncGroupResponse {
        /// The group.
        group_id: string, "0+";
        /// The generation of the group.
        generation_id: int32, "0+";
        /// The member; empty for one that is new.
        member_id: string, "0+";
        /// The static member's name (KIP-345); null for a dynamic member.
        group_instance_id: string, "3+", nullable "3+", default None;
        /// The class of protocols, `consumer` for consumers.
        protocol_type: string, "5+", nullable "5+", default None, ignorable true;
        /// The protocol that was chosen.
        protocol_name: string, "5+", nullable "5+", default None, ignorable true;
        /// What each member gets; empty for all but the leader.
        assignments: [SyncGroupRequestAssignment], "0+";
    }

    /// What one member gets.
    part SyncGroupRequestAssignment {
        /// The member; empty for one that is new.
        member_id: string, "0+";
        /// What the member gets: for consumers an assignment.
        assignment: bytes, "0+";
    }

    /// The member's own assignment.
    response SyncGroupResponse for SyncGroup {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The class of protocols, `consumer` for consumers.
        protocol_type: string, "5+", nullable "5+", default None, ignorable true;
        /// The protocol that was chosen.
        protocol_name: string, "5+", nullable "5+", default None, ignorable true;
        /// What the member gets: for consumers an assignment.
        assignment: bytes, "0+";
    }
}
