//! Share sessions: what a broker remembers of a member that fetches.

use super::Place;
use crate::conn_id::ConnId;
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::BTreeMap;

/// The epoch that opens a session, and the one that closes it.
pub(crate) const OPENS: i32 = 0;
pub(crate) const CLOSES: i32 = -1;

/// A broker's memory of one member.
#[derive(Debug, Clone)]
pub struct ShareSession {
    /// The group.
    pub group: Bytes,
    /// Its member.
    pub member: Bytes,
    /// The broker that has it.
    pub broker: i32,
    /// That of the next request.
    pub epoch: i32,
    /// The connection with which it ends.
    pub conn: ConnId,
    pub(crate) partitions: Vec<Place>,
    /// When it ends, once its connection is gone.
    pub(crate) ends_ms: Option<u64>,
}

/// Those of all brokers.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_member: BTreeMap<(Bytes, Bytes, i32), ShareSession>,
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Of an open session, a new one perhaps.
    Session,
    /// The last one.
    Closing,
}

impl Sessions {
    pub fn all(&self) -> impl Iterator<Item = &ShareSession> {
        self.by_member.values()
    }

    pub fn get(&mut self, group: &Bytes, member: &Bytes, broker: i32) -> Option<&mut ShareSession> {
        let key = (group.clone(), member.clone(), broker);
        self.by_member.get_mut(&key)
    }

    pub fn take(&mut self, group: &Bytes, member: &Bytes, broker: i32) -> Option<ShareSession> {
        let key = (group.clone(), member.clone(), broker);
        self.by_member.remove(&key)
    }

    /// Those of connections that are gone end then.
    pub fn mark_lost(&mut self, is_open: impl Fn(ConnId) -> bool, ends_ms: u64) {
        let lost = self.by_member.values_mut();
        lost.filter(|session| !is_open(session.conn))
            .for_each(|session| session.ends_ms = session.ends_ms.or(Some(ends_ms)));
    }

    /// Takes out those.
    pub fn end_where(&mut self, is_over: impl Fn(&ShareSession) -> bool) -> Vec<ShareSession> {
        let over: Vec<_> = self
            .by_member
            .iter()
            .filter(|(_, session)| is_over(session))
            .map(|(key, _)| key.clone())
            .collect();
        over.iter()
            .filter_map(|key| self.by_member.remove(key))
            .collect()
    }

    /// A new session in place of an old one.
    pub fn open(&mut self, group: &Bytes, member: &Bytes, broker: i32, conn: ConnId) {
        let session = ShareSession {
            group: group.clone(),
            member: member.clone(),
            broker,
            epoch: 1,
            conn,
            partitions: Vec::new(),
            ends_ms: None,
        };
        let key = (group.clone(), member.clone(), broker);
        self.by_member.insert(key, session);
    }

    /// The next request of an open session, or its last one.
    pub fn go_on(
        &mut self,
        group: &Bytes,
        member: &Bytes,
        broker: i32,
        epoch: i32,
    ) -> Result<Opened, i16> {
        let session = self
            .get(group, member, broker)
            .ok_or(ErrorCode::ShareSessionNotFound.code())?;
        if epoch == CLOSES {
            return Ok(Opened::Closing);
        }
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch.code());
        }
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        Ok(Opened::Session)
    }
}

impl ShareSession {
    pub(crate) fn add(&mut self, place: Place) {
        if !self.partitions.contains(&place) {
            self.partitions.push(place);
        }
    }

    pub(crate) fn forget(&mut self, place: Place) {
        self.partitions.retain(|known| *known != place);
    }

    /// Who was served comes last the next time.
    pub(crate) fn served(&mut self, place: Place) {
        if let Some(at) = self.partitions.iter().position(|known| *known == place) {
            let place = self.partitions.remove(at);
            self.partitions.push(place);
        }
    }
}
