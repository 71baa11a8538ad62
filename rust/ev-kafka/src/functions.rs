//! Plain functions of EV::Kafka: hashes, names of error codes, and the seams that tests use.

use bytes::Bytes;
use kafka_conn::ScramCredential;
use kafka_wire::codec::Compression;
use kafka_wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ConsumerGroupHeartbeatRequest,
    CreateTopicsRequest, DeleteTopicsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
    SyncGroupRequest, TxnOffsetCommitRequest,
};
use kafka_wire::primitives::{zigzag32, zigzag64};
use kafka_wire::records::{
    BatchError, RecordBatches, SealOptions, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
};
use kafka_wire::{crc32c, error, murmur2, ApiKey, Codec, Reader, Request, Writer};
use perl_xs::{Arg, Av, Croak, Frame, Outcome, Perl, Sv, XsubDef};

use crate::api::fetch::batches::{Budget, Unpacking, VerifiedBatches};
use crate::api::fetch::records::record_hash;
use crate::api::produce::records;
use crate::api::result::{build, Shaped};
use crate::arguments::{options_and_callback, string, Arguments, Values};
use crate::conn::{Answer, Build, Kept};
use crate::ev::{check_thread, process_generation};
use crate::strings::{Form, Strings};

static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::_shielded",
        body: shielded,
    },
    XsubDef {
        name: "EV::Kafka::_shielded_value",
        body: shielded_value,
    },
    XsubDef {
        name: "EV::Kafka::_thread_refusal",
        body: thread_refusal,
    },
    XsubDef {
        name: "EV::Kafka::_process",
        body: process,
    },
    XsubDef {
        name: "EV::Kafka::_murmur2",
        body: hash_key,
    },
    XsubDef {
        name: "EV::Kafka::_crc32c",
        body: checksum,
    },
    XsubDef {
        name: "EV::Kafka::_error_name",
        body: error_name,
    },
    XsubDef {
        name: "EV::Kafka::_is_retriable",
        body: is_retriable,
    },
    XsubDef {
        name: "EV::Kafka::_level_refusal",
        body: level_refusal,
    },
    XsubDef {
        name: "EV::Kafka::_scram_credential",
        body: scram_credential,
    },
    XsubDef {
        name: "EV::Kafka::_test_encode_batch",
        body: encode_batch,
    },
    XsubDef {
        name: "EV::Kafka::_test_decode_batch",
        body: decode_batch,
    },
    XsubDef {
        name: "EV::Kafka::_test_parse_response",
        body: parse_response,
    },
    XsubDef {
        name: "EV::Kafka::_test_varint_roundtrip",
        body: varlong_roundtrip,
    },
    XsubDef {
        name: "EV::Kafka::_test_zigzag_i32",
        body: zigzag_i32,
    },
    XsubDef {
        name: "EV::Kafka::_test_zigzag_i64",
        body: zigzag_i64,
    },
];

/// Calls the first argument with the others.
fn called<R>(frame: &Frame<'_>, how: impl FnOnce(Perl, &Sv, &[Arg<'_>]) -> R) -> Result<R, Croak> {
    let callback = frame
        .value(0)?
        .filter(Sv::is_ref)
        .ok_or("expected a callback")?;
    // An object may overload being called.
    let code = callback.code().unwrap_or(callback);
    let args: Vec<Arg<'_>> = (1..frame.len())
        .filter_map(|index| frame.arg(index).map(Arg::Sv))
        .collect();
    Ok(how(frame.perl(), &code, &args))
}

/// `_shielded($code, @args)`: what it died of, or nothing. An eval would stop neither `last` nor
/// `goto`, which would leave a loop of ours and lose what it had still to do.
fn shielded(frame: &mut Frame<'_>) -> Result<(), Croak> {
    match called(frame, perl_xs::call)? {
        Outcome::Returned => Ok(()),
        Outcome::Died(error) => {
            frame.ret(error);
            Ok(())
        }
        Outcome::Exit => Err(Croak::Exit),
    }
}

/// `_shielded_value($code, @args)`: what it returns; dies of what it dies of.
fn shielded_value(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let value = called(frame, perl_xs::call_scalar)??;
    frame.ret(value);
    Ok(())
}

/// `_thread_refusal()`: why nothing can be opened on this thread; undef when it can.
fn thread_refusal(frame: &mut Frame<'_>) -> Result<(), Croak> {
    match check_thread() {
        Ok(()) => frame.ret_undef(),
        Err(text) => frame.ret_bytes(text.as_bytes()),
    }
    Ok(())
}

/// `_process()`: a number that differs between a process and the children that it forks.
fn process(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.ret_int(process_generation().into());
    Ok(())
}

/// Makes the functions known to Perl.
pub fn register(perl: Perl) {
    perl_xs::register(perl, XSUBS);
}

/// Java's murmur2, 31 bits.
fn hash_key(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let key = frame.bytes(0)?.unwrap_or_default();
    frame.ret_int(murmur2(&key).into());
    Ok(())
}

fn checksum(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let bytes = frame.bytes(0)?.unwrap_or_default();
    frame.ret_int(crc32c(&bytes).into());
    Ok(())
}

fn error_name(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = error_code(frame)?;
    frame.ret_bytes(error::name(code).as_bytes());
    Ok(())
}

/// Whether a later try of the same request can mend the error, as Java's client has it.
fn is_retriable(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = error_code(frame)?;
    frame.ret_int(error::is_retriable(code).into());
    Ok(())
}

/// A number that is no 16-bit code is outside the protocol too.
fn error_code(frame: &Frame<'_>) -> Result<i16, Croak> {
    Ok(i16::try_from(frame.int(0)?.unwrap_or(0)).unwrap_or(i16::MIN))
}

/// `_level_refusal($codec, $level)`: why a codec does not take the level; undef when it does.
fn level_refusal(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_level_refusal");
    let name = args.string(0, "codec")?;
    let level = args.int(1, "level", 0)?;
    let codec = Codec::from_name(&String::from_utf8_lossy(&name)).unwrap_or_default();
    if let Err(refusal) = Compression::new(codec, level) {
        frame.ret_bytes(refusal.to_string().as_bytes());
    }
    Ok(())
}

/// `_scram_credential($mechanism, $password, $iterations, [$salt])`: salt and salted password, the salt a random
/// one unless it is given.
fn scram_credential(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "alter_scram_users");
    let mechanism = args.string(0, "mechanism")?;
    let password = args.bytes(1, "password")?.unwrap_or_default();
    let iterations = args.int(2, "iterations", 0_u32)?;
    let salt = args.bytes(3, "salt")?;
    let mechanism = String::from_utf8_lossy(&mechanism);
    let credential = ScramCredential::new(&mechanism, &password, iterations, salt)
        .map_err(|error| args.error(error))?;
    let perl = frame.perl();
    let parts = [&credential.salt[..], &credential.salted_password[..]];
    frame.ret_list(parts.map(|part| Sv::bytes(perl, part)));
    Ok(())
}

/// `_test_encode_batch(\@records, \%opts)`: the batch's bytes.
fn encode_batch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let elements = frame.value(0)?;
    let (options, _) = options_and_callback(frame, 1, "_test_encode_batch")?;
    let timestamp = options.int("timestamp", 0)?;
    let values = Values {
        perl,
        method: "_test_encode_batch",
    };
    let records = records::records(values, elements.as_ref(), timestamp, Strings::AsStored)?;
    let codec = options.int("compression", 0_i64)?;
    let codec = i16::try_from(codec)
        .ok()
        .and_then(Codec::from_id)
        .ok_or_else(|| Croak::from(format!("unsupported compression: {codec}")))?;
    let seal = SealOptions {
        compression: codec.into(),
        producer_id: options.int("producer_id", NO_PRODUCER_ID)?,
        producer_epoch: options.int("producer_epoch", NO_PRODUCER_EPOCH)?,
        base_sequence: options.int("base_sequence", NO_SEQUENCE)?,
        transactional: options.bool("is_transactional")?,
    };
    let batch = records::encode(&records, seal).map_err(|error| options.error(error))?;
    frame.ret_bytes(&batch);
    Ok(())
}

/// `_test_decode_batch($bytes)`: an array of records, or undef when a batch cannot be read.
fn decode_batch(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let bytes = string(frame, 0)?;
    let decoded = decode(perl, bytes).ok().flatten();
    frame.ret(decoded.unwrap_or_else(|| Sv::undef(perl)));
    Ok(())
}

/// `None` when the bytes end before the first batch does.
fn decode(perl: Perl, bytes: Bytes) -> Result<Option<Sv>, BatchError> {
    let unpacking = Unpacking::default();
    let mut budget = Budget::new(&unpacking);
    let mut batches = VerifiedBatches::new(RecordBatches::new(bytes), &mut budget);
    let mut array = Av::new(perl);
    let mut any = false;
    for verified in &mut batches {
        any = true;
        for record in &verified?.1 {
            let hash = record_hash(perl, &record, Form::default());
            array.push(perl, hash.into_ref(perl));
        }
    }
    Ok((any && batches.incomplete().is_none()).then(|| array.into_ref(perl)))
}

/// `_test_parse_response($method, $version, $bytes)`: what the callback of that method would get.
fn parse_response(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let method = frame.bytes(0)?.unwrap_or_default();
    let (api, build) = parser_of(&method).ok_or_else(|| {
        Croak::from(format!(
            "unknown method: {}",
            String::from_utf8_lossy(&method)
        ))
    })?;
    // A number that is no 16-bit version is none that we speak either.
    let version = i16::try_from(frame.int(1)?.unwrap_or(0)).unwrap_or(i16::MIN);
    let body = string(frame, 2)?;
    let built = build(perl, &Answer { api, version, body }, &Kept::default());
    frame.ret(built.result.unwrap_or_else(|_| Sv::undef(perl)));
    Ok(())
}

/// The API that a request method of EV::Kafka::Conn speaks, and what makes its results.
fn parser_of(method: &[u8]) -> Option<(ApiKey, Build)> {
    fn of<R: Request>() -> (ApiKey, Build)
    where
        R::Response: Shaped,
    {
        (R::API, build::<R::Response>)
    }
    Some(match method {
        b"produce" | b"produce_batch" => of::<ProduceRequest>(),
        b"fetch" | b"fetch_multi" => of::<FetchRequest>(),
        b"list_offsets" => of::<ListOffsetsRequest>(),
        b"metadata" => of::<MetadataRequest>(),
        b"find_coordinator" => of::<FindCoordinatorRequest>(),
        b"create_topics" => of::<CreateTopicsRequest>(),
        b"delete_topics" => of::<DeleteTopicsRequest>(),
        b"join_group" => of::<JoinGroupRequest>(),
        b"sync_group" => of::<SyncGroupRequest>(),
        b"heartbeat" => of::<HeartbeatRequest>(),
        b"consumer_group_heartbeat" => of::<ConsumerGroupHeartbeatRequest>(),
        b"leave_group" => of::<LeaveGroupRequest>(),
        b"offset_commit" => of::<OffsetCommitRequest>(),
        b"offset_fetch" => of::<OffsetFetchRequest>(),
        b"init_producer_id" => of::<InitProducerIdRequest>(),
        b"add_partitions_to_txn" => of::<AddPartitionsToTxnRequest>(),
        b"add_offsets_to_txn" => of::<AddOffsetsToTxnRequest>(),
        b"end_txn" => of::<EndTxnRequest>(),
        b"txn_offset_commit" => of::<TxnOffsetCommitRequest>(),
        _ => return None,
    })
}

/// The zigzag code of a 32-bit integer: what a varint of it holds.
fn zigzag_i32(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let value = frame.int(0)?.unwrap_or(0);
    let value = value.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    frame.ret(Sv::uint(frame.perl(), zigzag32(value).into()));
    Ok(())
}

/// The zigzag code of a 64-bit integer.
fn zigzag_i64(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let value = frame.int(0)?.unwrap_or(0);
    frame.ret(Sv::uint(frame.perl(), zigzag64(value)));
    Ok(())
}

/// A 64-bit integer written as a zigzag varint and read back.
fn varlong_roundtrip(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let mut writer = Writer::new();
    writer.put_varlong(frame.int(0)?.unwrap_or(0));
    let value = reader(writer)
        .get_varlong()
        .map_err(|error| Croak::from(error.to_string()))?;
    frame.ret_int(value);
    Ok(())
}

fn reader(writer: Writer) -> Reader {
    Reader::new(writer.into_segments().concat().into())
}
