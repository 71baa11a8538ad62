//! Acknowledged is written: leaders die, hang and come back with logs of their own, requests and answers are lost or
//! late, and still every record that a callback was told of is in the log, at the offset that it was told, once and in
//! order if the producer is idempotent.

mod support;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use kafka_producer::verdict::Cause;
use kafka_producer::{Accumulator, BatchId, Fate, Identity, Outgoing, NO_LEADER};

use support::cluster::{Cluster, Life, Progress, NODES, TIMED_OUT};
use support::{histories, scale, settings, wait, Dice, Records, TOPIC};

const PARTITIONS: usize = 2;
const REQUESTS_IN_FLIGHT: usize = 5;
const STEPS: usize = 3_000;

/// A request on a connection.
struct Request {
    batches: Vec<Outgoing>,
    /// How its batches stand, once the broker has read it.
    progress: Option<Vec<Progress>>,
}

impl Request {
    fn is_answered(&self) -> bool {
        let is_done = |progress: &Progress| matches!(progress, Progress::Answered { .. });
        let progress = self.progress.as_ref();
        progress.is_some_and(|progress| progress.iter().all(is_done))
    }
}

struct World {
    dice: Dice,
    loses: bool,
    accumulator: Accumulator<u32>,
    cluster: Cluster,
    /// The producer's connections.
    links: Vec<VecDeque<Request>>,
    /// Requests that have reached a node although their connection is gone.
    orphans: Vec<(usize, Vec<Outgoing>)>,
    /// The leaders as the producer knows them, with their epochs.
    known: Vec<(i32, i32)>,
    next_producer: i64,
    records: Records,
    /// Where callbacks were told that records are.
    told: HashMap<u32, usize>,
}

impl World {
    fn new(seed: u64, is_idempotent: bool, loses: bool) -> World {
        let mut settings = settings(seed);
        settings.idempotent = is_idempotent;
        let mut world = World {
            dice: Dice::new(seed),
            loses,
            accumulator: Accumulator::new(settings),
            cluster: Cluster::new(PARTITIONS),
            links: (0..NODES).map(|_| VecDeque::new()).collect(),
            orphans: Vec::new(),
            known: vec![(-1, NO_LEADER); PARTITIONS],
            next_producer: 1000,
            records: Records::new(PARTITIONS),
            told: HashMap::new(),
        };
        world.refresh_metadata(0);
        world.identify();
        world
    }

    fn identify(&mut self) {
        self.next_producer += 1;
        self.accumulator.set_identity(Identity {
            id: self.next_producer,
            epoch: 0,
        });
    }

    /// The producer believes a node unless it knows better.
    fn refresh_metadata(&mut self, node: usize) {
        if self.cluster.life(node) != Life::Up {
            return;
        }
        for (partition, known) in self.known.iter_mut().enumerate() {
            let said = self.cluster.leadership(node, partition);
            let leader = said.leader.map_or(NO_LEADER, |leader| leader as i32);
            if said.epoch >= known.0 {
                *known = (said.epoch, leader);
            }
        }
        let leaders: Vec<i32> = self.known.iter().map(|(_, leader)| *leader).collect();
        self.accumulator.route(TOPIC, &leaders);
    }

    fn send(&mut self) {
        for node in 0..NODES {
            while self.cluster.life(node) != Life::Dead
                && self.links[node].len() < REQUESTS_IN_FLIGHT
            {
                let batches = self.accumulator.take_request(node as i32);
                if batches.is_empty() {
                    break;
                }
                self.links[node].push_back(Request {
                    batches,
                    progress: None,
                });
            }
        }
    }

    /// A broker goes on with a connection's requests, one after the other.
    fn work(&mut self, node: usize) {
        if self.cluster.life(node) != Life::Up {
            return;
        }
        let mut requests = self.links[node].iter_mut();
        let Some(request) = requests.find(|request| !request.is_answered()) else {
            return;
        };
        let cluster = &mut self.cluster;
        let progress = match request.progress.take() {
            None => {
                let read = |batch: &Outgoing| {
                    cluster.produce(
                        node,
                        batch.place.partition,
                        &batch.bytes.clone().into_bytes(),
                    )
                };
                request.batches.iter().map(read).collect()
            }
            Some(before) => {
                let now = before.into_iter().map(|p| cluster.progress(node, p));
                now.collect()
            }
        };
        request.progress = Some(progress);
    }

    /// It has waited for its followers for too long.
    fn time_out(&mut self, node: usize) {
        if self.cluster.life(node) != Life::Up {
            return;
        }
        let requests = self.links[node].iter_mut();
        for progress in requests.filter_map(|r| r.progress.as_mut()).flatten() {
            if matches!(progress, Progress::Waits { .. }) {
                *progress = Progress::refused(TIMED_OUT);
            }
        }
    }

    fn answer_arrives(&mut self, node: usize) {
        let request = match self.links[node].front() {
            Some(first) if first.is_answered() => self.links[node].pop_front(),
            _ => None,
        };
        let Some(Request { batches, progress }) = request else {
            return;
        };
        for (batch, progress) in batches.iter().zip(progress.into_iter().flatten()) {
            match progress {
                Progress::Answered { code: 0, offset } => self.acknowledge(batch.id, offset),
                Progress::Answered { code, .. } => self.failed(batch.id, Cause::Refused(code)),
                Progress::Waits { .. } => unreachable!("answered as a whole"),
            }
        }
    }

    fn acknowledge(&mut self, id: BatchId, offset: usize) {
        let (_, batch) = self.accumulator.acknowledge(id).expect("in flight");
        let numbers = batch.callbacks.iter().flatten();
        let told = numbers
            .enumerate()
            .map(|(index, number)| (*number, offset + index));
        self.told.extend(told);
        self.records.acknowledge(batch.callbacks);
    }

    fn failed(&mut self, id: BatchId, cause: Cause) {
        let random = self.dice.below(100) as f64 / 100.0;
        let failed = self.accumulator.failed(id, cause, "", random);
        if let (_, Fate::Failed { batch, .. }) = failed.expect("in flight") {
            self.records.fail(batch.callbacks);
        }
    }

    /// A connection ends. Some of what was not read has reached the node all the same, some of it was never written.
    fn disconnect(&mut self, node: usize) {
        let requests = std::mem::take(&mut self.links[node]);
        let read = requests.iter().take_while(|r| r.progress.is_some()).count();
        let reached = read + self.dice.below(requests.len() - read + 1);
        let written = reached + self.dice.below(requests.len() - reached + 1);
        for (index, request) in requests.into_iter().enumerate() {
            let cause = match index < written {
                true => Cause::Unanswered,
                false => Cause::NeverLeft,
            };
            for batch in &request.batches {
                self.failed(batch.id, cause);
            }
            if (read..reached).contains(&index) && self.cluster.life(node) != Life::Dead {
                self.orphans.push((node, request.batches));
            }
        }
    }

    fn kill(&mut self, node: usize) {
        // What has been answered is on its way.
        while self.dice.one_in(2) && !self.links[node].is_empty() {
            self.answer_arrives(node);
        }
        self.cluster.kill(node, &mut self.dice);
        self.orphans.retain(|(of, _)| *of != node);
        self.disconnect(node);
    }

    fn orphan_is_read(&mut self) {
        let is_up = |(node, _): &(usize, _)| self.cluster.life(*node) == Life::Up;
        let Some(index) = self.orphans.iter().position(is_up) else {
            return;
        };
        let (node, batches) = self.orphans.remove(index);
        for batch in batches {
            self.cluster.produce(
                node,
                batch.place.partition,
                &batch.bytes.clone().into_bytes(),
            );
        }
    }

    /// Some time passes, in which the next try of some batches comes, or of all.
    fn resume(&mut self, milliseconds: usize) {
        wait(Duration::from_millis(milliseconds as u64));
        self.accumulator.resume();
    }

    fn hear(&mut self, node: usize) {
        for partition in 0..PARTITIONS {
            self.cluster.hear(node, partition);
        }
        self.cluster.take_back(node);
    }

    fn step(&mut self) {
        let node = self.dice.below(NODES);
        let partition = self.dice.below(PARTITIONS);
        match self.dice.below(200) {
            0..=29 => self.records.append(&mut self.dice, &mut self.accumulator),
            30..=39 => self.accumulator.all_due(),
            40..=54 => self.send(),
            55..=84 => self.work(node),
            85..=104 => self.answer_arrives(node),
            105..=144 => {
                let most = 1 + self.dice.below(3);
                self.cluster.fetch(node, partition, most);
            }
            145..=154 => {
                let milliseconds = self.dice.below(1_000);
                self.resume(milliseconds);
            }
            155..=164 => self.refresh_metadata(node),
            165..=172 => self.hear(node),
            173..=176 => self.cluster.hear(node, partition),
            177..=178 => self.cluster.shrink(node, partition),
            179 => self.cluster.move_leader(partition, node),
            180 if self.dice.one_in(3) => self.kill(node),
            181 => self.cluster.stop(node),
            182..=183 => self.cluster.go_on(node),
            184..=185 => self.cluster.start(node),
            186..=188 => self.cluster.give_up(node),
            189..=190 => self.disconnect(node),
            191..=192 => self.orphan_is_read(),
            193 => self.time_out(node),
            194..=196 if self.accumulator.needs_identity() => self.identify(),
            // What other partitions needed.
            197 if self.dice.one_in(8) => self.identify(),
            198 if self.loses && self.dice.one_in(8) => self.expire(),
            _ => {}
        }
    }

    fn expire(&mut self) {
        for given_up in self.accumulator.expire(Duration::ZERO) {
            self.records.fail(given_up.batch.callbacks);
        }
        // No more than these.
        self.accumulator.expire(Duration::MAX);
    }

    /// Nothing goes wrong any more: everything is settled in the end, and replicated.
    fn settle(&mut self) {
        for node in 0..NODES {
            self.cluster.go_on(node);
            self.cluster.start(node);
        }
        for _ in 0..10_000 {
            let is_replicated = (0..PARTITIONS).all(|p| self.cluster.is_committed(p));
            if self.accumulator.queued().0 == 0 && self.orphans.is_empty() && is_replicated {
                return;
            }
            for node in 0..NODES {
                self.hear(node);
                self.refresh_metadata(node);
                for partition in 0..PARTITIONS {
                    self.cluster.fetch(node, partition, usize::MAX);
                    self.cluster.fetch(node, partition, usize::MAX);
                }
            }
            self.orphan_is_read();
            self.accumulator.all_due();
            self.resume(2_000);
            if self.accumulator.needs_identity() {
                self.identify();
            }
            self.send();
            for node in 0..NODES {
                self.work(node);
                self.answer_arrives(node);
            }
        }
        panic!("not settled: {:?} left", self.accumulator.queued());
    }

    fn play(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.settle();
        self.records.check_settled();
        assert_eq!(self.accumulator.queued(), (0, 0));
    }

    /// Whether everything is where callbacks were told. Gives how much that is.
    fn check_told(&self) -> usize {
        let logs: Vec<_> = (0..PARTITIONS).map(|p| self.cluster.log(p)).collect();
        for (number, offset) in &self.told {
            let there = logs[*number as usize % PARTITIONS].get(*offset);
            assert_eq!(there, Some(number), "at {offset}");
        }
        self.told.len()
    }
}

#[test]
fn what_is_acknowledged_is_in_the_log_once_and_in_order() {
    let records = histories(0..scale(), |seed| {
        let mut world = World::new(seed, true, false);
        world.play();
        let logs = (0..PARTITIONS).map(|p| world.cluster.log(p));
        for (partition, log) in logs.enumerate() {
            world.records.check_log(partition, &log);
        }
        world.check_told()
    });
    assert!(records as u64 > scale() * 100, "{records}");
}

#[test]
fn what_is_acknowledged_is_in_the_log_though_other_records_expire() {
    let records = histories(0..scale(), |seed| {
        let mut world = World::new(seed, true, true);
        world.play();
        world.check_told()
    });
    assert!(records as u64 > scale() * 100, "{records}");
}

#[test]
fn what_is_acknowledged_is_in_the_log_without_idempotence() {
    let records = histories(0..scale(), |seed| {
        let mut world = World::new(seed, false, true);
        world.play();
        world.check_told()
    });
    assert!(records as u64 > scale() * 30, "{records}");
}
