//! Who may do what. Everything is allowed that is not denied, as by a broker's ACLs that deny.

use crate::fault::{Fault, Target};
use bytes::Bytes;
use kafka_wire::ErrorCode;

/// What access is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic,
    /// A group.
    Group,
    /// A transactional id.
    TransactionalId,
    /// The cluster as a whole; it has no name.
    Cluster,
}

impl Resource {
    /// The error of who is denied it.
    fn error(self) -> i16 {
        let error = match self {
            Resource::Topic => ErrorCode::TopicAuthorizationFailed,
            Resource::Group => ErrorCode::GroupAuthorizationFailed,
            Resource::TransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            Resource::Cluster => ErrorCode::ClusterAuthorizationFailed,
        };
        error.code()
    }
}

/// What is done with it, as Kafka's ACLs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Fetching; being a member of a group, committing its positions.
    Read,
    /// Producing; transactions.
    Write,
    /// Metadata, offsets, coordinators.
    Describe,
    /// Creating a topic, which asking for its metadata does as well.
    Create,
    /// Deleting a topic.
    Delete,
    /// Getting a producer id without a transactional id.
    IdempotentWrite,
}

impl Operation {
    /// All there are.
    pub const ALL: [Operation; 6] = [
        Operation::Read,
        Operation::Write,
        Operation::Describe,
        Operation::Create,
        Operation::Delete,
        Operation::IdempotentWrite,
    ];

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Read => "Read",
            Operation::Write => "Write",
            Operation::Describe => "Describe",
            Operation::Create => "Create",
            Operation::Delete => "Delete",
            Operation::IdempotentWrite => "IdempotentWrite",
        }
    }
}

/// One thing that is not allowed. A field that is `None` stands for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What kind of thing it is about.
    pub resource: Resource,
    /// Its name.
    pub name: Option<Bytes>,
    /// What may not be done with it.
    pub operation: Option<Operation>,
    /// Who may not; the user as which a connection was authenticated.
    pub user: Option<Bytes>,
}

/// What a request has to be allowed for its answer not to be an error as a whole.
#[derive(Debug)]
pub(crate) struct Need {
    resource: Resource,
    name: Bytes,
    operation: Operation,
}

impl Need {
    pub fn topic(name: &Bytes, operation: Operation) -> Self {
        Self::new(Resource::Topic, name, operation)
    }

    pub fn group(name: &Bytes, operation: Operation) -> Self {
        Self::new(Resource::Group, name, operation)
    }

    pub fn transactional_id(name: &Bytes, operation: Operation) -> Self {
        Self::new(Resource::TransactionalId, name, operation)
    }

    pub fn cluster(operation: Operation) -> Self {
        Self::new(Resource::Cluster, &Bytes::new(), operation)
    }

    fn new(resource: Resource, name: &Bytes, operation: Operation) -> Self {
        Self {
            resource,
            name: name.clone(),
            operation,
        }
    }
}

/// All denials.
#[derive(Debug, Default)]
pub(crate) struct Access {
    denials: Vec<Denial>,
}

impl Access {
    pub fn is_open(&self) -> bool {
        self.denials.is_empty()
    }

    pub fn deny(&mut self, denial: Denial) {
        self.denials.push(denial);
    }

    pub fn allow(&mut self, denial: &Denial) {
        self.denials.retain(|known| known != denial);
    }

    pub fn allow_all(&mut self) {
        self.denials.clear();
    }

    /// The error of a user who may not do this.
    pub fn refusal(&self, user: &Option<Bytes>, need: &Need) -> Option<i16> {
        let is_denied = self.denials.iter().any(|denial| {
            denial.resource == need.resource
                && denial.name.as_ref().is_none_or(|name| *name == need.name)
                && denial.operation.is_none_or(|op| op == need.operation)
                && (denial.user.is_none() || denial.user == *user)
        });
        is_denied.then(|| need.resource.error())
    }

    /// The refusals of a request as rules, which concern a topic each, or the whole answer.
    pub fn refusals<'a>(
        &'a self,
        user: &'a Option<Bytes>,
        needs: Vec<Need>,
        (operation, targets): (Option<Operation>, &'a [Target]),
    ) -> impl Iterator<Item = Fault> + 'a {
        let whole = needs.into_iter().filter_map(|need| {
            Some(Fault {
                error: Some(self.refusal(user, &need)?),
                ..Fault::default()
            })
        });
        let of_topics = operation.into_iter().flat_map(move |operation| {
            targets.iter().filter_map(move |target| {
                Some(Fault {
                    topic: Some(target.topic.clone()),
                    error: Some(self.refusal(user, &Need::topic(&target.topic, operation))?),
                    ..Fault::default()
                })
            })
        });
        whole.chain(of_topics)
    }
}
