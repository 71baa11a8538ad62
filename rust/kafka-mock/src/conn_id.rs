//! What connections are called.

/// Names a connection; chosen by whoever owns the sockets, never reused while it is open.
pub type ConnId = u64;
