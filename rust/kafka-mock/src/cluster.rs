//! The cluster: what it is made of, and what its owner can do to it.

use crate::api;
use crate::connections::{ConnId, Connection};
use crate::coordinators::ChosenCoordinators;
use crate::fault::{Fault, FaultRules};
use crate::groups::Groups;
use crate::topic::{self, Partition, Topic, NO_LEADER};
use crate::transactions::Transactions;
use bytes::Bytes;
use kafka_wire::ApiKey;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Broker default of `message.max.bytes`: 1 MiB of records and the 12 bytes before them.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1024 * 1024 + 12;

/// Broker default of `group.min.session.timeout.ms`.
pub const DEFAULT_MIN_SESSION_TIMEOUT_MS: i32 = 6_000;

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Number of brokers; their node ids are 0, 1, 2, …
    pub brokers: i32,
    /// Partitions of a topic that is created without a count.
    pub default_partitions: i32,
    /// Replicas of a partition that is created without a count. Replicas share one log: the factor
    /// decides only who can take over when a broker is stopped.
    pub default_replication_factor: i16,
    /// Whether Metadata creates the unknown topics that it is asked about, if the client allows it.
    pub auto_create_topics: bool,
    /// Largest record batch that is taken, in bytes (`message.max.bytes`).
    pub max_message_bytes: usize,
    /// Shortest session timeout that a member of a group may ask for (`group.min.session.timeout.ms`).
    pub min_session_timeout_ms: i32,
    /// How long members of the new group protocol may be silent (`group.consumer.session.timeout.ms`).
    pub consumer_session_timeout_ms: u64,
    /// How often they are told to send heartbeats (`group.consumer.heartbeat.interval.ms`).
    pub consumer_heartbeat_interval_ms: i32,
    /// Told to clients in Metadata.
    pub cluster_id: Bytes,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            brokers: 1,
            default_partitions: 1,
            default_replication_factor: 1,
            auto_create_topics: true,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            min_session_timeout_ms: DEFAULT_MIN_SESSION_TIMEOUT_MS,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            cluster_id: Bytes::from_static(b"kafka-mock"),
        }
    }
}

/// Why something could not be done to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterError {
    /// No broker of that node id.
    UnknownBroker(i32),
    /// No such topic, or no such partition of it.
    UnknownPartition(String),
    /// A topic of that name exists.
    TopicExists(String),
    /// Not a name that Kafka accepts.
    InvalidTopicName(String),
    /// Zero, negative, or more than [`MAX_PARTITIONS`](crate::MAX_PARTITIONS) partitions.
    InvalidPartitionCount(i32),
    /// The bytes are not one record batch that a broker would take: Kafka's error code.
    InvalidBatch(i16),
}

impl std::fmt::Display for ClusterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownBroker(id) => write!(f, "no broker {id}"),
            Self::UnknownPartition(name) => write!(f, "no partition {name}"),
            Self::TopicExists(name) => write!(f, "topic '{name}' already exists"),
            Self::InvalidTopicName(name) => write!(f, "invalid topic name '{name}'"),
            Self::InvalidPartitionCount(count) => write!(f, "invalid partition count {count}"),
            Self::InvalidBatch(code) => {
                write!(
                    f,
                    "not a valid record batch: {}",
                    kafka_wire::error::name(*code)
                )
            }
        }
    }
}

impl std::error::Error for ClusterError {}

/// One broker: where it is reached, whether it is up, and what it says it speaks.
#[derive(Debug)]
pub(crate) struct Broker {
    pub host: Bytes,
    pub port: i32,
    pub up: bool,
    /// Advertised versions by API; what is not in here is refused.
    pub versions: BTreeMap<i16, (i16, i16)>,
    requests: BTreeMap<i16, u64>,
}

/// Hands out producer ids, each once, from 0 on.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    next: i64,
}

impl ProducerIds {
    pub fn take(&mut self) -> i64 {
        let id = self.next;
        self.next += 1;
        id
    }
}

/// A Kafka cluster as a value: no sockets, no clock, no threads.
///
/// Methods come in four kinds.
/// - **Building and looking**: [`new`](Self::new), [`create_topic`](Self::create_topic),
///   [`records`](Self::records), [`transactions`](Self::transactions), [`group`](Self::group),
///   [`request_count`](Self::request_count) and their like.
/// - **What comes from outside**: [`open`](Self::open) and [`close`](Self::close) a connection,
///   [`handle`](Self::handle) a request.
/// - **Mischief**: [`fault`](Self::fault), [`stop_broker`](Self::stop_broker),
///   [`set_leader`](Self::set_leader), [`set_coordinator`](Self::set_coordinator),
///   [`set_api_versions`](Self::set_api_versions).
/// - **What to do next**: [`poll`](Self::poll) for answers that were waiting, to be called after
///   anything above and when [`next_timeout`](Self::next_timeout) comes.
///
/// As on a real broker the requests of one connection are carried out one at a time: a Fetch that
/// waits for data, or a JoinGroup that waits for other members, holds up everything sent behind it. Time is milliseconds on a clock of the
/// caller's.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) config: ClusterConfig,
    /// By node id.
    pub(crate) brokers: Vec<Broker>,
    pub(crate) topics: BTreeMap<Bytes, Topic>,
    pub(crate) topics_created: u64,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) transactions: Transactions,
    pub(crate) groups: Groups,
    pub(crate) coordinators: ChosenCoordinators,
    pub(crate) connections: BTreeMap<ConnId, Connection>,
    faults: FaultRules,
    /// Connections that were closed by something else than their own requests.
    pub(crate) dropped: Vec<(ConnId, String)>,
    /// Set when a waiting Fetch might be satisfied now.
    pub(crate) changed: bool,
}

impl Cluster {
    /// A cluster with all brokers up and no topics. Counts below one are taken as one.
    pub fn new(mut config: ClusterConfig) -> Self {
        config.brokers = config.brokers.max(1);
        config.default_partitions = config.default_partitions.clamp(1, api::MAX_PARTITIONS);
        config.default_replication_factor = config.default_replication_factor.max(1);
        let broker = |_| Broker {
            host: Bytes::from_static(b"127.0.0.1"),
            port: 9092,
            up: true,
            versions: api::supported()
                .map(|(key, v)| (key, (*v.start(), *v.end())))
                .collect(),
            requests: BTreeMap::new(),
        };
        Self {
            brokers: (0..config.brokers).map(broker).collect(),
            config,
            topics: BTreeMap::new(),
            topics_created: 0,
            producer_ids: ProducerIds::default(),
            transactions: Transactions::new(),
            groups: Groups::default(),
            coordinators: ChosenCoordinators::new(),
            connections: BTreeMap::new(),
            faults: FaultRules::default(),
            dropped: Vec::new(),
            changed: false,
        }
    }

    /// Sets what Metadata and FindCoordinator tell about where a broker listens.
    pub fn set_address(&mut self, broker: i32, host: &str, port: u16) -> Result<(), ClusterError> {
        let broker = self.broker_mut(broker)?;
        broker.host = Bytes::copy_from_slice(host.as_bytes());
        broker.port = i32::from(port);
        Ok(())
    }

    /// Adds a rule; see [`Fault`]. Rules added earlier win where two give an error.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    /// Removes all rules. What hangs already stays so.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    pub(crate) fn faults(&mut self) -> &mut FaultRules {
        &mut self.faults
    }

    /// Changes which versions of an API a broker advertises and takes, to stand for an older or
    /// newer one; `None` removes the API. Only what the mock itself speaks can be answered: the
    /// rest of the range is advertised and then refused by closing the connection.
    pub fn set_api_versions(
        &mut self,
        broker: i32,
        api: i16,
        versions: Option<RangeInclusive<i16>>,
    ) -> Result<(), ClusterError> {
        let table = &mut self.broker_mut(broker)?.versions;
        match versions {
            Some(range) => table.insert(api, (*range.start(), *range.end())),
            None => table.remove(&api),
        };
        Ok(())
    }

    /// Stops a broker: its connections are closed and its partitions move to another replica.
    pub fn stop_broker(&mut self, broker: i32) -> Result<(), ClusterError> {
        self.broker_mut(broker)?.up = false;
        let lost = self.connections_of(broker);
        for conn in lost {
            self.connections.remove(&conn);
            self.dropped
                .push((conn, format!("broker {broker} stopped")));
        }
        self.elect_leaders();
        Ok(())
    }

    /// Starts a stopped broker; it takes over the partitions that have no leader.
    pub fn start_broker(&mut self, broker: i32) -> Result<(), ClusterError> {
        self.broker_mut(broker)?.up = true;
        self.elect_leaders();
        Ok(())
    }

    /// Makes a broker the leader of a partition, and one of its replicas if it was none.
    pub fn set_leader(
        &mut self,
        topic: &[u8],
        partition: i32,
        broker: i32,
    ) -> Result<(), ClusterError> {
        self.broker_mut(broker)?;
        let target = self.partition_mut(topic, partition)?;
        if !target.replicas.contains(&broker) {
            target.replicas.push(broker);
        }
        target.set_leader(broker);
        self.changed = true;
        Ok(())
    }

    /// Node ids of all brokers, stopped ones included.
    pub fn broker_ids(&self) -> impl Iterator<Item = i32> {
        0..self.config.brokers
    }

    /// Whether the broker exists and is not stopped.
    pub fn is_up(&self, broker: i32) -> bool {
        self.broker(broker).is_some_and(|broker| broker.up)
    }

    /// The lowest broker that is up, or [`NO_LEADER`].
    pub fn controller(&self) -> i32 {
        self.broker_ids()
            .find(|&id| self.is_up(id))
            .unwrap_or(NO_LEADER)
    }

    /// Requests of an API that all brokers have received, refused versions included.
    pub fn request_count(&self, api: ApiKey) -> u64 {
        self.broker_ids()
            .map(|broker| self.request_count_at(broker, api))
            .sum()
    }

    /// Requests of an API that one broker has received, refused versions included.
    pub fn request_count_at(&self, broker: i32, api: ApiKey) -> u64 {
        self.broker(broker)
            .and_then(|b| b.requests.get(&api.key()))
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(usize::try_from(id).ok()?)
    }

    pub(crate) fn broker_mut(&mut self, id: i32) -> Result<&mut Broker, ClusterError> {
        usize::try_from(id)
            .ok()
            .and_then(|index| self.brokers.get_mut(index))
            .ok_or(ClusterError::UnknownBroker(id))
    }

    pub(crate) fn partition_ref(
        &self,
        topic: &[u8],
        partition: i32,
    ) -> Result<&Partition, ClusterError> {
        let found = self
            .topics
            .get(topic)
            .and_then(|topic| topic.partition(partition));
        found.ok_or_else(|| unknown_partition(topic, partition))
    }

    pub(crate) fn partition_mut(
        &mut self,
        topic: &[u8],
        partition: i32,
    ) -> Result<&mut Partition, ClusterError> {
        let found = self
            .topics
            .get_mut(topic)
            .and_then(|topic| topic.partition_mut(partition));
        found.ok_or_else(|| unknown_partition(topic, partition))
    }

    pub(crate) fn count_request(&mut self, broker: i32, api_key: i16) {
        if let Ok(broker) = self.broker_mut(broker) {
            *broker.requests.entry(api_key).or_default() += 1;
        }
    }

    fn elect_leaders(&mut self) {
        let up: Vec<bool> = self.brokers.iter().map(|broker| broker.up).collect();
        let is_up = |id: i32| usize::try_from(id).is_ok_and(|id| up.get(id) == Some(&true));
        for partition in self
            .topics
            .values_mut()
            .flat_map(|topic| &mut topic.partitions)
        {
            partition.elect(is_up);
        }
        self.changed = true;
    }
}

fn unknown_partition(topic: &[u8], partition: i32) -> ClusterError {
    ClusterError::UnknownPartition(topic::partition_name(topic, partition))
}
