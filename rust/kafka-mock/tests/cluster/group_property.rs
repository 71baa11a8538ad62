//! Members of a classic group that come, go, fall silent and are slow, in any order.

use crate::members::{Member, Waiting, GROUP, SESSION_MS};
use crate::support::{read_answer, Bench};
use bytes::Bytes;
use kafka_mock::{ConnId, Output, Reply};
use kafka_wire::messages::{
    JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_wire::Request;
use proptest::prelude::*;

/// What a member does next.
enum Doing {
    Nothing,
    Joining,
    JoinSent(Waiting<JoinGroupRequest>),
    Syncing,
    SyncSent(Waiting<SyncGroupRequest>),
    Beating,
}

struct Actor {
    member: Member,
    doing: Doing,
    /// Ids that the leader assigns to.
    others: Vec<Bytes>,
}

impl Actor {
    fn new(bench: &mut Bench, conn: ConnId) -> Self {
        Self {
            member: Member::new(bench, conn),
            doing: Doing::Nothing,
            others: Vec::new(),
        }
    }

    fn step(&mut self, bench: &mut Bench) {
        match self.doing {
            Doing::Joining => {
                let request = self.member.joining();
                match ask(bench, self.member.conn, &request, 9) {
                    Ok(answer) => self.joined(&answer),
                    Err(waiting) => self.doing = Doing::JoinSent(waiting),
                }
            }
            Doing::Syncing => {
                let request = self.syncing();
                match ask(bench, self.member.conn, &request, 4) {
                    Ok(answer) => self.synced(&answer),
                    Err(waiting) => self.doing = Doing::SyncSent(waiting),
                }
            }
            Doing::Beating => {
                let code = self.member.heartbeat(bench);
                self.obey(code);
            }
            Doing::Nothing | Doing::JoinSent(_) | Doing::SyncSent(_) => {}
        }
    }

    fn syncing(&self) -> SyncGroupRequest {
        let mut request = self.member.syncing(&[]);
        let assigned = self.others.iter();
        request.assignments = assigned
            .map(
                |id| kafka_wire::messages::sync_group::SyncGroupRequestAssignment {
                    member_id: id.clone(),
                    assignment: id.clone(),
                },
            )
            .collect();
        request
    }

    fn joined(&mut self, answer: &JoinGroupResponse) {
        match answer.error_code {
            0 => {
                self.member.joined(answer);
                let members = answer.members.iter();
                self.others = members.map(|member| member.member_id.clone()).collect();
                self.doing = Doing::Syncing;
            }
            79 => {
                self.member.id = answer.member_id.clone();
                self.doing = Doing::Joining;
            }
            code => self.obey(code),
        }
    }

    fn synced(&mut self, answer: &SyncGroupResponse) {
        if answer.error_code == 0 {
            assert_eq!(
                answer.assignment, self.member.id,
                "what the leader meant for it"
            );
        }
        self.obey(answer.error_code);
    }

    fn obey(&mut self, code: i16) {
        self.doing = match code {
            0 => Doing::Beating,
            27 => Doing::Joining,
            22 | 25 => {
                self.member.id = Bytes::new();
                Doing::Joining
            }
            code => panic!("error {code}"),
        };
    }

    fn hear(&mut self, outputs: &[(ConnId, Output)]) {
        match &self.doing {
            Doing::JoinSent(waiting) => {
                if let Some(answer) = waiting.answer_in(outputs) {
                    self.joined(&answer);
                }
            }
            Doing::SyncSent(waiting) => {
                if let Some(answer) = waiting.answer_in(outputs) {
                    self.synced(&answer);
                }
            }
            _ => {}
        }
    }
}

/// The answer, or that it has to be waited for.
fn ask<R: Request>(
    bench: &mut Bench,
    conn: ConnId,
    request: &R,
    version: i16,
) -> Result<R::Response, Waiting<R>> {
    match bench.send(conn, request, version) {
        (Reply::Answer(frame), id) => Ok(read_answer::<R>(&frame, version, id)),
        (Reply::Waiting, id) => Err(Waiting::new(conn, id, version)),
        (other, _) => panic!("{other:?}"),
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// It does what is next, or begins to.
    Step,
    Leave,
    /// Its connection breaks, and it is never heard of again.
    Vanish,
    Wait(u64),
}

fn turn(bench: &mut Bench, actors: &mut [Actor], ms: u64) {
    let outputs = bench.advance(ms);
    for actor in actors {
        actor.hear(&outputs);
    }
}

proptest! {
    /// Whatever has happened, those who are there are soon in one stable generation, each with what the leader
    /// meant for it, and nobody else is.
    #[test]
    fn a_group_always_settles(events in prop::collection::vec(
        (0..4usize, prop::sample::select(vec![
            Event::Step, Event::Step, Event::Step, Event::Step, Event::Step, Event::Step,
            Event::Leave, Event::Vanish, Event::Wait(SESSION_MS / 3), Event::Wait(1),
        ])),
        0..80,
    )) {
        let mut bench = Bench::with_topic(1);
        let mut last_conn = 200;
        let mut actors: Vec<Actor> = (0..4).map(|n| Actor::new(&mut bench, 100 + n)).collect();
        for (n, event) in events {
            let actor = &mut actors[n];
            let is_idle = matches!(actor.doing, Doing::Joining | Doing::Syncing | Doing::Beating);
            match event {
                Event::Step if matches!(actor.doing, Doing::Nothing) => actor.doing = Doing::Joining,
                Event::Step => actor.step(&mut bench),
                Event::Leave if is_idle => {
                    actor.member.leave(&mut bench);
                    actor.member.id = Bytes::new();
                    actor.doing = Doing::Nothing;
                }
                Event::Leave => {}
                Event::Vanish => {
                    bench.cluster.close(actor.member.conn);
                    last_conn += 1;
                    *actor = Actor::new(&mut bench, last_conn);
                }
                Event::Wait(ms) => turn(&mut bench, &mut actors, ms),
            }
            turn(&mut bench, &mut actors, 0);
        }
        for actor in actors.iter_mut().filter(|actor| matches!(actor.doing, Doing::Nothing)) {
            actor.doing = Doing::Joining;
        }
        // Long enough for those who vanished to be forgotten, and for ids that were not used.
        for _ in 0..60 {
            for n in 0..actors.len() {
                actors[n].step(&mut bench);
                turn(&mut bench, &mut actors, 0);
            }
            turn(&mut bench, &mut actors, SESSION_MS / 4);
        }
        let group = bench.cluster.group(GROUP.as_bytes()).unwrap();
        prop_assert_eq!(group.state, "Stable");
        prop_assert_eq!(group.members.len(), 4);
        for actor in &actors {
            prop_assert!(matches!(actor.doing, Doing::Beating));
            prop_assert_eq!(actor.member.generation, group.generation);
        }
    }
}
