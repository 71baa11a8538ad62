//! Reading SCRAM credentials (KIP-554).

kafka_message! {
    /// Asks which SCRAM credentials there are.
    request DescribeUserScramCredentialsRequest for DescribeUserScramCredentials -> DescribeUserScramCredentialsResponse {
        /// The users; null for all.
        users: [UserName], "0+", nullable "0+";
    }

    /// A user to tell of.
    part UserName {
        /// The name.
        name: string, "0+";
    }

    /// The users and their credentials.
    response DescribeUserScramCredentialsResponse for DescribeUserScramCredentials {
        /// How long the broker asks us to stay quiet because of a quota (KIP-219), in milliseconds.
        throttle_time_ms: int32, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// What became of each.
        results: [DescribeUserScramCredentialsResult], "0+";
    }

    /// A user.
    part DescribeUserScramCredentialsResult {
        /// The name of the user.
        user: string, "0+";
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// What there is of credentials.
        credential_infos: [CredentialInfo], "0+";
    }

    /// A credential, without its secret.
    part CredentialInfo {
        /// 1 for SCRAM-SHA-256, 2 for SCRAM-SHA-512.
        mechanism: int8, "0+";
        /// How often the password was hashed.
        iterations: int32, "0+";
    }
}
