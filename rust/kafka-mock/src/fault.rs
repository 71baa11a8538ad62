//! Faults on demand: rules that make chosen requests fail, wait or vanish.

use bytes::Bytes;
use kafka_wire::ApiKey;

/// A rule about requests that are still to come.
///
/// The first four fields say which requests it is about; a field left `None` matches everything.
/// A rule counts down by one for each *request* it applies to, however many partitions that
/// request names, and is gone when it reaches zero.
///
/// ```
/// use kafka_mock::Fault;
/// use kafka_wire::ApiKey;
/// // The next Produce to partition 0 of "orders" is refused as sent to the wrong broker.
/// let fault = Fault { topic: Some("orders".into()), partition: Some(0), error: Some(6),
///                     times: Some(1), ..Fault::on(ApiKey::Produce) };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// Only requests sent to this broker (node id).
    pub broker: Option<i32>,
    /// Only requests of this API.
    pub api: Option<ApiKey>,
    /// Only requests that name this topic; `error` and `truncate` then concern this topic alone.
    pub topic: Option<Bytes>,
    /// Only requests that name this partition; `error` and `truncate` then concern it alone.
    pub partition: Option<i32>,
    /// How many requests the rule still applies to; `None` until it is cleared.
    pub times: Option<u32>,

    /// Error code for the matched partitions, or topics, or the whole answer where it has neither.
    pub error: Option<i16>,
    /// The answer leaves this many milliseconds after the request arrived, not earlier.
    pub delay_ms: u64,
    /// Value of `throttle_time_ms` in the answer, where the version carries it.
    pub throttle_time_ms: i32,
    /// The connection is closed instead of answering.
    pub drop: bool,
    /// The request is never answered, nor anything sent behind it on the same connection.
    pub hang: bool,
    /// A Fetch answer ends in the middle of its last batch.
    pub truncate: bool,
    /// With `error`, `drop` or `hang`: the request takes effect all the same, as when a broker is
    /// lost between its append and its answer.
    pub applied: bool,
}

impl Fault {
    /// A rule about one API that does nothing yet.
    pub fn on(api: ApiKey) -> Self {
        Self {
            api: Some(api),
            ..Self::default()
        }
    }

    fn matches(&self, broker: i32, api: ApiKey, targets: &[Target]) -> bool {
        self.times != Some(0)
            && self.broker.is_none_or(|id| id == broker)
            && self.api.is_none_or(|wanted| wanted == api)
            && (self.is_unfocused() || targets.iter().any(|target| self.touches(target)))
    }

    fn is_unfocused(&self) -> bool {
        self.topic.is_none() && self.partition.is_none()
    }

    fn touches(&self, target: &Target) -> bool {
        self.topic
            .as_ref()
            .is_none_or(|topic| *topic == target.topic)
            && match (self.partition, target.partition) {
                (Some(wanted), Some(named)) => wanted == named,
                _ => true,
            }
    }

    /// Whether the rule speaks about this topic as a whole (`None`) or about one partition of it.
    fn covers(&self, topic: &[u8], partition: Option<i32>) -> bool {
        self.topic
            .as_ref()
            .is_none_or(|wanted| wanted[..] == *topic)
            && self
                .partition
                .is_none_or(|wanted| partition == Some(wanted))
    }
}

/// Something a request is about, for rules that name topics or partitions.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub topic: Bytes,
    /// `None` when the request concerns the topic as a whole.
    pub partition: Option<i32>,
}

/// The rules in force, oldest first.
#[derive(Debug, Default)]
pub(crate) struct FaultRules {
    rules: Vec<Fault>,
}

impl FaultRules {
    pub fn add(&mut self, fault: Fault) {
        self.rules.push(fault);
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules for one request; each has its count lowered.
    pub fn take(&mut self, broker: i32, api: ApiKey, targets: &[Target]) -> ActiveFaults {
        let mut active = Vec::new();
        for rule in &mut self.rules {
            if rule.matches(broker, api, targets) {
                active.push(rule.clone());
                rule.times = rule.times.map(|left| left - 1);
            }
        }
        self.rules.retain(|rule| rule.times != Some(0));
        ActiveFaults {
            rules: active,
            quota_ms: 0,
        }
    }

    /// Whether there is no rule, so that nobody need know what a request is about.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// The rules that apply to one request, refusals and quotas among them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ActiveFaults {
    rules: Vec<Fault>,
    /// How long a quota wants the client to wait, and the connection to be deaf.
    quota_ms: i32,
}

impl ActiveFaults {
    /// Adds what the client may not do. Rules of the test's come first.
    pub fn refuse(&mut self, refusals: impl Iterator<Item = Fault>) {
        self.rules.extend(refusals);
    }

    pub fn throttle(&mut self, quota_ms: i32) {
        self.quota_ms = quota_ms;
    }

    /// How long nothing is heard of the client once it is answered, in milliseconds.
    pub fn deaf_ms(&self) -> u64 {
        u64::try_from(self.quota_ms).unwrap_or(0)
    }

    /// Error for a topic as a whole, or for one of its partitions. The oldest rule wins.
    pub fn error_for(&self, topic: &[u8], partition: Option<i32>) -> Option<i16> {
        self.rules
            .iter()
            .filter(|rule| rule.covers(topic, partition))
            .find_map(|rule| rule.error)
    }

    /// Whether the request takes effect on this partition in spite of an error.
    pub fn applies_to(&self, topic: &[u8], partition: Option<i32>) -> bool {
        self.rules
            .iter()
            .filter(|rule| rule.error.is_some() && rule.covers(topic, partition))
            .all(|rule| rule.applied)
    }

    /// Error for an answer as a whole, of a rule that names no topic and no partition.
    pub fn error_of_all(&self) -> Option<i16> {
        let mut unfocused = self.rules.iter().filter(|rule| rule.is_unfocused());
        unfocused.find_map(|rule| rule.error)
    }

    /// Error for an answer that has neither topics nor partitions.
    pub fn error(&self) -> Option<i16> {
        self.rules.iter().find_map(|rule| rule.error)
    }

    /// Whether a request that is answered by one error for all of it takes effect all the same.
    pub fn applied_with_error(&self) -> bool {
        let mut with_error = self.rules.iter().filter(|rule| rule.error.is_some());
        with_error.all(|rule| rule.applied)
    }

    /// Whether the answer for this partition is to end within its last batch.
    pub fn truncates(&self, topic: &[u8], partition: i32) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.truncate && rule.covers(topic, Some(partition)))
    }

    pub fn throttle_time_ms(&self) -> i32 {
        self.rules
            .iter()
            .map(|rule| rule.throttle_time_ms)
            .fold(self.quota_ms, i32::max)
    }

    pub fn delay_ms(&self) -> u64 {
        self.rules
            .iter()
            .map(|rule| rule.delay_ms)
            .max()
            .unwrap_or(0)
    }

    pub fn drops(&self) -> bool {
        self.rules.iter().any(|rule| rule.drop)
    }

    pub fn hangs(&self) -> bool {
        self.rules.iter().any(|rule| rule.hang)
    }

    /// Whether a request that is dropped or left hanging is to be carried out before.
    pub fn applied_unanswered(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| (rule.drop || rule.hang) && rule.applied)
    }
}
