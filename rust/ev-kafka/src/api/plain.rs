//! Requests that are rare: asked for by the name of their API with the fields of Kafka's own definitions in a hash,
//! and answered the same way. EV::Kafka::Admin makes methods of them.

use std::time::Duration;

use bytes::Bytes;
use kafka_conn::VersionError;
use kafka_wire::messages as wire;
use kafka_wire::plain::{Sink, Source};
use kafka_wire::{ApiKey, Message, Request};
use perl_xs::{Av, Croak, Frame, HashRef, Hv, Perl, Sv, XsubDef};

use super::request::{
    check_connected, completion_with, encode_at, send_encoded, server_wait, version_by_ids,
};
use super::result::decode;
use crate::arguments::{Arguments, Values};
use crate::conn::{Answer, Built, ConnHandle};

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::_ask",
        body: ask,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_spoken_version",
        body: spoken_version,
    },
];

/// Sends the request that a hash describes.
type Ask = fn(&Frame<'_>, Option<&Sv>, Duration, Sv) -> Result<(), Croak>;

macro_rules! asked {
    ($($request:ident)*) => {
        /// What can be asked for.
        static ASKED: &[(ApiKey, Ask)] = &[$((wire::$request::API, ask_for::<wire::$request>)),*];
    };
}

asked! {
    AlterClientQuotasRequest
    AlterPartitionReassignmentsRequest
    AlterUserScramCredentialsRequest
    ApiVersionsRequest
    ConsumerGroupDescribeRequest
    CreateAclsRequest
    CreatePartitionsRequest
    CreateTopicsRequest
    DeleteAclsRequest
    DeleteGroupsRequest
    DeleteRecordsRequest
    DeleteTopicsRequest
    DescribeAclsRequest
    DescribeClientQuotasRequest
    DescribeClusterRequest
    DescribeConfigsRequest
    DescribeGroupsRequest
    DescribeLogDirsRequest
    DescribeProducersRequest
    DescribeQuorumRequest
    DescribeShareGroupOffsetsRequest
    DescribeTopicPartitionsRequest
    DescribeTransactionsRequest
    DescribeUserScramCredentialsRequest
    ElectLeadersRequest
    IncrementalAlterConfigsRequest
    InitProducerIdRequest
    LeaveGroupRequest
    ListConfigResourcesRequest
    ListGroupsRequest
    ListOffsetsRequest
    ListPartitionReassignmentsRequest
    ListTransactionsRequest
    MetadataRequest
    OffsetCommitRequest
    OffsetDeleteRequest
    ShareGroupDescribeRequest
    UpdateFeaturesRequest
    WriteTxnMarkersRequest
}

/// `_ask($api, \%fields, $server_wait_ms, $cb)`; the callback gets the fields of the answer.
fn ask(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "_ask");
    let name = args.string(1, "api")?;
    let server_wait = server_wait(args.int(3, "server_wait_ms", 0)?);
    let callback = args.callback(4)?.ok_or("expected a callback")?;
    let (_, ask) = asked(&name).ok_or_else(|| args.error("no such API"))?;
    ask(frame, frame.value(2)?.as_ref(), server_wait, callback)
}

/// `_spoken_version($api)`: the version that the API is asked in; undef when the broker does not offer it, or none
/// that is spoken here.
fn spoken_version(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_spoken_version");
    let name = args.string(1, "api")?;
    let (api, _) = asked(&name).ok_or_else(|| args.error("no such API"))?;
    let handle = frame.object::<ConnHandle>()?;
    let version = match handle.is_offered(*api) {
        true => version(&handle, *api).ok(),
        false => None,
    };
    let perl = frame.perl();
    frame.ret(version.map_or_else(|| Sv::undef(perl), |version| Sv::int(perl, version.into())));
    Ok(())
}

fn asked(name: &[u8]) -> Option<&'static (ApiKey, Ask)> {
    ASKED.iter().find(|(api, _)| api.name().as_bytes() == name)
}

fn ask_for<R: Request + 'static>(
    frame: &Frame<'_>,
    fields: Option<&Sv>,
    server_wait: Duration,
    callback: Sv,
) -> Result<(), Croak> {
    let perl = frame.perl();
    let method = R::API.name();
    let values = Values { perl, method };
    let given = Given {
        value: fields.cloned().unwrap_or_else(|| Sv::undef(perl)),
        name: "request",
        values,
    };
    let request = R::read(&given)?;
    let handle = frame.object::<ConnHandle>()?;
    let completion = completion_with(&handle, R::API, callback, shape::<R>);
    let encoded = encode_at(version(&handle, R::API), |_| request);
    send_encoded(perl, &handle, R::API, encoded, server_wait, completion)
}

/// What is given has the names of topics.
fn version(handle: &ConnHandle, api: ApiKey) -> Result<i16, VersionError> {
    version_by_ids(handle, api, false)
}

fn shape<R: Request + 'static>(perl: Perl, answer: &Answer) -> Built {
    let (response, read) = decode::<R::Response>(answer);
    if read.truncated {
        return Built {
            result: Err("incomplete answer".into()),
            throttle_time_ms: 0,
        };
    }
    let shown = response.show(&Shown(perl), read.version);
    let throttle_time_ms = HashRef::new(&shown)
        .and_then(|hash| hash.get_i64(perl, "throttle_time_ms").ok().flatten())
        .and_then(|ms| i32::try_from(ms).ok());
    Built {
        result: Ok(shown),
        throttle_time_ms: throttle_time_ms.unwrap_or(0),
    }
}

/// Makes values of Perl.
struct Shown(Perl);

impl Sink for Shown {
    type Value = Sv;
    type Fields = Hv;

    fn boolean(&self, value: bool) -> Sv {
        Sv::int(self.0, value.into())
    }

    fn integer(&self, value: i64) -> Sv {
        Sv::int(self.0, value)
    }

    fn float(&self, value: f64) -> Sv {
        Sv::float(self.0, value)
    }

    fn uuid(&self, value: &[u8; 16]) -> Sv {
        Sv::bytes(self.0, value)
    }

    fn bytes(&self, value: &[u8]) -> Sv {
        Sv::bytes(self.0, value)
    }

    fn list(&self, values: Vec<Sv>) -> Sv {
        let mut list = Av::with_capacity(self.0, values.len());
        for value in values {
            list.push(self.0, value);
        }
        list.into_ref(self.0)
    }

    fn fields(&self) -> Hv {
        Hv::new(self.0)
    }

    fn store(&self, fields: &mut Hv, name: &str, value: Sv) {
        fields.store(self.0, name, value);
    }

    fn finish(&self, fields: Hv) -> Sv {
        fields.into_ref(self.0)
    }
}

/// A value of Perl, and the field that it was given for.
struct Given {
    value: Sv,
    name: &'static str,
    values: Values,
}

impl Given {
    fn named(&self, name: &'static str, value: Sv) -> Given {
        let values = self.values;
        Given {
            value,
            name,
            values,
        }
    }

    fn record(&self) -> Result<HashRef, Croak> {
        let error = format!("{} must be a hashref", self.name);
        self.values.hash(Some(&self.value), &error)
    }
}

impl Source for Given {
    type Error = Croak;

    fn is_null(&self) -> bool {
        !self.value.is_defined()
    }

    fn boolean(&self) -> Result<bool, Croak> {
        self.value.to_bool(self.values.perl)
    }

    fn integer<T: TryFrom<i64>>(&self) -> Result<T, Croak> {
        let number = self.values.integer(Some(&self.value), self.name)?;
        number.ok_or_else(|| {
            self.values
                .error(format_args!("{} must be a number", self.name))
        })
    }

    fn float(&self) -> Result<f64, Croak> {
        let number = self.value.to_f64(self.values.perl)?;
        number.ok_or_else(|| {
            self.values
                .error(format_args!("{} must be a number", self.name))
        })
    }

    fn uuid(&self) -> Result<[u8; 16], Croak> {
        let bytes = self.bytes()?;
        let uuid = bytes.as_ref().try_into();
        uuid.map_err(|_| {
            self.values
                .error(format_args!("{} must be 16 bytes", self.name))
        })
    }

    fn bytes(&self) -> Result<Bytes, Croak> {
        let bytes = self.values.string(Some(&self.value), self.name)?;
        Ok(bytes.unwrap_or_default())
    }

    fn elements(&self) -> Result<Vec<Given>, Croak> {
        let error = format!("{} must be an arrayref", self.name);
        let elements = self.values.elements(Some(&self.value), &error)?;
        let named = elements
            .into_iter()
            .map(|value| self.named(self.name, value));
        Ok(named.collect())
    }

    fn field(&self, name: &'static str) -> Result<Option<Given>, Croak> {
        let value = self.record()?.get(self.values.perl, name)?;
        Ok(value.map(|value| self.named(name, value)))
    }

    fn check_names(&self, names: &[&'static str]) -> Result<(), Croak> {
        for (given, _) in self.record()?.pairs(self.values.perl)? {
            if !names.iter().any(|name| name.as_bytes() == given) {
                let given = String::from_utf8_lossy(&given);
                let text = format_args!("{} has no '{given}'", self.name);
                return Err(self.values.error(text));
            }
        }
        Ok(())
    }
}
