//! A Kafka cluster as a value: request bytes in, answer bytes out, faults on demand.
//!
//! [`Cluster`] holds brokers, topics and their logs in memory. It has no sockets and no clock, so a
//! client can be run against it within one function, and every wait ends when the test says so;
//! whoever wants it on real sockets moves the bytes (`EV::Kafka::Mock` does).
//!
//! ```
//! use kafka_mock::{Cluster, ClusterConfig, Reply};
//! let mut cluster = Cluster::new(ClusterConfig { brokers: 3, ..Default::default() });
//! cluster.create_topic("orders", 6).unwrap();
//! cluster.open(1, 0).unwrap(); // connection 1, to broker 0
//! // ApiVersions, version 0, correlation id 7, no client id
//! let request = [0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
//! let Reply::Answer(frame) = cluster.handle(1, request.to_vec().into(), 0) else { panic!() };
//! assert_eq!(frame[4..10], [0, 0, 0, 7, 0, 0]);
//! ```
//!
//! Served are the APIs that this workspace speaks, at the versions that it speaks.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod access;
mod api;
mod cluster;
mod config;
mod conn_id;
mod connections;
mod coordinators;
mod error;
mod fault;
mod features;
mod fetch_sessions;
mod framing;
mod groups;
mod log;
mod login;
mod quotas;
mod scram;
mod shares;
mod state;
mod topic;
mod transactions;

pub use access::{Denial, Operation, Resource};
pub use cluster::Cluster;
pub use config::{ClusterConfig, DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_MIN_SESSION_TIMEOUT_MS};
pub use conn_id::ConnId;
pub use connections::{Output, Reply};
pub use coordinators::CoordinatorKey;
pub use error::ClusterError;
pub use fault::Fault;
pub use fetch_sessions::FetchSession;
pub use framing::{FrameReader, InvalidFrameLength, MAX_REQUEST_BYTES};
pub use groups::{CommittedOffset, GroupView, MemberView};
pub use log::{IsolationLevel, StoredRecord};
pub use login::{Mechanism, SaslConfig};
pub use quotas::Quota;
pub use shares::{SharePartition, ShareSession, ShareState, SharedRecord};
pub use topic::MAX_PARTITIONS;
pub use transactions::{Transaction, TransactionState};
