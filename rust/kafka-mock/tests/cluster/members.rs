//! Members of groups, for tests: each on a connection of its own to broker 0.

use crate::support::{read_answer, Bench};
use bytes::Bytes;
use kafka_mock::{ConnId, Output, Reply};
use kafka_wire::messages::join_group::JoinGroupRequestProtocol;
use kafka_wire::messages::leave_group::MemberIdentity;
use kafka_wire::messages::sync_group::SyncGroupRequestAssignment;
use kafka_wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_wire::{ErrorCode, Request};

pub const GROUP: &str = "g";
pub const SESSION_MS: u64 = 10_000;
pub const REBALANCE_MS: u64 = 60_000;

/// A request that waits for its answer.
pub struct Waiting<R> {
    conn: ConnId,
    correlation_id: i32,
    version: i16,
    request: std::marker::PhantomData<R>,
}

impl<R: Request> Waiting<R> {
    pub fn new(conn: ConnId, correlation_id: i32, version: i16) -> Self {
        Self {
            conn,
            correlation_id,
            version,
            request: std::marker::PhantomData,
        }
    }

    /// The answer among what has become due.
    pub fn answer_in(&self, outputs: &[(ConnId, Output)]) -> Option<R::Response> {
        let frame = outputs.iter().find_map(|(conn, output)| match output {
            Output::Answer(frame) if *conn == self.conn => Some(frame),
            _ => None,
        })?;
        Some(read_answer::<R>(frame, self.version, self.correlation_id))
    }
}

pub struct Member {
    pub conn: ConnId,
    pub id: Bytes,
    pub instance_id: Option<Bytes>,
    pub generation: i32,
    /// Names of the protocols it offers; what it says to the leader is its connection and the name.
    pub protocols: Vec<&'static str>,
}

impl Member {
    pub fn new(bench: &mut Bench, conn: ConnId) -> Self {
        bench.cluster.open(conn, 0).unwrap();
        Self {
            conn,
            id: Bytes::new(),
            instance_id: None,
            generation: -1,
            protocols: vec!["range"],
        }
    }

    pub fn fixed(bench: &mut Bench, conn: ConnId, name: &'static str) -> Self {
        Self {
            instance_id: Some(name.into()),
            ..Self::new(bench, conn)
        }
    }

    pub fn joining(&self) -> JoinGroupRequest {
        let protocol = |name: &&'static str| JoinGroupRequestProtocol {
            name: Bytes::from(*name),
            metadata: format!("{}:{name}", self.conn).into(),
        };
        JoinGroupRequest {
            group_id: GROUP.into(),
            session_timeout_ms: SESSION_MS as i32,
            rebalance_timeout_ms: REBALANCE_MS as i32,
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            protocol_type: "consumer".into(),
            protocols: self.protocols.iter().map(protocol).collect(),
            ..Default::default()
        }
    }

    /// Gets an id, as members of version 4 and up do.
    pub fn ask_for_id(&mut self, bench: &mut Bench) {
        let answer = bench.call_on(self.conn, &self.joining(), 9);
        assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code());
        assert!(!answer.member_id.is_empty());
        self.id = answer.member_id;
    }

    /// Joins; the answer comes at once.
    pub fn join(&mut self, bench: &mut Bench) -> JoinGroupResponse {
        let answer = bench.call_on(self.conn, &self.joining(), 9);
        self.joined(&answer);
        answer
    }

    /// Joins; the answer has to wait.
    pub fn start_join(&mut self, bench: &mut Bench) -> Waiting<JoinGroupRequest> {
        let request = self.joining();
        self.start(bench, &request, 9)
    }

    fn start<R: Request>(&self, bench: &mut Bench, request: &R, version: i16) -> Waiting<R> {
        let (reply, correlation_id) = bench.send(self.conn, request, version);
        assert_eq!(reply, Reply::Waiting, "{} does not wait", R::API);
        Waiting::new(self.conn, correlation_id, version)
    }

    /// Takes over what an answer to JoinGroup says.
    pub fn joined(&mut self, answer: &JoinGroupResponse) {
        assert_eq!(answer.error_code, 0, "JoinGroup");
        self.id = answer.member_id.clone();
        self.generation = answer.generation_id;
    }

    /// SyncGroup with assignments for these members.
    pub fn syncing(&self, assignments: &[(&Member, &'static str)]) -> SyncGroupRequest {
        let assignment = |(member, bytes): &(&Member, &'static str)| SyncGroupRequestAssignment {
            member_id: member.id.clone(),
            assignment: Bytes::from(*bytes),
        };
        SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            assignments: assignments.iter().map(assignment).collect(),
            ..Default::default()
        }
    }

    pub fn sync(
        &self,
        bench: &mut Bench,
        assignments: &[(&Member, &'static str)],
    ) -> SyncGroupResponse {
        bench.call_on(self.conn, &self.syncing(assignments), 4)
    }

    pub fn start_sync(&self, bench: &mut Bench) -> Waiting<SyncGroupRequest> {
        self.start(bench, &self.syncing(&[]), 4)
    }

    pub fn beating(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
        }
    }

    pub fn heartbeat(&self, bench: &mut Bench) -> i16 {
        bench.call_on(self.conn, &self.beating(), 4).error_code
    }

    pub fn leaving(&self) -> LeaveGroupRequest {
        LeaveGroupRequest {
            group_id: GROUP.into(),
            members: vec![MemberIdentity {
                member_id: self.id.clone(),
                group_instance_id: self.instance_id.clone(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    pub fn leave(&self, bench: &mut Bench) -> i16 {
        let answer = bench.call_on(self.conn, &self.leaving(), 5);
        assert_eq!(answer.error_code, 0);
        answer.members[0].error_code
    }
}

/// A group of so many members that are stable: the first leads.
pub fn stable(bench: &mut Bench, count: u64) -> Vec<Member> {
    let mut members: Vec<Member> = (0..count).map(|n| Member::new(bench, 100 + n)).collect();
    settle(bench, &mut members);
    members
}

/// All members join, the newest of them last, and the first assigns "a" to each.
pub fn settle(bench: &mut Bench, members: &mut [Member]) {
    for count in 1..=members.len() {
        let here = &mut members[..count];
        let newest = count - 1;
        if here[newest].id.is_empty() && here[newest].instance_id.is_none() {
            here[newest].ask_for_id(bench);
        }
        if count == 1 {
            here[0].join(bench);
        } else {
            // The newest disturbs the others, and the last of them to come back is answered at once.
            let mut waiting = vec![(newest, here[newest].start_join(bench))];
            for (n, member) in here.iter_mut().enumerate().take(newest - 1) {
                waiting.push((n, member.start_join(bench)));
            }
            here[newest - 1].join(bench);
            let outputs = bench.poll();
            for (n, waiting) in waiting {
                here[n].joined(&waiting.answer_in(&outputs).expect("all have joined"));
            }
        }
        let assigned: Vec<(&Member, &'static str)> = here.iter().map(|m| (m, "a")).collect();
        assert_eq!(here[0].sync(bench, &assigned).assignment, "a");
        for member in here.iter().skip(1) {
            assert_eq!(member.sync(bench, &[]).assignment, "a");
        }
    }
}
