//! Leaving a group.

kafka_message! {
    /// Leaves a group. One member up to version 2, any number from 3 on (KIP-345).
    request LeaveGroupRequest for LeaveGroup -> LeaveGroupResponse {
        /// The group.
        group_id: string, "0+";
        /// The member; empty for one that is new.
        member_id: string, "0-2";
        /// The members.
        members: [MemberIdentity], "3+";
    }

    /// A member that leaves.
    part MemberIdentity {
        /// The member; empty for one that is new.
        member_id: string, "3+";
        /// The static member's name (KIP-345); null for a dynamic member.
        group_instance_id: string, "3+", nullable "3+", default None;
        /// Why, for the coordinator's log (KIP-800).
        reason: string, "5+", nullable "5+", default None, ignorable true;
    }

    /// What became of the members.
    response LeaveGroupResponse for LeaveGroup {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The members.
        members: [MemberResponse], "3+";
    }

    /// What became of a member.
    part MemberResponse {
        /// The member; empty for one that is new.
        member_id: string, "3+";
        /// The static member's name (KIP-345); null for a dynamic member.
        group_instance_id: string, "3+", nullable "3+";
        /// 0, or what went wrong.
        error_code: int16, "3+";
    }
}
