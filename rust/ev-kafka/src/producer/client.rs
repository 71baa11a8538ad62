//! What is native of an `EV::Kafka::Client`: `produce`, and whose process it is.

use std::rc::Rc;

use bytes::Bytes;
use kafka_producer::Appended;
use perl_xs::{
    attach, Croak, FastArgs, FastOptions, FastOutcome, FastPair, FastXsub, Frame, Native,
    ObjectError, Perl, XsubDef,
};

use super::callback::Callback;
use super::{Plain, Producer, Said};
use crate::strings::Strings;

/// What a child of fork is told that uses its parent's client.
const FOREIGN: &str =
    "EV::Kafka: the client belongs to the process that connected it, not to a child of fork";

/// The native state of an `EV::Kafka::Client`: that of its accumulator, to which a produce goes without any Perl.
struct Client {
    producer: Rc<Producer>,
}

impl Native for Client {
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
}

static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Client::_attach",
        body: attach_accumulator,
    },
    XsubDef {
        name: "EV::Kafka::Client::_linger_begin",
        body: linger_begin,
    },
    XsubDef {
        name: "EV::Kafka::Client::_send_due",
        body: send_due,
    },
    XsubDef {
        name: "EV::Kafka::Client::_open_here",
        body: open_here,
    },
    XsubDef {
        name: "EV::Kafka::Client::_is_here",
        body: is_here,
    },
    XsubDef {
        name: "EV::Kafka::Client::_is_foreign",
        body: is_foreign,
    },
    XsubDef {
        name: "EV::Kafka::Client::_unusable",
        body: unusable,
    },
];

const LINGER_BEGIN: u32 = 0;
const SEND_DUE: u32 = 1;

/// Makes the client's XSUBs known to Perl.
pub(super) fn register(perl: Perl) {
    perl_xs::register(perl, XSUBS);
    perl_xs::register_fast3::<Client>(
        perl,
        FastXsub {
            name: "EV::Kafka::Client::produce",
            handler: produce,
            fallback: "_produce_slow",
            answered: "_produce_placed",
            integers: &["partition", "timestamp"],
            pairs: "headers",
            methods: &["_linger_begin", "_send_due"],
        },
    );
}

/// Indices of the options that are numbers.
const PARTITION: usize = 0;
const TIMESTAMP: usize = 1;

/// `$client->produce($topic, $key, $value, [\%options], [$cb, [@with]])`, called once a message.
fn produce(client: &Client, args: &FastArgs<'_>) -> FastOutcome {
    let Some(topic) = args.a() else {
        return FastOutcome::FALLBACK;
    };
    let producer = &*client.producer;
    let lend = || args.share_c().map(Bytes::from_owner);
    let message = Plain {
        topic,
        key: args.b(),
        value: args.c(),
        is_stored_so: || is_stored_so(producer.strings, args),
        lend: Some(&lend),
        callback: || Callback::from_fast(args),
    };
    if producer.has_partitioner() {
        return with_partitioner(producer, message, args);
    }
    match args.options() {
        None => outcome(producer.take(message)),
        Some(options) => {
            let partition = options.integer(PARTITION);
            outcome(with_options(producer, message, partition, Some(options)))
        }
    }
}

fn outcome(appended: Option<Appended>) -> FastOutcome {
    let Some(appended) = appended else {
        return FastOutcome::FALLBACK;
    };
    let mut outcome = FastOutcome::DONE;
    if appended.first {
        outcome = outcome.and(FastOutcome::call(LINGER_BEGIN));
    }
    if appended.due {
        outcome = outcome.and(FastOutcome::call(SEND_DUE));
    }
    outcome
}

/// A message whose partition may be the program's partitioner to choose.
#[inline(never)]
fn with_partitioner<'a>(
    producer: &Producer,
    message: Plain<'a, impl FnOnce() -> bool, impl FnOnce() -> Option<Callback>>,
    args: &FastArgs<'a>,
) -> FastOutcome {
    let options = args.options();
    let given = options.and_then(|options| options.integer(PARTITION));
    if let Some(partition) = given.or(args.answer()) {
        return outcome(with_options(producer, message, Some(partition), options));
    }
    let Some(partitions) = producer.partitions(message) else {
        return FastOutcome::FALLBACK;
    };
    match producer.options.partitioner(args.perl()) {
        Some(code) => args.ask(code, partitions as i64),
        None => FastOutcome::FALLBACK,
    }
}

#[inline(never)]
fn with_options<'a>(
    producer: &Producer,
    message: Plain<'a, impl FnOnce() -> bool, impl FnOnce() -> Option<Callback>>,
    partition: Option<i64>,
    options: Option<FastOptions<'a>>,
) -> Option<Appended> {
    let pairs = options.map_or(&[][..], |options| options.pairs());
    let headers = pairs.iter().map(|pair| (pair.name(), pair.value()));
    producer.take_with(
        message,
        Said {
            partition: partition.map(usize::try_from).transpose().ok()?,
            timestamp: options.and_then(|options| options.integer(TIMESTAMP)),
            headers,
        },
    )
}

/// Whether key, value and headers go out as they are stored.
#[cold]
fn is_stored_so(strings: Strings, args: &FastArgs<'_>) -> bool {
    let is_so = |bytes: Option<&[u8]>, is_utf8| {
        bytes.is_none_or(|bytes| strings.is_stored_so(bytes, is_utf8))
    };
    let is_pair_so = |pair: &FastPair<'_>| {
        is_so(Some(pair.name()), pair.name_is_utf8()) && is_so(pair.value(), pair.value_is_utf8())
    };
    let pairs = args.options().map_or(&[][..], |options| options.pairs());
    is_so(args.b(), args.b_is_utf8())
        && is_so(args.c(), args.c_is_utf8())
        && pairs.iter().all(is_pair_so)
}

/// `_attach($accumulator)`: where `produce` puts records.
fn attach_accumulator(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let producer = frame
        .object_at::<Producer>(1)
        .map_err(|error| Croak::from(Producer::describe(error)))?;
    let object = frame.arg(0).ok_or("_attach: expected an object")?;
    attach(frame.perl(), object, Rc::new(Client { producer }))?;
    Ok(())
}

/// `_linger_begin`: the first record has come of what is not due.
fn linger_begin(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let client = frame.object::<Client>()?;
    client.producer.linger_begin(frame.perl())
}

/// `_send_due`: a batch is large enough to leave.
fn send_due(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let client = frame.object::<Client>()?;
    client.producer.send_ready(frame.perl()).ok()
}

/// `_open_here`: the client is about to open a connection.
fn open_here(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.object::<Client>()?.producer.home.open();
    Ok(())
}

/// `_is_here`: whether this process made the client, or was the first to connect it.
fn is_here(frame: &mut Frame<'_>) -> Result<(), Croak> {
    // A thread's copy of a client is nowhere.
    let is_here = frame
        .object_at::<Client>(0)
        .is_ok_and(|client| client.producer.home.is_here());
    frame.ret_int(is_here.into());
    Ok(())
}

/// `_is_foreign`: whether another process has connected the client.
fn is_foreign(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let is_foreign = frame
        .object_at::<Client>(0)
        .is_ok_and(|client| client.producer.home.is_foreign());
    frame.ret_int(is_foreign.into());
    Ok(())
}

/// `_unusable`: why the client cannot be used by whoever asks; undef when it can.
fn unusable(frame: &mut Frame<'_>) -> Result<(), Croak> {
    match frame.object_at::<Client>(0) {
        Ok(client) if client.producer.home.is_foreign() => frame.ret_bytes(FOREIGN.as_bytes()),
        Ok(_) => frame.ret_undef(),
        Err(error) => frame.ret_bytes(Client::describe(error).as_bytes()),
    }
    Ok(())
}
