//! The coordinator's own assignors: `uniform` and `range`.

use super::{Assigned, TopicTable};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// How partitions are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Assignor {
    /// Everybody gets as many, and keeps what he had.
    #[default]
    Uniform,
    /// Of every topic a run of partitions for each of those who want it.
    Range,
}

/// A member, as the assignors see it.
pub(super) struct Wanting<'a> {
    pub id: &'a Bytes,
    pub topics: &'a BTreeSet<Bytes>,
    /// What it was to have before.
    pub had: Option<&'a Assigned>,
}

impl Assignor {
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"uniform" => Some(Self::Uniform),
            b"range" => Some(Self::Range),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Who is to have what, by member id.
    pub(super) fn assign(
        self,
        members: &[Wanting<'_>],
        topics: &TopicTable,
    ) -> BTreeMap<Bytes, Assigned> {
        let shares = match self {
            Self::Uniform => uniform(members, topics),
            Self::Range => range(members, topics),
        };
        let ids = members.iter().map(|member| member.id.clone());
        ids.zip(shares).collect()
    }
}

fn range(members: &[Wanting<'_>], topics: &TopicTable) -> Vec<Assigned> {
    let mut shares = vec![Assigned::new(); members.len()];
    let mut sorted: Vec<usize> = (0..members.len()).collect();
    sorted.sort_by_key(|&member| members[member].id);
    for (name, &(topic, count)) in topics {
        let wanting: Vec<usize> = sorted
            .iter()
            .copied()
            .filter(|&member| members[member].topics.contains(name))
            .collect();
        let many = wanting.len() as i32;
        let mut next = 0;
        for (place, member) in (0..).zip(wanting) {
            let share = count / many + i32::from(place < count % many);
            shares[member].extend((next..next + share).map(|partition| (topic, partition)));
            next += share;
        }
    }
    shares
}

fn uniform(members: &[Wanting<'_>], topics: &TopicTable) -> Vec<Assigned> {
    let wants = |member: usize, name: &Bytes| members[member].topics.contains(name);
    let mut shares = vec![Assigned::new(); members.len()];
    let mut names = BTreeMap::new();
    for (name, &(topic, count)) in topics {
        names.insert(topic, name);
        for partition in 0..count {
            let of = (topic, partition);
            let had = |&member: &usize| {
                wants(member, name) && members[member].had.is_some_and(|had| had.contains(&of))
            };
            let poorest = || {
                let wanting = (0..members.len()).filter(|&member| wants(member, name));
                wanting.min_by_key(|&member| shares[member].len())
            };
            if let Some(member) = (0..members.len()).find(had).or_else(poorest) {
                shares[member].insert(of);
            }
        }
    }
    while let Some((from, to, of)) = better(&shares, |member, topic| wants(member, names[&topic])) {
        shares[from].remove(&of);
        shares[to].insert(of);
    }
    shares
}

/// A partition that would make the shares more equal in somebody else's hands.
fn better(
    shares: &[Assigned],
    wants: impl Fn(usize, [u8; 16]) -> bool,
) -> Option<(usize, usize, ([u8; 16], i32))> {
    let mut richest_first: Vec<usize> = (0..shares.len()).collect();
    richest_first.sort_by_key(|&member| std::cmp::Reverse(shares[member].len()));
    for &from in &richest_first {
        for &to in richest_first.iter().rev() {
            if shares[from].len() < shares[to].len() + 2 {
                break;
            }
            // The last, so that those who have the first partitions keep them.
            let mut last_first = shares[from].iter().rev();
            if let Some(&of) = last_first.find(|(topic, _)| wants(to, *topic)) {
                return Some((from, to, of));
            }
        }
    }
    None
}
