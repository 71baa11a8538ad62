//! Changing SCRAM credentials (KIP-554).

kafka_message! {
    /// Adds, changes and deletes SCRAM credentials.
    request AlterUserScramCredentialsRequest for AlterUserScramCredentials -> AlterUserScramCredentialsResponse {
        /// The credentials to delete.
        deletions: [ScramCredentialDeletion], "0+";
        /// The credentials to add or to change.
        upsertions: [ScramCredentialUpsertion], "0+";
    }

    /// A credential to delete.
    part ScramCredentialDeletion {
        /// The name.
        name: string, "0+";
        /// 1 for SCRAM-SHA-256, 2 for SCRAM-SHA-512.
        mechanism: int8, "0+";
    }

    /// A credential to add or to change.
    part ScramCredentialUpsertion {
        /// The name.
        name: string, "0+";
        /// 1 for SCRAM-SHA-256, 2 for SCRAM-SHA-512.
        mechanism: int8, "0+";
        /// How often the password was hashed.
        iterations: int32, "0+";
        /// The random salt.
        salt: bytes, "0+";
        /// The hashed password.
        salted_password: bytes, "0+";
    }

    /// What became of the users.
    response AlterUserScramCredentialsResponse for AlterUserScramCredentials {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// What became of each.
        results: [AlterUserScramCredentialsResult], "0+";
    }

    /// What became of a user.
    part AlterUserScramCredentialsResult {
        /// The name of the user.
        user: string, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
    }
}
