//! `fetch` and `fetch_multi`: records as hashes.

pub mod batches;
pub mod records;
pub mod request;

use bytes::Bytes;
use kafka_wire::messages::fetch::{FetchRequest, FetchResponse};
use kafka_wire::ApiKey;
use perl_xs::{Croak, Frame, Hv, Perl, Sv, XsubDef};

use self::batches::Unpacking;
use self::request::{Asked, Part, Terms};
use super::request::{
    check_connected, completion, completion_with, encode_at, send_encoded, server_wait,
};
use super::result::{decode, finish, Read, Shaped};
use crate::arguments::{options_and_callback, Arguments, Options};
use crate::conn::{Built, ConnHandle};
use crate::strings::Form;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::fetch",
        body: fetch,
    },
    XsubDef {
        name: "EV::Kafka::Conn::fetch_multi",
        body: fetch_multi,
    },
];

/// `fetch($topic, $partition, $offset, [\%opts,] $cb)`
fn fetch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "fetch");
    let topic = args.string(1, "topic")?;
    let part = Part::new(
        topic,
        args.int(2, "partition", 0)?,
        args.int(3, "offset", 0)?,
    );
    let (options, callback) = options_and_callback(frame, 4, "fetch")?;
    send(frame, vec![part], &options, callback)
}

/// `fetch_multi(\%topics, [\%opts,] $cb)`
fn fetch_multi(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "fetch_multi");
    let mut parts = Vec::new();
    for (topic, entries) in args.pairs(1)? {
        let topic = Bytes::from(topic);
        for entry in args.elements(&entries, "value must be an arrayref")? {
            let entry = args.hash(&entry, "partition entry must be a hashref")?;
            let (partition, offset) = (entry.int("partition", 0)?, entry.int("offset", 0)?);
            parts.push(Part::new(topic.clone(), partition, offset));
        }
    }
    let (options, callback) = options_and_callback(frame, 2, "fetch_multi")?;
    send(frame, parts, &options, callback)
}

fn send(
    frame: &Frame<'_>,
    parts: Vec<Part>,
    options: &Options,
    callback: Option<Sv>,
) -> Result<(), Croak> {
    let terms = terms(options)?;
    let asked = Asked::new(&parts);
    let handle = frame.object::<ConnHandle>()?;
    // A program knows topics by their names.
    let version = request::version(&handle, false);
    let encoded = encode_at(version, |version| request::request(parts, &terms, version));
    let form = handle.form();
    let unpacking = handle.kept().get::<Unpacking>();
    let completion = match callback {
        None => completion::<FetchRequest>(None),
        Some(callback) => completion_with(&handle, ApiKey::Fetch, callback, move |perl, answer| {
            let (response, read) = decode::<FetchResponse>(answer);
            let hash = records::result(perl, &response, &asked, form, &unpacking);
            let throttle_time_ms = response.throttle_time_ms;
            Built {
                result: Ok(finish(perl, hash, throttle_time_ms, read.truncated)),
                throttle_time_ms,
            }
        }),
    };
    let wait = server_wait(terms.max_wait_ms);
    let (perl, api) = (frame.perl(), ApiKey::Fetch);
    send_encoded(perl, &handle, api, encoded, wait, completion)
}

fn terms(options: &Options) -> Result<Terms, Croak> {
    let default = Terms::default();
    Ok(Terms {
        max_bytes: options.int("max_bytes", default.max_bytes)?,
        max_wait_ms: options.int("max_wait_ms", default.max_wait_ms)?,
        min_bytes: options.int("min_bytes", default.min_bytes)?,
        isolation_level: i8::from(options.int("isolation_level", 0_i64)? != 0),
    })
}

impl Shaped for FetchResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// Every record that there is, whatever was asked for.
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let asked = Asked::default();
        let (form, unpacking) = (Form::default(), Unpacking::default());
        Ok(records::result(perl, self, &asked, form, &unpacking))
    }
}
