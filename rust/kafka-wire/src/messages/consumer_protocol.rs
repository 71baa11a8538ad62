//! What the members of a consumer group tell each other through the coordinator, to which it is bytes: the
//! subscription in JoinGroup, the assignment in SyncGroup. Each is preceded by its version.

/// The newest version of the subscription and of the assignment. A newer one only has more fields at its end.
pub const NEWEST_VERSION: i16 = 3;

kafka_message! {
    /// What a member wants and what it has.
    data ConsumerProtocolSubscription {
        /// The topics that the member wants to consume.
        topics: [string], "0+";
        /// What the member's assignor tells the leader's.
        user_data: bytes, "0+", nullable "0+", default None;
        /// The partitions that the member owns (KIP-429).
        owned_partitions: [TopicPartitions], "1+", ignorable true;
        /// The generation in which it got them, -1 when it is not known (KIP-792).
        generation_id: int32, "2+", default -1, ignorable true;
        /// The rack that the member runs in (KIP-881).
        rack_id: string, "3+", nullable "3+", default None, ignorable true;
    }

    /// What a member gets.
    data ConsumerProtocolAssignment {
        /// The partitions.
        assigned_partitions: [TopicPartitions], "0+";
        /// What the leader's assignor tells the member's.
        user_data: bytes, "0+", nullable "0+", default None;
    }

    /// Partitions of one topic.
    part TopicPartitions {
        /// The topic's name.
        topic: string, "0+";
        /// The partitions' numbers.
        partitions: [int32], "0+";
    }

    /// The user data of Java's StickyAssignor. It has no version: the one without a generation is the older.
    data StickyUserData {
        /// What the member had.
        previous_assignment: [TopicPartitions], "0+";
        /// The generation in which it had it.
        generation: int32, "1+", default -1;
    }

    /// The user data of Java's CooperativeStickyAssignor, for leaders that read subscriptions older than version 2.
    data CooperativeStickyUserData {
        /// The generation in which the member got the partitions that it owns.
        generation: int32, "0+", default -1;
    }
}
