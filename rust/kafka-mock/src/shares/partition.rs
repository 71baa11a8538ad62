//! A partition that a share group shares: the state of each record that is neither settled for good nor untouched.

use crate::log::PartitionLog;
use bytes::Bytes;
use kafka_wire::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};

/// Kafka's numbers of what may become of a record.
const GAP: i8 = 0;
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
pub(crate) const RENEW: i8 = 4;

/// Broker default of `group.share.partition.max.record.locks`.
const MAX_LOCKS: usize = 2000;

/// What holds for all groups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// For how long a record is locked.
    pub lock_ms: u64,
    /// How often a record is delivered at most.
    pub delivery_limit: i16,
}

/// A member that holds records, by its session with a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub member: Bytes,
    pub broker: i32,
}

/// The state of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareState {
    /// It can be acquired.
    Available,
    /// Somebody has it.
    Acquired,
    /// It was accepted.
    Acknowledged,
    /// It was rejected, delivered as often as it may be, or is none.
    Archived,
}

/// A record that was delivered once at least.
#[derive(Debug, Clone)]
pub struct SharedRecord {
    /// How it stands.
    pub state: ShareState,
    /// How often it was delivered.
    pub delivery_count: i16,
    /// Until when it is locked.
    pub locked_until_ms: u64,
    holder: Option<Holder>,
}

/// The state of a partition for a group.
#[derive(Debug, Clone)]
pub struct SharePartition {
    /// All before it is settled.
    pub start_offset: i64,
    /// Nothing from here on was delivered.
    pub end_offset: i64,
    /// In between.
    pub records: BTreeMap<i64, SharedRecord>,
    leader_epoch: i32,
}

/// Records that were acquired: first and last offset, and how often they were delivered by now.
pub(crate) type Acquired = (i64, i64, i16);

/// What a member says of records: first and last offset, and what became of all or each.
pub(crate) type Settling = (i64, i64, Vec<i8>);

/// What a member asks for.
pub(crate) struct Wish<'a> {
    pub member: &'a Bytes,
    pub broker: i32,
    pub records: usize,
    /// No batch may make it more.
    pub is_strict: bool,
    pub bytes: usize,
    pub batch_size: usize,
    pub now_ms: u64,
}

impl SharedRecord {
    fn is_settled(&self) -> bool {
        matches!(self.state, ShareState::Acknowledged | ShareState::Archived)
    }

    fn is_held_by(&self, holder: &Holder) -> bool {
        self.state == ShareState::Acquired && self.holder.as_ref() == Some(holder)
    }

    /// Nobody has it any more.
    fn give_back(&mut self, rules: &Rules) {
        self.holder = None;
        self.state = match self.delivery_count >= rules.delivery_limit {
            true => ShareState::Archived,
            false => ShareState::Available,
        };
    }
}

impl SharePartition {
    pub(crate) fn new(start_offset: i64, leader_epoch: i32) -> Self {
        Self {
            start_offset,
            end_offset: start_offset,
            records: BTreeMap::new(),
            leader_epoch,
        }
    }

    /// The log is as it is, under a leader of that epoch: a new leader knows of no locks.
    pub(crate) fn look_at(&mut self, log: &PartitionLog, leader_epoch: i32, rules: &Rules) {
        if self.leader_epoch != leader_epoch {
            self.leader_epoch = leader_epoch;
            let held = self.records.values_mut();
            held.filter(|record| record.state == ShareState::Acquired)
                .for_each(|record| record.give_back(rules));
        }
        self.start_offset = self.start_offset.max(log.start_offset());
        self.end_offset = self.end_offset.max(self.start_offset);
        self.records = self.records.split_off(&self.start_offset);
        self.advance();
    }

    /// Acquires what is available: batches of the log, and what was acquired of them.
    pub(crate) fn acquire(
        &mut self,
        log: &PartitionLog,
        wish: &Wish<'_>,
        rules: &Rules,
    ) -> (Vec<Bytes>, Vec<Acquired>) {
        let (mut parts, mut acquired, mut count, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
        for (base, last, batch) in log.spans_from(self.start_offset) {
            let is_full = count >= wish.records || (count > 0 && bytes + batch.len() > wish.bytes);
            if is_full || (last >= self.end_offset && self.locked() >= MAX_LOCKS) {
                break;
            }
            self.look_into(base, last);
            let free = self.records.range_mut(base.max(self.start_offset)..=last);
            let most = match wish.is_strict {
                true => wish.records - count,
                false => usize::MAX,
            };
            let mut any = false;
            for (&offset, record) in free
                .filter(|(_, record)| record.state == ShareState::Available)
                .take(most)
            {
                record.state = ShareState::Acquired;
                record.delivery_count += 1;
                record.locked_until_ms = wish.now_ms.saturating_add(rules.lock_ms);
                record.holder = Some(Holder {
                    member: wish.member.clone(),
                    broker: wish.broker,
                });
                append(
                    &mut acquired,
                    offset,
                    record.delivery_count,
                    wish.batch_size,
                    !any,
                );
                (any, count) = (true, count + 1);
            }
            if any {
                bytes += batch.len();
                parts.push(batch.clone());
            }
        }
        (parts, acquired)
    }

    /// Settles records, all of them or none.
    pub(crate) fn settle(
        &mut self,
        (member, broker): (&Bytes, i32),
        settling: &[Settling],
        is_record: impl FnOnce() -> BTreeSet<i64>,
        now_ms: u64,
        rules: &Rules,
    ) -> Result<(), i16> {
        let holder = Holder {
            member: member.clone(),
            broker,
        };
        let each = each_of(settling)?;
        let is_held = |offset: &i64| {
            let record = self.records.get(offset);
            record.is_some_and(|record| record.is_held_by(&holder))
        };
        if !each.iter().all(|(offset, _)| is_held(offset)) {
            return Err(ErrorCode::InvalidRecordState.code());
        }
        if each.iter().any(|(_, kind)| *kind == GAP) {
            let records = is_record();
            if each
                .iter()
                .any(|(at, kind)| *kind == GAP && records.contains(at))
            {
                return Err(ErrorCode::InvalidRequest.code());
            }
        }
        for (offset, kind) in each {
            let Some(record) = self.records.get_mut(&offset) else {
                continue;
            };
            match kind {
                ACCEPT => record.state = ShareState::Acknowledged,
                RELEASE => record.give_back(rules),
                RENEW => record.locked_until_ms = now_ms.saturating_add(rules.lock_ms),
                _ => record.state = ShareState::Archived,
            }
        }
        self.advance();
        Ok(())
    }

    pub(crate) fn release_all(&mut self, holder: &Holder, rules: &Rules) {
        let held = self.records.values_mut();
        held.filter(|record| record.is_held_by(holder))
            .for_each(|record| record.give_back(rules));
        self.advance();
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let held = self.records.values();
        held.filter(|record| record.state == ShareState::Acquired)
            .map(|record| record.locked_until_ms)
            .min()
    }

    /// Ends the locks whose time is over; whether there were any.
    pub(crate) fn expire(&mut self, now_ms: u64, rules: &Rules) -> bool {
        let mut any = false;
        for record in self.records.values_mut() {
            if record.state == ShareState::Acquired && record.locked_until_ms <= now_ms {
                record.give_back(rules);
                any = true;
            }
        }
        self.advance();
        any
    }

    fn locked(&self) -> usize {
        self.records.len()
    }

    /// Offsets of a batch that nobody has asked for before can be acquired from now on.
    fn look_into(&mut self, base: i64, last: i64) {
        for offset in base.max(self.end_offset)..=last {
            let record = SharedRecord {
                state: ShareState::Available,
                delivery_count: 0,
                locked_until_ms: 0,
                holder: None,
            };
            self.records.insert(offset, record);
        }
        self.end_offset = self.end_offset.max(last + 1);
    }

    fn advance(&mut self) {
        while self.start_offset < self.end_offset {
            match self.records.get(&self.start_offset) {
                Some(record) if !record.is_settled() => return,
                _ => self.records.remove(&self.start_offset),
            };
            self.start_offset += 1;
        }
    }
}

/// One offset more, in the run before it where it fits.
fn append(
    runs: &mut Vec<Acquired>,
    offset: i64,
    count: i16,
    batch_size: usize,
    is_new_batch: bool,
) {
    if let Some((first, last, delivered)) = runs.last_mut() {
        let is_full = usize::try_from(*last - *first + 1).is_ok_and(|len| len >= batch_size.max(1));
        if *last + 1 == offset && *delivered == count && !is_new_batch && !is_full {
            *last = offset;
            return;
        }
    }
    runs.push((offset, offset, count));
}

/// What becomes of each offset, if that is said as brokers want it.
fn each_of(settling: &[Settling]) -> Result<Vec<(i64, i8)>, i16> {
    let invalid = ErrorCode::InvalidRequest.code();
    let mut each: Vec<(i64, i8)> = Vec::new();
    for (first, last, kinds) in settling {
        let is_behind = each.last().is_none_or(|(offset, _)| offset < first);
        let len = usize::try_from(last.saturating_sub(*first).saturating_add(1)).unwrap_or(0);
        let is_complete = kinds.len() == 1 || kinds.len() == len;
        let are_known = kinds.iter().all(|kind| (GAP..=RENEW).contains(kind));
        if !is_behind || len == 0 || len > MAX_LOCKS * 10 || !is_complete || !are_known {
            return Err(invalid);
        }
        each.extend((*first..=*last).enumerate().map(|(at, offset)| {
            let kind = kinds.get(at).unwrap_or(&kinds[0]);
            (offset, *kind)
        }));
    }
    Ok(each)
}
