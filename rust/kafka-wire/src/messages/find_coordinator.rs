//! Finding the broker that coordinates a group or a transaction.

kafka_message! {
    /// Asks for the coordinator of a group or a transaction. One key up to version 3, any number from 4 on.
    request FindCoordinatorRequest for FindCoordinator -> FindCoordinatorResponse {
        /// The group id or transactional id.
        key: string, "0-3";
        /// 0 for a group, 1 for a transaction, 2 for a share group.
        key_type: int8, "1+";
        /// The group ids or transactional ids (KIP-699).
        coordinator_keys: [string], "4+";
    }

    /// The coordinators.
    response FindCoordinatorResponse for FindCoordinator {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "1+", ignorable true;
        /// 0, or what went wrong.
        error_code: int16, "0-3";
        /// What went wrong in words, if the broker says.
        error_message: string, "1-3", nullable "1-3", ignorable true;
        /// The id of the broker.
        node_id: int32, "0-3";
        /// Where it listens: host.
        host: string, "0-3";
        /// Where it listens: port.
        port: int32, "0-3";
        /// One coordinator for each key.
        coordinators: [Coordinator], "4+";
    }

    /// The coordinator of one key.
    part Coordinator {
        /// The key it coordinates.
        key: string, "4+";
        /// The id of the broker.
        node_id: int32, "4+";
        /// Where it listens: host.
        host: string, "4+";
        /// Where it listens: port.
        port: int32, "4+";
        /// 0, or what went wrong.
        error_code: int16, "4+";
        /// What went wrong in words, if the broker says.
        error_message: string, "4+", nullable "4+", ignorable true;
    }
}
