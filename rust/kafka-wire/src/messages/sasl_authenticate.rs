//! Running a SASL mechanism.

kafka_message! {
    /// One message of the SASL mechanism.
    request SaslAuthenticateRequest for SaslAuthenticate -> SaslAuthenticateResponse {
        /// The message of the SASL mechanism.
        auth_bytes: bytes, "0+";
    }

    /// The broker's message of the SASL mechanism.
    response SaslAuthenticateResponse for SaslAuthenticate {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// What went wrong in words, if the broker says.
        error_message: string, "0+", nullable "0+";
        /// The message of the SASL mechanism.
        auth_bytes: bytes, "0+";
        /// After how long the client must authenticate again (KIP-368), in milliseconds; 0 for never.
        session_lifetime_ms: int64, "1+", ignorable true;
    }
}
