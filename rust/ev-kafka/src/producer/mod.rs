//! The producer's native half: `EV::Kafka::Client::produce` and the XSUBs with which the client's Perl code routes
//! topics, sends what is ready and decides what becomes of batches that failed.

mod buffer_xsubs;
mod delivery;
mod request;
mod transaction_xsubs;
mod xsubs;

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_producer::{Accumulator, BatchId, GivenUp, NewRecord, Place, Sealed, Settings};
use kafka_wire::error;
use perl_xs::{
    call_method, FastArgs, FastOutcome, FastXsub, Flow, Freed, Native, ObjectError, ObjectHandle,
    Perl, Sv,
};

use delivery::{Delivery, End, Pace, Settled};

use crate::api::produce::records::now_ms;
use crate::home::Home;
use crate::strings::Strings;

/// What `_native_init` is told.
#[derive(Debug)]
struct Config {
    /// -1, 0 or 1.
    acks: Cell<i16>,
    /// How long the broker may wait for its replicas, in milliseconds.
    timeout_ms: i32,
    /// Bytes that one message may take.
    max_request_size: usize,
    /// Brokers look at it for transactional batches only.
    transactional_id: Option<Bytes>,
}

/// The time since this was first asked; it never goes back.
fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The native state of an `EV::Kafka::Client`.
pub struct Producer {
    accumulator: RefCell<Accumulator<Sv>>,
    config: Config,
    delivery: Delivery,
    /// Every produce goes to Perl: the client is closed, or has nothing to produce with.
    bypassed: Cell<bool>,
    /// What keys, values and headers are to the program.
    strings: Strings,
    /// The scalar in which the program's partitioner lies, if it has one.
    partitioner: RefCell<Option<Sv>>,
    /// A forked child must not send the parent's records.
    home: Home,
    object: RefCell<ObjectHandle>,
}

impl Native for Producer {
    const NAME: &'static str = "EV::Kafka::Client";

    fn describe(error: ObjectError) -> String {
        match error {
            ObjectError::Cloned => "EV::Kafka: the client belongs to another thread".into(),
            ObjectError::Destroyed => "EV::Kafka: method called on a destroyed client".into(),
            ObjectError::NotAReference | ObjectError::NeverAttached => {
                "EV::Kafka: not a client made by new".into()
            }
        }
    }

    /// The client's `DESTROY` has settled everything already; a subclass that overrides it must not lose callbacks.
    fn on_free(&self, perl: Perl, how: Freed) {
        let (sent, unsent) = self.accumulator.borrow_mut().take_all();
        if how != Freed::GlobalDestruction && self.home.is_here() {
            let batches = sent.into_iter().chain(unsent);
            let _ = self.fail(perl, batches, "client closed");
        }
    }
}

impl Producer {
    fn new(config: Config, settings: Settings, strings: Strings) -> Producer {
        Producer {
            accumulator: RefCell::new(Accumulator::new(settings)),
            config,
            delivery: Delivery::default(),
            bypassed: Cell::new(false),
            strings,
            partitioner: RefCell::default(),
            home: Home::new(),
            object: RefCell::new(ObjectHandle::dangling()),
        }
    }

    /// Whether the program chooses partitions. It may begin, and cease, at any time.
    fn has_partitioner(&self) -> bool {
        let partitioner = self.partitioner.borrow();
        partitioner.as_ref().is_some_and(Sv::is_ref)
    }

    /// Settles batches that no accumulator knows any more.
    fn fail(&self, perl: Perl, batches: impl Iterator<Item = Sealed<Sv>>, reason: &str) -> Flow {
        let settled = batches
            .map(|batch| Settled {
                place: Place {
                    topic: 0,
                    partition: 0,
                },
                topic: Vec::new(),
                generation: batch.generation(),
                callbacks: batch.callbacks.into_iter(),
                end: End::Failed {
                    reason: reason.to_owned(),
                },
            })
            .collect();
        self.delivery.deliver(perl, settled, Pace::AtOnce)
    }

    /// Calls back for batches that are done with, and sees to it that what takes long goes on in turns of the loop to come.
    fn deliver(&self, perl: Perl, settled: Vec<Settled>) -> Flow {
        let flow = self.delivery.deliver(perl, settled, Pace::InTurns);
        if flow == Flow::Exit || !self.delivery.take_rest() {
            return flow;
        }
        let object = self.object.borrow().upgrade(perl);
        match object {
            Some(object) => {
                call_method(perl, &object, "_deliver_later", &[]).or_warn(perl, "EV::Kafka")
            }
            None => self.delivery.deliver(perl, Vec::new(), Pace::AtOnce),
        }
    }

    /// Goes on with callbacks that have waited for a turn of the loop.
    fn deliver_waiting(&self, perl: Perl) -> Flow {
        self.delivery.resume();
        self.deliver(perl, Vec::new())
    }

    /// Settles batches in flight, each with its end.
    fn settle(&self, perl: Perl, ends: Vec<(BatchId, End)>) -> Flow {
        let settled = {
            let mut accumulator = self.accumulator.borrow_mut();
            ends.into_iter()
                .filter_map(|(id, end)| {
                    let (place, batch) = match end.is_success() {
                        true => accumulator.acknowledge(id)?,
                        false => accumulator.fail(id)?,
                    };
                    Some(settled(&accumulator, place, batch, end))
                })
                .collect()
        };
        self.deliver(perl, settled)
    }

    /// Where records that were given up belong, as texts name it.
    fn place_name(&self, given_up: &GivenUp<Sv>) -> String {
        let accumulator = self.accumulator.borrow();
        let topic = String::from_utf8_lossy(accumulator.topic_name(given_up.topic));
        let Some(partition) = given_up.partition else {
            return topic.into_owned();
        };
        match given_up.batch.refusal {
            0 => format!("{topic}:{partition}"),
            code => {
                let name = error::name(code);
                format!("{topic}:{partition}, refused with {name} (code {code})")
            }
        }
    }

    /// Records of batches in flight that have no callback: nobody hears of their failure.
    fn unheard(&self, ids: &[BatchId]) -> usize {
        let accumulator = self.accumulator.borrow();
        let batches = ids.iter().filter_map(|&id| accumulator.sent_batch(id));
        batches.map(|(_, batch)| unheard(batch)).sum()
    }

    /// Calls back what the accumulator has given up; the text is made of where that belongs.
    fn give_up(
        &self,
        perl: Perl,
        batches: Vec<GivenUp<Sv>>,
        text: impl Fn(&str) -> String,
    ) -> Flow {
        let settled = {
            let accumulator = self.accumulator.borrow();
            let settle = |given_up: GivenUp<Sv>| {
                let end = End::Failed {
                    reason: text(&self.place_name(&given_up)),
                };
                let place = Place {
                    topic: given_up.topic,
                    partition: given_up.partition.unwrap_or_default(),
                };
                settled(&accumulator, place, given_up.batch, end)
            };
            batches.into_iter().map(settle).collect()
        };
        self.deliver(perl, settled)
    }
}

/// Records of a batch that have no callback.
fn unheard(batch: &Sealed<Sv>) -> usize {
    batch.count - batch.callbacks.iter().flatten().count()
}

fn settled(accumulator: &Accumulator<Sv>, place: Place, batch: Sealed<Sv>, end: End) -> Settled {
    Settled {
        topic: accumulator.topic_name(place.topic).to_vec(),
        place,
        generation: batch.generation(),
        callbacks: batch.callbacks.into_iter(),
        end,
    }
}

const LINGER_BEGIN: u32 = 0;
const SEND_READY: u32 = 1;

/// Whether key and value go out as they are stored.
#[cold]
fn is_stored_so(strings: Strings, args: &FastArgs<'_>) -> bool {
    let is_so = |bytes: Option<&[u8]>, is_utf8| {
        bytes.is_none_or(|bytes| strings.is_stored_so(bytes, is_utf8))
    };
    is_so(args.b(), args.b_is_utf8()) && is_so(args.c(), args.c_is_utf8())
}

/// `$client->produce($topic, $key, $value, [$cb])`, called once a message.
fn produce(producer: &Producer, args: &FastArgs<'_>) -> FastOutcome {
    let Some(topic) = args.a() else {
        return FastOutcome::FALLBACK;
    };
    if producer.bypassed.get() || producer.has_partitioner() || !producer.home.is_here() {
        return FastOutcome::FALLBACK;
    }
    if producer.strings != Strings::AsStored && !is_stored_so(producer.strings, args) {
        return FastOutcome::FALLBACK;
    }
    let mut accumulator = producer.accumulator.borrow_mut();
    let Some(topic) = accumulator.routed_topic(topic) else {
        return FastOutcome::FALLBACK;
    };
    let partition = accumulator.partition_for(topic, args.b());
    let record = NewRecord {
        timestamp: now_ms(),
        key: args.b(),
        value: args.c(),
        headers: std::iter::empty(),
    };
    let Ok(appended) = accumulator.append(topic, partition, record, args.callback()) else {
        return FastOutcome::FALLBACK;
    };
    let mut outcome = FastOutcome::DONE;
    if appended.first {
        outcome = outcome.and(FastOutcome::call(LINGER_BEGIN));
    }
    if appended.due {
        outcome = outcome.and(FastOutcome::call(SEND_READY));
    }
    outcome
}

/// Makes the XSUBs of producing known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, xsubs::XSUBS);
    perl_xs::register(perl, transaction_xsubs::XSUBS);
    perl_xs::register(perl, buffer_xsubs::XSUBS);
    perl_xs::register_fast3::<Producer>(
        perl,
        FastXsub {
            name: "EV::Kafka::Client::produce",
            handler: produce,
            fallback: "_produce_slow",
            methods: &["_linger_begin", "_send_ready"],
        },
    );
}
