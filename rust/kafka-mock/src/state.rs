//! What the brokers of a cluster know between them: what requests read and change.

mod coordinators;
mod shares;
mod topics;
mod transactions;

use crate::access::Access;
use crate::config::ClusterConfig;
use crate::coordinators::ChosenCoordinators;
use crate::error::ClusterError;
use crate::fault::FaultRules;
use crate::features::Features;
use crate::fetch_sessions::FetchSessions;
use crate::groups::Groups;
use crate::quotas::Quotas;
use crate::shares::Shares;
use crate::topic::{self, Partition, Topic, MAX_PARTITIONS, NO_LEADER};
use crate::transactions::Transactions;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// One broker: where it is reached, whether it is up, and what it says it speaks.
#[derive(Debug)]
pub(crate) struct Broker {
    pub host: Bytes,
    pub port: i32,
    pub up: bool,
    /// Advertised versions by API; what is not in here is refused.
    pub versions: BTreeMap<i16, (i16, i16)>,
    pub requests: BTreeMap<i16, u64>,
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

/// All of it.
#[derive(Debug)]
pub(crate) struct State {
    pub config: ClusterConfig,
    /// By node id.
    pub brokers: Vec<Broker>,
    pub topics: BTreeMap<Bytes, Topic>,
    pub topics_created: u64,
    pub producer_ids: ProducerIds,
    pub transactions: Transactions,
    pub groups: Groups,
    pub shares: Shares,
    pub coordinators: ChosenCoordinators,
    pub faults: FaultRules,
    pub access: Access,
    pub features: Features,
    pub quotas: Quotas,
    pub fetch_sessions: FetchSessions,
    /// Set when a waiting Fetch might be satisfied now.
    pub changed: bool,
}

impl State {
    /// All brokers up and no topics. Each broker advertises these versions by API. Counts below one are taken as one.
    pub(crate) fn new(
        mut config: ClusterConfig,
        versions: impl Iterator<Item = (i16, RangeInclusive<i16>)> + Clone,
    ) -> Self {
        config.brokers = config.brokers.max(1);
        config.default_partitions = config.default_partitions.clamp(1, MAX_PARTITIONS);
        config.default_replication_factor = config.default_replication_factor.max(1);
        let broker = |_| Broker {
            host: Bytes::from_static(b"127.0.0.1"),
            port: 9092,
            up: true,
            versions: versions
                .clone()
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
            shares: Shares::default(),
            coordinators: ChosenCoordinators::new(),
            faults: FaultRules::default(),
            access: Access::default(),
            features: Features::new(),
            quotas: Quotas::default(),
            fetch_sessions: FetchSessions::default(),
            changed: false,
        }
    }

    /// Does what time has brought to transactions and groups.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        self.expire_transactions(now_ms);
        let rules = self.share_rules();
        if self.groups.expire(now_ms) | self.shares.expire(now_ms, &rules) {
            self.changed = true;
        }
    }

    /// Node ids of all brokers, stopped ones included.
    pub(crate) fn broker_ids(&self) -> impl Iterator<Item = i32> {
        0..self.config.brokers
    }

    /// Whether the broker exists and is not stopped.
    pub(crate) fn is_up(&self, broker: i32) -> bool {
        self.broker(broker).is_some_and(|broker| broker.up)
    }

    /// The lowest broker that is up, or [`NO_LEADER`].
    pub(crate) fn controller(&self) -> i32 {
        self.broker_ids()
            .find(|&id| self.is_up(id))
            .unwrap_or(NO_LEADER)
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

    /// After a broker was stopped or started.
    pub(crate) fn elect_leaders(&mut self) {
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
