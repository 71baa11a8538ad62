//! The cluster as its owner has it: what can be done to it, and what there is to see.

mod topics;

use crate::access::Denial;
use crate::api;
use crate::config::ClusterConfig;
use crate::conn_id::ConnId;
use crate::connections::{Connections, Output, Reply};
use crate::coordinators::CoordinatorKey;
use crate::error::ClusterError;
use crate::fault::Fault;
use crate::fetch_sessions::FetchSession;
use crate::groups::{CommittedOffset, GroupView};
use crate::quotas::Quota;
use crate::shares::{SharePartition, ShareSession};
use crate::state::State;
use crate::transactions::Transaction;
use bytes::Bytes;
use kafka_wire::ApiKey;
use std::ops::RangeInclusive;

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
///   [`set_api_versions`](Self::set_api_versions), [`set_feature`](Self::set_feature).
/// - **What to do next**: [`poll`](Self::poll) for answers that were waiting, to be called after
///   anything above and when [`next_timeout`](Self::next_timeout) comes.
///
/// As on a real broker the requests of one connection are carried out one at a time: a Fetch that
/// waits for data, or a JoinGroup that waits for other members, holds up everything sent behind it.
/// Time is milliseconds on a clock of the caller's.
#[derive(Debug)]
pub struct Cluster {
    state: State,
    connections: Connections,
}

/// What comes from outside, and what to do next.
impl Cluster {
    /// A client has connected to this broker. Fails if the broker is stopped or does not exist.
    pub fn open(&mut self, conn: ConnId, broker: i32) -> Result<(), ClusterError> {
        if !self.is_up(broker) {
            return Err(ClusterError::UnknownBroker(broker));
        }
        self.connections.open(conn, broker);
        Ok(())
    }

    /// The connection is gone; what waits on it is forgotten.
    pub fn close(&mut self, conn: ConnId) {
        self.connections.close(conn);
    }

    /// Takes one request frame (without length prefix) that arrived on a connection. Hostile
    /// bytes lead to [`Reply::Close`].
    pub fn handle(&mut self, conn: ConnId, frame: Bytes, now_ms: u64) -> Reply {
        self.connections
            .handle(&mut self.state, conn, frame, now_ms)
    }

    /// Answers that have become due, in order for each connection, and connections to close.
    pub fn poll(&mut self, now_ms: u64) -> Vec<(ConnId, Output)> {
        self.connections.poll(&mut self.state, now_ms)
    }

    /// When [`poll`](Self::poll) will have something even if nothing else happens.
    pub fn next_timeout(&self) -> Option<u64> {
        let deadlines = [
            self.connections.next_deadline(),
            self.state.transaction_deadline(),
            self.state.groups.next_deadline(),
            self.state.shares.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The open connections of a broker.
    pub fn connections_of(&self, broker: i32) -> Vec<ConnId> {
        self.connections.of(broker)
    }
}

impl Cluster {
    /// A cluster with all brokers up and no topics. Counts below one are taken as one.
    pub fn new(config: ClusterConfig) -> Self {
        Self {
            state: State::new(config, api::supported()),
            connections: Connections::default(),
        }
    }

    /// Sets what Metadata and FindCoordinator tell about where a broker listens.
    pub fn set_address(&mut self, broker: i32, host: &str, port: u16) -> Result<(), ClusterError> {
        let broker = self.state.broker_mut(broker)?;
        broker.host = Bytes::copy_from_slice(host.as_bytes());
        broker.port = i32::from(port);
        Ok(())
    }

    /// Adds a rule; see [`Fault`]. Rules added earlier win where two give an error.
    pub fn fault(&mut self, fault: Fault) {
        self.state.faults.add(fault);
    }

    /// Removes all rules. What hangs already stays so.
    pub fn clear_faults(&mut self) {
        self.state.faults.clear();
    }

    /// Forbids something.
    pub fn deny(&mut self, denial: Denial) {
        self.state.access.deny(denial);
        self.state.changed = true;
    }

    /// Takes back what was forbidden in the same words.
    pub fn allow(&mut self, denial: &Denial) {
        self.state.access.allow(denial);
        self.state.changed = true;
    }

    /// Takes back all that was forbidden.
    pub fn allow_all(&mut self) {
        self.state.access.allow_all();
        self.state.changed = true;
    }

    /// Throttles clients. One quota takes the place of another of the same client id and API.
    pub fn set_quota(&mut self, quota: Quota) {
        self.state.quotas.set(quota);
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
        let table = &mut self.state.broker_mut(broker)?.versions;
        match versions {
            Some(range) => table.insert(api, (*range.start(), *range.end())),
            None => table.remove(&api),
        };
        Ok(())
    }

    /// The versions that a broker advertises, by API.
    pub fn api_versions(&self, broker: i32) -> impl Iterator<Item = (i16, (i16, i16))> + '_ {
        let broker = self.state.broker(broker);
        let tables = broker.into_iter().map(|broker| &broker.versions);
        tables.flatten().map(|(&api, &range)| (api, range))
    }

    /// Has the cluster agree on a level of a feature (KIP-584); 0 takes it back. Connections that are open hear
    /// nothing of it.
    pub fn set_feature(&mut self, name: &[u8], level: i16) {
        self.state.features.set(name, level);
    }

    /// The level that the cluster has agreed on; 0 for none.
    pub fn feature(&self, name: &[u8]) -> i16 {
        self.state.features.level(name)
    }

    /// Stops a broker: its connections are closed and its partitions move to another replica.
    pub fn stop_broker(&mut self, broker: i32) -> Result<(), ClusterError> {
        self.state.broker_mut(broker)?.up = false;
        self.connections
            .drop_all_of(broker, &format!("broker {broker} stopped"));
        self.state.fetch_sessions.forget_all_of(broker);
        self.state.elect_leaders();
        Ok(())
    }

    /// The fetch sessions that a broker remembers.
    pub fn fetch_sessions(&self, broker: i32) -> impl Iterator<Item = &FetchSession> {
        self.state.fetch_sessions.of(broker)
    }

    /// Makes a broker forget its fetch sessions, as one does that has others to remember.
    pub fn forget_fetch_sessions(&mut self, broker: i32) {
        self.state.fetch_sessions.forget_all_of(broker);
        self.state.changed = true;
    }

    /// Starts a stopped broker; it takes over the partitions that have no leader.
    pub fn start_broker(&mut self, broker: i32) -> Result<(), ClusterError> {
        self.state.broker_mut(broker)?.up = true;
        self.state.elect_leaders();
        Ok(())
    }

    /// Makes a broker the leader of a partition, and one of its replicas if it was none.
    pub fn set_leader(
        &mut self,
        topic: &[u8],
        partition: i32,
        broker: i32,
    ) -> Result<(), ClusterError> {
        self.state.broker_mut(broker)?;
        let target = self.state.partition_mut(topic, partition)?;
        if !target.replicas.contains(&broker) {
            target.replicas.push(broker);
        }
        target.set_leader(broker);
        self.state.changed = true;
        Ok(())
    }

    /// Node ids of all brokers, stopped ones included.
    pub fn broker_ids(&self) -> impl Iterator<Item = i32> {
        self.state.broker_ids()
    }

    /// Whether the broker exists and is not stopped.
    pub fn is_up(&self, broker: i32) -> bool {
        self.state.is_up(broker)
    }

    /// The lowest broker that is up, or -1.
    pub fn controller(&self) -> i32 {
        self.state.controller()
    }

    /// Requests of an API that all brokers have received, refused versions included.
    pub fn request_count(&self, api: ApiKey) -> u64 {
        self.broker_ids()
            .map(|broker| self.request_count_at(broker, api))
            .sum()
    }

    /// Requests of an API that one broker has received, refused versions included.
    pub fn request_count_at(&self, broker: i32, api: ApiKey) -> u64 {
        self.state
            .broker(broker)
            .and_then(|b| b.requests.get(&api.key()))
            .copied()
            .unwrap_or(0)
    }

    /// Node id of the coordinator; -1 while no broker is up. What it coordinates is replicated: it
    /// moves with all its state when its broker is stopped, and back when that is up again.
    pub fn coordinator(&self, of: CoordinatorKey, key: &[u8]) -> i32 {
        self.state.coordinator(of, key)
    }

    /// Moves a coordinator to another broker, where it stays while that is up.
    pub fn set_coordinator(
        &mut self,
        of: CoordinatorKey,
        key: &[u8],
        broker: i32,
    ) -> Result<(), ClusterError> {
        self.state.broker_mut(broker)?;
        self.state
            .coordinators
            .insert((of, Bytes::copy_from_slice(key)), broker);
        self.state.changed = true;
        Ok(())
    }

    /// All transactional ids that were ever used, with their transactions.
    pub fn transactions(&self) -> impl Iterator<Item = (&Bytes, &Transaction)> {
        self.state.transactions.iter()
    }

    /// The positions that a group has stored, by topic and partition; none for an unknown group.
    pub fn committed_offsets(
        &self,
        group: &[u8],
    ) -> impl Iterator<Item = (&(Bytes, i32), &CommittedOffset)> {
        self.state.groups.committed(group)
    }

    /// What a share group has of the partitions of topics that there are.
    pub fn shared<'a>(
        &'a self,
        group: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, i32, &'a SharePartition)> {
        let shared = self.state.shares.of(group);
        shared.filter_map(|(&(topic, partition), shared)| {
            Some((self.state.topic_name(&topic)?, partition, shared))
        })
    }

    /// The share sessions that brokers remember of a group.
    pub fn share_sessions<'a>(&'a self, group: &'a [u8]) -> impl Iterator<Item = &'a ShareSession> {
        let sessions = self.state.shares.sessions.all();
        sessions.filter(move |session| session.group[..] == *group)
    }

    /// A group; `None` for one that was never heard of.
    pub fn group(&self, id: &[u8]) -> Option<GroupView> {
        let group = self.state.groups.get(id)?;
        Some(GroupView::of(group, &self.state.topic_table()))
    }
}
