//! Idempotence as a property: whatever requests and answers are lost, refused, late or split, the logs of a model
//! cluster, which checks sequence numbers as brokers do (KIP-98), end up with every record once and in order.

mod support;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kafka_producer::verdict::Cause;
use kafka_producer::{Accumulator, BatchId, Destination, Fate, Identity, Outgoing};

use support::{follows, histories, numbers, record, scale, settings, stamp, wait};
use support::{Dice, Records, TOPIC};

const PARTITIONS: usize = 2;
const NODES: i32 = 2;
const REQUESTS_IN_FLIGHT: usize = 5;
const REMEMBERED: usize = 5;

const TOO_LARGE: i16 = 10;
const NOT_LEADER: i16 = 6;
const TIMED_OUT: i16 = 7;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const OUT_OF_ORDER: i16 = 45;
const INVALID_RECORD: i16 = 87;

/// A partition of the cluster: all nodes share its log and what it knows of producers.
#[derive(Default)]
struct Log {
    values: Vec<u32>,
    known: HashMap<Identity, VecDeque<(i32, i32)>>,
    leader: i32,
}

impl Log {
    fn knows(&self, bytes: &Bytes) -> bool {
        let (identity, first, last) = stamp(bytes).expect("an identity");
        let known = self.known.get(&identity);
        known.is_some_and(|known| known.contains(&(first, last)))
    }

    fn append(&mut self, bytes: &Bytes) -> i16 {
        let (identity, first, last) = stamp(bytes).expect("an identity");
        match self.known.get(&identity) {
            Some(known) if known.contains(&(first, last)) => return 0,
            Some(known) => {
                let (_, before) = *known.back().expect("never empty");
                if !follows(first, before) {
                    return OUT_OF_ORDER;
                }
            }
            // A stranger may begin anywhere.
            None => {}
        }
        let known = self.known.entry(identity).or_default();
        known.push_back((first, last));
        if known.len() > REMEMBERED {
            known.pop_front();
        }
        self.values.extend(numbers(bytes));
        0
    }
}

struct InFlight {
    batches: Vec<Outgoing>,
    /// One code a batch, once the broker has looked at the request.
    answer: Option<Vec<i16>>,
}

/// What may go wrong besides lost connections and moving leaders.
#[derive(Clone, Copy)]
struct Trouble {
    /// Batches that are refused for good, and ones that expire.
    losses: bool,
    /// Transactions are open now and then, which these records are no part of.
    transactions: bool,
}

struct World {
    dice: Dice,
    trouble: Trouble,
    calm: bool,
    accumulator: Accumulator<u32>,
    logs: Vec<Log>,
    links: Vec<VecDeque<InFlight>>,
    /// Requests that a broker still has although their connection is gone.
    zombies: Vec<(i32, Vec<Outgoing>)>,
    next_producer: i64,
    records: Records,
}

impl World {
    fn new(seed: u64, trouble: Trouble) -> World {
        let mut settings = settings(seed);
        settings.transactional = trouble.transactions;
        let mut accumulator = Accumulator::new(settings);
        accumulator.route(TOPIC, &[0; PARTITIONS]);
        World {
            dice: Dice::new(seed),
            trouble,
            calm: false,
            accumulator,
            logs: (0..PARTITIONS).map(|_| Log::default()).collect(),
            links: (0..NODES).map(|_| VecDeque::new()).collect(),
            zombies: Vec::new(),
            next_producer: 1000,
            records: Records::new(PARTITIONS),
        }
    }

    /// A record of a partition, outside of transactions: its number tells both.
    fn produce(&mut self) {
        if self.accumulator.in_transaction() {
            return;
        }
        self.records.append(&mut self.dice, &mut self.accumulator);
    }

    /// A transaction begins while records from before it wait for their topic to be known again.
    fn begin_transaction(&mut self) {
        self.accumulator.end_transaction();
        self.accumulator.route(TOPIC, &[]);
        for _ in 0..self.dice.below(8) {
            let (partition, number, value) = self.records.next(&mut self.dice);
            let topic = self.accumulator.topic_index(TOPIC);
            let destination = Destination::Partition(partition as u32);
            self.accumulator
                .park(topic, destination, record(&value), Some(number))
                .expect("small");
        }
        self.accumulator.begin_transaction();
        self.refresh_metadata();
        let topic = self.accumulator.topic_index(TOPIC);
        self.accumulator.unpark(topic, usize::MAX);
    }

    fn send(&mut self) {
        for node in 0..NODES {
            while self.links[node as usize].len() < REQUESTS_IN_FLIGHT {
                let batches = self.accumulator.take_request(node);
                if batches.is_empty() {
                    break;
                }
                self.links[node as usize].push_back(InFlight {
                    batches,
                    answer: None,
                });
            }
        }
        self.check_limits();
    }

    /// No more batches of a partition under way than brokers remember.
    fn check_limits(&self) {
        for partition in 0..PARTITIONS {
            let under_way = self.links.iter().flatten().flat_map(|r| &r.batches);
            let count = under_way.filter(|b| b.place.partition == partition).count();
            assert!(count <= REMEMBERED, "{count} batches in flight");
        }
    }

    fn broker_reads(&mut self, node: i32) {
        let Some(index) = self.links[node as usize]
            .iter()
            .position(|request| request.answer.is_none())
        else {
            return;
        };
        let batches: Vec<_> = self.links[node as usize][index]
            .batches
            .iter()
            .map(|batch| (batch.place.partition, batch.bytes.clone().into_bytes()))
            .collect();
        let answer = batches
            .iter()
            .map(|(partition, bytes)| self.judge(node, *partition, bytes))
            .collect();
        self.links[node as usize][index].answer = Some(answer);
    }

    fn judge(&mut self, node: i32, partition: usize, bytes: &Bytes) -> i16 {
        if self.logs[partition].leader != node {
            return NOT_LEADER;
        }
        if !self.calm && self.dice.one_in(4) {
            match self.dice.below(if self.trouble.losses { 7 } else { 6 }) {
                0 => return NOT_ENOUGH_REPLICAS,
                1 | 2 => {
                    // Written, and yet not a success for who asked.
                    let code = self.logs[partition].append(bytes);
                    let late = [TIMED_OUT, NOT_LEADER][self.dice.below(2)];
                    return if code == 0 { late } else { code };
                }
                3 => return NOT_LEADER,
                // What is too large or bad has never been taken, and a broker that has lost count does not know the
                // batch; nor do they learn of it later.
                4.. if self.is_haunted(partition) || self.logs[partition].knows(bytes) => {}
                4 => return TOO_LARGE,
                5 => return OUT_OF_ORDER,
                _ => return INVALID_RECORD,
            }
        }
        let code = self.logs[partition].append(bytes);
        if code != OUT_OF_ORDER || !self.is_haunted(partition) {
            return code;
        }
        // A copy of it that comes later, after its sender was told no, may find its turn: that no client can exclude.
        while !self.zombies.is_empty() {
            self.zombie_awakes();
        }
        self.logs[partition].append(bytes)
    }

    fn is_haunted(&self, partition: usize) -> bool {
        self.zombies
            .iter()
            .flat_map(|(_, batches)| batches)
            .any(|batch| batch.place.partition == partition)
    }

    fn answer_arrives(&mut self, node: i32) {
        let link = &mut self.links[node as usize];
        if link.front().is_none_or(|request| request.answer.is_none()) {
            return;
        }
        let request = link.pop_front().expect("looked at");
        for (batch, code) in request
            .batches
            .iter()
            .zip(request.answer.expect("looked at"))
        {
            self.answered(batch.id, code);
        }
    }

    fn answered(&mut self, id: BatchId, code: i16) {
        if code != 0 {
            return self.failed(id, Cause::Refused(code));
        }
        let (_, batch) = self.accumulator.acknowledge(id).expect("in flight");
        self.records.acknowledge(batch.callbacks);
    }

    fn failed(&mut self, id: BatchId, cause: Cause) {
        let random = self.dice.below(100) as f64 / 100.0;
        let (_, fate) = self
            .accumulator
            .failed(id, cause, "", random)
            .expect("in flight");
        if let Fate::Failed { batch, .. } = fate {
            self.records.fail(batch.callbacks);
        }
    }

    fn disconnect(&mut self, node: i32) {
        let requests = std::mem::take(&mut self.links[node as usize]);
        let mut unread = Vec::new();
        for request in requests {
            for batch in &request.batches {
                self.failed(batch.id, Cause::Unanswered);
            }
            if request.answer.is_none() {
                unread.push(request.batches);
            }
        }
        // A broker reads a connection's requests one by one, to the end of what has reached it.
        let reached = self.dice.below(unread.len() + 1);
        for batches in unread.into_iter().take(reached) {
            self.zombies.push((node, batches));
        }
    }

    fn zombie_awakes(&mut self) {
        if self.zombies.is_empty() {
            return;
        }
        let (node, batches) = self.zombies.remove(0);
        for batch in batches {
            let partition = batch.place.partition;
            if self.logs[partition].leader == node {
                self.logs[partition].append(&batch.bytes.into_bytes());
            }
        }
    }

    fn refresh_metadata(&mut self) {
        let leaders: Vec<i32> = self.logs.iter().map(|log| log.leader).collect();
        self.accumulator.route(TOPIC, &leaders);
    }

    fn identify(&mut self) {
        self.next_producer += 1;
        self.accumulator.set_identity(Identity {
            id: self.next_producer,
            epoch: 0,
        });
    }

    /// Some time passes, in which the next try of some batches comes, or of all.
    fn resume(&mut self) {
        let most = match self.calm {
            true => 2_000,
            false => self.dice.below(1_000) as u64,
        };
        wait(Duration::from_millis(most));
        self.accumulator.resume();
    }

    fn step(&mut self) {
        let node = self.dice.below(NODES as usize) as i32;
        match self.dice.below(100) {
            0..=19 => self.produce(),
            20..=26 => self.accumulator.all_due(),
            27 => self.accumulator.seal_all(),
            28..=39 => self.send(),
            40..=59 => self.broker_reads(node),
            60..=79 => self.answer_arrives(node),
            80..=86 => self.resume(),
            87..=89 => self.refresh_metadata(),
            90..=91 => {
                let partition = self.dice.below(PARTITIONS);
                self.logs[partition].leader = node;
            }
            92..=93 => self.disconnect(node),
            94..=95 => self.zombie_awakes(),
            96 if self.trouble.transactions && self.dice.one_in(2) => self.begin_transaction(),
            96 if self.trouble.transactions => self.accumulator.end_transaction(),
            96..=97 if self.accumulator.needs_identity() => self.identify(),
            // A new identity that other partitions needed.
            98 if self.dice.one_in(4) => self.identify(),
            // A request that a broker still has after delivery_timeout could follow the gap that its batch has left: that
            // no client can exclude.
            99 if self.trouble.losses && self.zombies.is_empty() && self.dice.one_in(4) => {
                for given_up in self.accumulator.expire(Duration::ZERO) {
                    self.records.fail(given_up.batch.callbacks);
                }
                // Nor is there a request that no answer comes for any more.
                self.accumulator.expire(Duration::MAX);
            }
            _ => {}
        }
    }

    /// Nothing goes wrong any more: everything is settled in the end.
    fn settle(&mut self) {
        self.calm = true;
        for _ in 0..10_000 {
            if self.accumulator.queued().0 == 0 {
                return;
            }
            self.accumulator.all_due();
            self.refresh_metadata();
            self.resume();
            if self.accumulator.needs_identity() {
                self.identify();
            }
            self.send();
            for node in 0..NODES {
                self.broker_reads(node);
                self.answer_arrives(node);
            }
        }
        panic!("not settled: {:?} left", self.accumulator.queued());
    }

    /// Gives the number of records that went through.
    fn check(&mut self) -> usize {
        while !self.zombies.is_empty() {
            self.zombie_awakes();
        }
        self.records.check_settled();
        assert_eq!(self.accumulator.queued(), (0, 0));
        let logs = self.logs.iter().enumerate();
        logs.map(|(partition, log)| self.records.check_log(partition, &log.values))
            .sum()
    }
}

/// Plays a history and gives the number of records that went through.
fn play(seed: u64, trouble: Trouble) -> usize {
    let mut world = World::new(seed, trouble);
    world.send();
    assert_eq!(world.links.iter().flatten().count(), 0, "no identity yet");
    world.identify();
    for _ in 0..2_000 {
        world.step();
    }
    world.settle();
    world.check()
}

#[test]
fn every_record_is_in_the_log_once_and_in_order() {
    let trouble = Trouble {
        losses: false,
        transactions: false,
    };
    let records = histories(0..scale(), |seed| play(seed, trouble));
    assert!(records as u64 > scale() * 100, "{records}");
}

#[test]
fn records_that_failed_neither_double_nor_disturb_the_others() {
    let trouble = Trouble {
        losses: true,
        transactions: false,
    };
    let records = histories(0..scale(), |seed| play(seed, trouble));
    assert!(records as u64 > scale() * 100, "{records}");
}

#[test]
fn records_that_failed_while_a_transaction_is_open_do_not_hold_up_the_others() {
    let trouble = Trouble {
        losses: true,
        transactions: true,
    };
    let records = histories(0..scale(), |seed| play(seed, trouble));
    assert!(records as u64 > scale() * 100, "{records}");
}
