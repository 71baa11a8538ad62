//! Brokers whose logs are replicated, as far as a producer with acks -1 can tell them from Kafka's: leaders that die or
//! hang, others that take over with what they have of the log, and the old ones, which do not know of it yet.

use super::{follows, numbers, stamp, Dice, Stamped};
use bytes::Bytes;

pub const NODES: usize = 3;

/// `min.insync.replicas`.
const MIN_IN_SYNC: usize = 2;

/// How many of a producer's batches brokers know again.
const REMEMBERED: usize = 5;

/// `max.message.bytes`: some of the batches are larger, no record is.
const MAX_BATCH: usize = 450;

pub const NOT_LEADER: i16 = 6;
pub const TIMED_OUT: i16 = 7;
const TOO_LARGE: i16 = 10;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const NOT_ENOUGH_AFTER_APPEND: i16 = 20;
const OUT_OF_ORDER: i16 = 45;

#[derive(Clone, Debug, PartialEq)]
struct Batch {
    leader_epoch: i32,
    stamp: Option<Stamped>,
    numbers: Vec<u32>,
}

/// Who leads a partition, and who has all of its log.
#[derive(Clone, Debug)]
pub struct Leadership {
    pub epoch: i32,
    pub leader: Option<usize>,
    in_sync: Vec<usize>,
}

/// A node's copy of a partition.
struct Replica {
    log: Vec<Batch>,
    /// The high watermark, in batches.
    committed: usize,
    /// What the node has heard from the controller.
    heard: Leadership,
    /// What a leader knows of the others: up to where they have its log.
    reached: [usize; NODES],
    /// Where its log ended when it became the leader.
    led_from: usize,
}

impl Replica {
    fn leads(&self, node: usize) -> bool {
        self.heard.leader == Some(node)
    }

    fn commit(&mut self, node: usize) {
        let in_sync = &self.heard.in_sync;
        if in_sync.len() < MIN_IN_SYNC {
            return;
        }
        let end = |&of: &usize| match of == node {
            true => self.log.len(),
            false => self.reached[of],
        };
        let shortest = in_sync.iter().map(end).min().unwrap_or(0);
        self.committed = self.committed.max(shortest);
    }

    fn offset(&self, batch: usize) -> usize {
        let before = self.log[..batch].iter();
        before.map(|batch| batch.numbers.len()).sum()
    }

    /// The index of a batch that is in the log already; else whether it may be written.
    fn find(&self, stamp: Stamped) -> Result<Option<usize>, i16> {
        let (identity, first, _) = stamp;
        let known = self.log.iter().enumerate().rev();
        let known = known.filter_map(|(index, batch)| Some((index, batch.stamp?)));
        let mut known = known
            .filter(|(_, (by, ..))| *by == identity)
            .take(REMEMBERED)
            .peekable();
        // A stranger may begin anywhere.
        let Some(&(_, (_, _, before))) = known.peek() else {
            return Ok(None);
        };
        match known.find(|&(_, of)| of == stamp) {
            Some((index, _)) => Ok(Some(index)),
            None if follows(first, before) => Ok(None),
            None => Err(OUT_OF_ORDER),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Up,
    /// It hangs: its connections are there, it reads nothing.
    Stopped,
    Dead,
}

struct Node {
    life: Life,
    replicas: Vec<Replica>,
}

/// A batch that a broker has looked at, and whose replication it may wait for.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    Waits {
        partition: usize,
        epoch: i32,
        batch: usize,
    },
    Answered {
        code: i16,
        offset: usize,
    },
}

impl Progress {
    pub fn refused(code: i16) -> Progress {
        Progress::Answered { code, offset: 0 }
    }
}

pub struct Cluster {
    nodes: Vec<Node>,
    /// The controller's decisions, by partition.
    partitions: Vec<Leadership>,
    /// Nodes that the controller has given up.
    fenced: Vec<bool>,
}

impl Cluster {
    pub fn new(partitions: usize) -> Cluster {
        let leaderships = (0..partitions).map(|partition| Leadership {
            epoch: 0,
            leader: Some(partition % NODES),
            in_sync: (0..NODES).collect(),
        });
        let partitions: Vec<_> = leaderships.collect();
        let replica = |heard: &Leadership| Replica {
            log: Vec::new(),
            committed: 0,
            heard: heard.clone(),
            reached: [0; NODES],
            led_from: 0,
        };
        let node = |_| Node {
            life: Life::Up,
            replicas: partitions.iter().map(replica).collect(),
        };
        Cluster {
            nodes: (0..NODES).map(node).collect(),
            fenced: vec![false; NODES],
            partitions,
        }
    }

    pub fn life(&self, node: usize) -> Life {
        self.nodes[node].life
    }

    /// What a node says of a partition.
    pub fn leadership(&self, node: usize, partition: usize) -> &Leadership {
        &self.nodes[node].replicas[partition].heard
    }

    /// The numbers of the records in the leader's log.
    pub fn log(&self, partition: usize) -> Vec<u32> {
        let leader = self.partitions[partition].leader.expect("it has a leader");
        let log = self.nodes[leader].replicas[partition].log.iter();
        log.flat_map(|batch| batch.numbers.iter().copied())
            .collect()
    }

    /// Whether everything in a leader's log is to be read.
    pub fn is_committed(&self, partition: usize) -> bool {
        let leader = self.partitions[partition].leader;
        leader.is_some_and(|leader| {
            let replica = &self.nodes[leader].replicas[partition];
            replica.committed == replica.log.len()
        })
    }
}

/// What happens to nodes.
impl Cluster {
    pub fn stop(&mut self, node: usize) {
        if self.nodes[node].life == Life::Up {
            self.nodes[node].life = Life::Stopped;
        }
    }

    pub fn go_on(&mut self, node: usize) {
        if self.nodes[node].life == Life::Stopped {
            self.nodes[node].life = Life::Up;
        }
    }

    /// What was written survives; of what was committed only an earlier state does.
    pub fn kill(&mut self, node: usize, dice: &mut Dice) {
        self.nodes[node].life = Life::Dead;
        for replica in &mut self.nodes[node].replicas {
            replica.committed = dice.below(replica.committed + 1);
            replica.heard.leader = None;
        }
    }

    /// It comes back when the controller knows that it was gone, and knows what the controller has decided.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].life != Life::Dead {
            return;
        }
        self.give_up(node);
        self.nodes[node].life = Life::Up;
        for partition in 0..self.partitions.len() {
            self.hear(node, partition);
        }
        self.take_back(node);
    }

    /// The controller misses a node's heartbeats.
    pub fn give_up(&mut self, node: usize) {
        if self.nodes[node].life == Life::Up || self.fenced[node] {
            return;
        }
        self.fenced[node] = true;
        for partition in 0..self.partitions.len() {
            let in_sync = &mut self.partitions[partition].in_sync;
            if in_sync.len() > 1 {
                in_sync.retain(|&of| of != node);
            }
            let leads = self.partitions[partition].leader == Some(node);
            self.elect(partition, leads);
        }
    }

    /// The controller hears of a node again, which has heard everything.
    pub fn take_back(&mut self, node: usize) {
        let is_informed = (0..self.partitions.len())
            .all(|p| self.nodes[node].replicas[p].heard.epoch == self.partitions[p].epoch);
        if self.nodes[node].life != Life::Up || !self.fenced[node] || !is_informed {
            return;
        }
        self.fenced[node] = false;
        for partition in 0..self.partitions.len() {
            self.elect(partition, self.partitions[partition].leader.is_none());
        }
    }

    /// Another leader if one is needed, of those that have all of the log; none where there is no such.
    fn elect(&mut self, partition: usize, is_needed: bool) {
        let leadership = &mut self.partitions[partition];
        let leader = leadership.in_sync.iter().find(|&&node| !self.fenced[node]);
        if is_needed {
            leadership.leader = leader.copied();
            leadership.epoch += 1;
        }
    }

    /// The controller moves a partition on to another node that has all of the log.
    pub fn move_leader(&mut self, partition: usize, to: usize) {
        let leadership = &mut self.partitions[partition];
        if leadership.in_sync.contains(&to) && !self.fenced[to] {
            leadership.leader = Some(to);
            leadership.epoch += 1;
        }
    }

    /// A node hears what the controller has decided.
    pub fn hear(&mut self, node: usize, partition: usize) {
        if self.nodes[node].life != Life::Up {
            return;
        }
        let decided = self.partitions[partition].clone();
        let replica = &mut self.nodes[node].replicas[partition];
        if decided.epoch > replica.heard.epoch && decided.leader == Some(node) {
            replica.reached = [0; NODES];
            replica.led_from = replica.log.len();
        }
        let led = replica.leads(node);
        replica.heard = decided;
        if replica.leads(node) && led {
            replica.commit(node);
        }
    }
}

/// What nodes say to each other.
impl Cluster {
    /// A follower fetches from its leader, which learns from that how far the follower is.
    pub fn fetch(&mut self, node: usize, partition: usize, most: usize) {
        let heard = self.leadership(node, partition);
        let (epoch, leader) = (heard.epoch, heard.leader);
        let Some(leader) = leader.filter(|&leader| leader != node) else {
            return;
        };
        let is_alive = |node: usize| self.nodes[node].life == Life::Up;
        let other = self.leadership(leader, partition);
        if !is_alive(node)
            || !is_alive(leader)
            || other.epoch != epoch
            || other.leader != Some(leader)
        {
            return;
        }
        let source = &self.nodes[leader].replicas[partition].log;
        let log = &self.nodes[node].replicas[partition].log;
        let common = log.iter().zip(source).take_while(|(a, b)| a == b).count();
        let new: Vec<_> = source[common..].iter().take(most).cloned().collect();
        self.nodes[node].replicas[partition].log.truncate(common);
        self.fetched_up_to(leader, node, partition, common);
        let committed = self.nodes[leader].replicas[partition].committed;
        let replica = &mut self.nodes[node].replicas[partition];
        replica.log.extend(new);
        replica.committed = committed.min(replica.log.len());
    }

    fn fetched_up_to(&mut self, leader: usize, node: usize, partition: usize, end: usize) {
        let replica = &mut self.nodes[leader].replicas[partition];
        replica.reached[node] = end;
        let is_there = end >= replica.committed && end >= replica.led_from;
        if is_there && !replica.heard.in_sync.contains(&node) && !self.fenced[node] {
            self.alter(leader, partition, |in_sync| in_sync.push(node));
        }
        self.nodes[leader].replicas[partition].commit(leader);
    }

    /// A leader gives up followers that are behind.
    pub fn shrink(&mut self, leader: usize, partition: usize) {
        let replica = &self.nodes[leader].replicas[partition];
        if self.nodes[leader].life != Life::Up || !replica.leads(leader) {
            return;
        }
        let (end, reached) = (replica.log.len(), replica.reached);
        self.alter(leader, partition, |in_sync| {
            in_sync.retain(|&of| of == leader || reached[of] >= end)
        });
        self.nodes[leader].replicas[partition].commit(leader);
    }

    /// A leader asks the controller to change who is in sync; one that is no longer the leader asks in vain.
    fn alter(&mut self, leader: usize, partition: usize, change: impl FnOnce(&mut Vec<usize>)) {
        let decided = &mut self.partitions[partition];
        let replica = &mut self.nodes[leader].replicas[partition];
        if decided.epoch == replica.heard.epoch && decided.leader == Some(leader) {
            change(&mut decided.in_sync);
            replica.heard.in_sync = decided.in_sync.clone();
        }
    }
}

/// What a producer says to them.
impl Cluster {
    /// A node takes a batch, if it believes that it leads the partition.
    pub fn produce(&mut self, node: usize, partition: usize, bytes: &Bytes) -> Progress {
        let replica = &mut self.nodes[node].replicas[partition];
        if !replica.leads(node) {
            return Progress::refused(NOT_LEADER);
        }
        if replica.heard.in_sync.len() < MIN_IN_SYNC {
            return Progress::refused(NOT_ENOUGH_REPLICAS);
        }
        if bytes.len() > MAX_BATCH {
            return Progress::refused(TOO_LARGE);
        }
        let stamp = stamp(bytes);
        let batch = match stamp.map_or(Ok(None), |stamp| replica.find(stamp)) {
            Err(code) => return Progress::refused(code),
            Ok(Some(index)) => index,
            Ok(None) => {
                replica.log.push(Batch {
                    leader_epoch: replica.heard.epoch,
                    stamp,
                    numbers: numbers(bytes),
                });
                replica.log.len() - 1
            }
        };
        Progress::Waits {
            partition,
            epoch: replica.heard.epoch,
            batch,
        }
    }

    /// How a batch stands that a node has taken.
    pub fn progress(&self, node: usize, before: Progress) -> Progress {
        let Progress::Waits {
            partition,
            epoch,
            batch,
        } = before
        else {
            return before;
        };
        let replica = &self.nodes[node].replicas[partition];
        if !replica.leads(node) || replica.heard.epoch != epoch {
            return Progress::refused(NOT_LEADER);
        }
        if replica.committed <= batch {
            return before;
        }
        match replica.heard.in_sync.len() < MIN_IN_SYNC {
            true => Progress::refused(NOT_ENOUGH_AFTER_APPEND),
            false => Progress::Answered {
                code: 0,
                offset: replica.offset(batch),
            },
        }
    }
}
