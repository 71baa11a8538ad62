//! `delete_topics`

use kafka_wire::messages::delete_topics::{
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_wire::ApiKey;
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send, server_wait, version_or_lowest};
use super::result::{Read, Shaped};
use super::shapes::{list, topic_outcome};
use crate::arguments::Arguments;
use crate::conn::ConnHandle;

/// The first version in which topics are more than names (KIP-516).
const STATES_FROM: i16 = 6;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::delete_topics",
    body: delete_topics,
}];

/// `delete_topics(\@names, $timeout_ms, $cb)`
fn delete_topics(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "delete_topics");
    let names = args.names(1, "name")?;
    let timeout_ms = args.int(2, "timeout_ms", 0)?;
    let callback = args.callback(3)?;
    let handle = frame.object::<ConnHandle>()?;
    let mut request = DeleteTopicsRequest {
        timeout_ms,
        ..Default::default()
    };
    if version_or_lowest(&handle, ApiKey::DeleteTopics) >= STATES_FROM {
        let state = |name| DeleteTopicState {
            name: Some(name),
            ..Default::default()
        };
        request.topics = names.into_iter().map(state).collect();
    } else {
        request.topic_names = names;
    }
    send(frame, &request, server_wait(timeout_ms), callback)
}

impl Shaped for DeleteTopicsResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ topics => [{ name, error_code, error_message? }] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let topics = list(perl, &self.responses, |topic| {
            let message = topic.error_message.as_deref();
            topic_outcome(perl, topic.name.as_deref(), topic.error_code, message)
        });
        let mut hash = Hv::new(perl);
        hash.store(perl, "topics", topics);
        Ok(hash)
    }
}
