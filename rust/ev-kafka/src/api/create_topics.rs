//! `create_topics`

use kafka_wire::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use perl_xs::{Croak, Frame, Hv, Perl, Sv, XsubDef};

use super::request::{check_connected, send, server_wait};
use super::result::{Read, Shaped};
use super::shapes::{list, topic_outcome};
use crate::arguments::Arguments;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::create_topics",
    body: create_topics,
}];

/// `create_topics(\@topics, $timeout_ms, $cb)`
fn create_topics(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "create_topics");
    let topics = args
        .array(1)?
        .iter()
        .map(|element| creatable_topic(&args, element))
        .collect::<Result<_, _>>()?;
    let timeout_ms = args.int(2, "timeout_ms", 0)?;
    let callback = args.callback(3)?;
    let request = CreateTopicsRequest {
        topics,
        timeout_ms,
        ..Default::default()
    };
    send(frame, &request, server_wait(timeout_ms), callback)
}

fn creatable_topic(args: &Arguments<'_, '_>, element: &Sv) -> Result<CreatableTopic, Croak> {
    let topic = args.hash(element, "topic must be a hashref")?;
    Ok(CreatableTopic {
        name: topic.string("name")?.unwrap_or_default(),
        num_partitions: topic.int("num_partitions", 1)?,
        replication_factor: topic.int("replication_factor", 1)?,
        ..Default::default()
    })
}

impl Shaped for CreateTopicsResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ topics => [{ name, error_code, error_message? }] }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let topics = list(perl, &self.topics, |topic| {
            let message = topic.error_message.as_deref();
            topic_outcome(perl, Some(&topic.name), topic.error_code, message)
        });
        let mut hash = Hv::new(perl);
        hash.store(perl, "topics", topics);
        Ok(hash)
    }
}
