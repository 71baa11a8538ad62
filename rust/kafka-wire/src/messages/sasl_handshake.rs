//! Choosing a SASL mechanism.

kafka_message! {
    /// Chooses a SASL mechanism.
    request SaslHandshakeRequest for SaslHandshake -> SaslHandshakeResponse {
        /// The SASL mechanism, as in `PLAIN`.
        mechanism: string, "0+";
    }

    /// Whether the broker has it.
    response SaslHandshakeResponse for SaslHandshake {
        /// 0, or what went wrong.
        error_code: int16, "0+";
        /// The mechanisms that the broker has enabled.
        mechanisms: [string], "0+";
    }
}
