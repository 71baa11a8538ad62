//! The APIs, the versions of each that we speak, and the headers before requests and answers.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes};

use crate::malformed::{DecodeError, DecodeErrorKind, EncodeError};
use crate::primitives::{Reader, TooLong, Writer};

macro_rules! apis {
    ($($(#[$meta:meta])* $name:ident = $key:literal, speaks $versions:expr, fallback $fallback:literal, flexible $flexible:expr;)*) => {
        /// A request type of Kafka's protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $($(#[$meta])* $name = $key,)*
        }

        impl ApiKey {
            /// Every API that this crate knows.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name),*];

            /// The API with this number, if we know it.
            pub const fn from_key(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name of the API, as in `Metadata`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The versions that we speak. The only place where any API's version is capped; declarations in
            /// [`messages`](crate::messages) may know more.
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $versions,)*
                }
            }

            /// The version to send to a broker that did not advertise the API.
            pub const fn fallback_version(self) -> i16 {
                match self {
                    $(ApiKey::$name => $fallback,)*
                }
            }

            const fn first_flexible_version(self) -> i16 {
                match self {
                    $(ApiKey::$name => $flexible,)*
                }
            }
        }
    };
}

/// For APIs that never got a flexible version.
const NEVER: i16 = i16::MAX;

apis! {
    /// Appends record batches. In a transaction 12 and up belong to version 2 of these (KIP-890); 13 names topics by id.
    Produce = 0, speaks 3..=13, fallback 3, flexible 9;
    /// Reads record batches. 13 and up name topics by id.
    Fetch = 1, speaks 4..=18, fallback 4, flexible 12;
    /// Finds offsets by timestamp.
    ListOffsets = 2, speaks 1..=11, fallback 1, flexible 6;
    /// Describes brokers, topics and partition leaders.
    Metadata = 3, speaks 0..=13, fallback 1, flexible 9;
    /// Stores a group's positions. 10 names topics by id.
    OffsetCommit = 8, speaks 2..=10, fallback 2, flexible 8;
    /// Reads a group's stored positions. 10 names topics by id.
    OffsetFetch = 9, speaks 1..=10, fallback 1, flexible 6;
    /// Finds the broker that coordinates a group or a transaction.
    FindCoordinator = 10, speaks 0..=6, fallback 0, flexible 3;
    /// Becomes or stays a member of a group.
    JoinGroup = 11, speaks 0..=9, fallback 1, flexible 6;
    /// Tells the coordinator that a member lives.
    Heartbeat = 12, speaks 0..=4, fallback 0, flexible 4;
    /// Leaves a group.
    LeaveGroup = 13, speaks 0..=5, fallback 0, flexible 4;
    /// Hands the leader's assignment to the members. 5 checks protocol names.
    SyncGroup = 14, speaks 0..=4, fallback 0, flexible 4;
    /// Describes groups of the classic protocol.
    DescribeGroups = 15, speaks 0..=6, fallback 0, flexible 5;
    /// Lists the groups of a coordinator.
    ListGroups = 16, speaks 0..=5, fallback 0, flexible 3;
    /// Chooses the SASL mechanism.
    SaslHandshake = 17, speaks 0..=1, fallback 1, flexible NEVER;
    /// Asks which APIs and versions a broker speaks.
    ApiVersions = 18, speaks 0..=5, fallback 0, flexible 3;
    /// Creates topics.
    CreateTopics = 19, speaks 0..=7, fallback 0, flexible 5;
    /// Deletes topics.
    DeleteTopics = 20, speaks 0..=6, fallback 0, flexible 4;
    /// Deletes records (KIP-107).
    DeleteRecords = 21, speaks 0..=2, fallback 0, flexible 2;
    /// Gets a producer id and epoch for idempotence or transactions.
    InitProducerId = 22, speaks 0..=5, fallback 0, flexible 2;
    /// Finds where a leader epoch ends (KIP-320).
    OffsetForLeaderEpoch = 23, speaks 0..=4, fallback 0, flexible 4;
    /// Adds partitions to a transaction. 4 and up are for brokers.
    AddPartitionsToTxn = 24, speaks 0..=3, fallback 0, flexible 3;
    /// Adds a group's offsets to a transaction.
    AddOffsetsToTxn = 25, speaks 0..=4, fallback 0, flexible 3;
    /// Commits or aborts a transaction. 5 hands out a new epoch (KIP-890).
    EndTxn = 26, speaks 0..=5, fallback 0, flexible 3;
    /// Ends transactions in partitions (KIP-664).
    WriteTxnMarkers = 27, speaks 0..=2, fallback 0, flexible 1;
    /// Stores a group's positions as part of a transaction. 5 belongs to transactions version 2 (KIP-890), 6 names topics by id.
    TxnOffsetCommit = 28, speaks 0..=5, fallback 0, flexible 3;
    /// Reads access rules (KIP-140).
    DescribeAcls = 29, speaks 0..=3, fallback 0, flexible 2;
    /// Adds access rules (KIP-140).
    CreateAcls = 30, speaks 0..=3, fallback 0, flexible 2;
    /// Deletes access rules (KIP-140).
    DeleteAcls = 31, speaks 0..=3, fallback 0, flexible 2;
    /// Reads settings (KIP-133).
    DescribeConfigs = 32, speaks 0..=4, fallback 0, flexible 4;
    /// Describes a broker's folders (KIP-113).
    DescribeLogDirs = 35, speaks 0..=5, fallback 0, flexible 2;
    /// Carries the messages of a SASL mechanism.
    SaslAuthenticate = 36, speaks 0..=2, fallback 0, flexible 2;
    /// Adds partitions to topics (KIP-195).
    CreatePartitions = 37, speaks 0..=3, fallback 0, flexible 2;
    /// Deletes groups (KIP-229).
    DeleteGroups = 42, speaks 0..=3, fallback 0, flexible 2;
    /// Elects leaders (KIP-183).
    ElectLeaders = 43, speaks 0..=2, fallback 0, flexible 2;
    /// Changes settings, each by itself (KIP-339).
    IncrementalAlterConfigs = 44, speaks 0..=1, fallback 0, flexible 1;
    /// Moves partitions (KIP-455).
    AlterPartitionReassignments = 45, speaks 0..=1, fallback 0, flexible 0;
    /// Lists partitions on the move (KIP-455).
    ListPartitionReassignments = 46, speaks 0..=0, fallback 0, flexible 0;
    /// Deletes a group's positions (KIP-496).
    OffsetDelete = 47, speaks 0..=0, fallback 0, flexible NEVER;
    /// Reads quotas (KIP-546).
    DescribeClientQuotas = 48, speaks 0..=1, fallback 0, flexible 1;
    /// Changes quotas (KIP-546).
    AlterClientQuotas = 49, speaks 0..=1, fallback 0, flexible 1;
    /// Reads SCRAM credentials (KIP-554).
    DescribeUserScramCredentials = 50, speaks 0..=0, fallback 0, flexible 0;
    /// Changes SCRAM credentials (KIP-554).
    AlterUserScramCredentials = 51, speaks 0..=0, fallback 0, flexible 0;
    /// Describes the quorum of controllers (KIP-595).
    DescribeQuorum = 55, speaks 0..=2, fallback 0, flexible 0;
    /// Changes features (KIP-584).
    UpdateFeatures = 57, speaks 0..=2, fallback 0, flexible 0;
    /// Describes the cluster (KIP-700).
    DescribeCluster = 60, speaks 0..=2, fallback 0, flexible 0;
    /// Describes the producers of partitions (KIP-664).
    DescribeProducers = 61, speaks 0..=0, fallback 0, flexible 0;
    /// Describes transactions (KIP-664).
    DescribeTransactions = 65, speaks 0..=0, fallback 0, flexible 0;
    /// Lists the transactions of a coordinator (KIP-664).
    ListTransactions = 66, speaks 0..=2, fallback 0, flexible 0;
    /// Joins, stays in and leaves a group whose coordinator assigns (KIP-848).
    ConsumerGroupHeartbeat = 68, speaks 0..=1, fallback 0, flexible 0;
    /// Describes groups whose coordinator assigns (KIP-848).
    ConsumerGroupDescribe = 69, speaks 0..=1, fallback 0, flexible 0;
    /// Lists what has settings (KIP-1142); version 0 knows client metrics only.
    ListConfigResources = 74, speaks 0..=1, fallback 0, flexible 0;
    /// Describes topics, a page at a time (KIP-966).
    DescribeTopicPartitions = 75, speaks 0..=0, fallback 0, flexible 0;
    /// Joins, stays in and leaves a share group (KIP-932). Version 0 was gone before it was stable.
    ShareGroupHeartbeat = 76, speaks 1..=1, fallback 1, flexible 0;
    /// Describes share groups (KIP-932). Version 0 was gone before it was stable.
    ShareGroupDescribe = 77, speaks 1..=1, fallback 1, flexible 0;
    /// Acquires records of a share group and settles others (KIP-932). 2 renews locks and takes an acquire mode.
    ShareFetch = 78, speaks 1..=2, fallback 1, flexible 0;
    /// Settles records of a share group (KIP-932). 2 renews locks.
    ShareAcknowledge = 79, speaks 1..=2, fallback 1, flexible 0;
    /// Reads where share groups begin (KIP-932).
    DescribeShareGroupOffsets = 90, speaks 0..=1, fallback 0, flexible 0;
}

impl ApiKey {
    /// The number on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// The newest version that names topics by their names: those behind it have their ids (KIP-516).
    pub const fn names_topics_up_to(self) -> i16 {
        match self {
            ApiKey::Produce | ApiKey::Fetch => 12,
            ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
            _ => i16::MAX,
        }
    }

    /// Whether this version uses compact lengths and tagged fields (KIP-482).
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible_version()
    }

    /// Whether this version's answer has a header with tagged fields. That of ApiVersions never has: a client
    /// must be able to read it before it knows which versions the broker speaks.
    const fn has_flexible_response_header(self, version: i16) -> bool {
        !matches!(self, ApiKey::ApiVersions) && self.is_flexible(version)
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What stands before the body of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API is asked.
    pub api: ApiKey,
    /// The version of the body and of its answer.
    pub version: i16,
    /// Comes back with the answer.
    pub correlation_id: i32,
    /// Names the client in the broker's logs, quotas and metrics.
    pub client_id: Option<Bytes>,
}

impl RequestHeader {
    /// Appends the header.
    ///
    /// # Errors
    /// When the client id is longer than 32767 bytes.
    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        self.put(writer.buffer())
    }

    /// The same, to a buffer of the caller's; nothing is appended when it fails.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    pub fn put(&self, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let id_len = self.client_id_len()?;
        out.put_i16(self.api.key());
        out.put_i16(self.version);
        out.put_i32(self.correlation_id);
        // Never compact, not even in flexible headers: brokers must be able to read it of a version they lack.
        out.put_i16(id_len);
        out.put_slice(self.client_id.as_deref().unwrap_or_default());
        if self.api.is_flexible(self.version) {
            out.put_u8(0);
        }
        Ok(())
    }

    /// How many bytes the header has.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        let client_id = self.client_id_len()?.max(0) as usize;
        Ok(2 + 2 + 4 + 2 + client_id + usize::from(self.api.is_flexible(self.version)))
    }

    /// The length before the client id, -1 for null.
    fn client_id_len(&self) -> Result<i16, EncodeError> {
        let Some(client_id) = &self.client_id else {
            return Ok(-1);
        };
        i16::try_from(client_id.len()).map_err(|_| EncodeError {
            message: "RequestHeader",
            field: "client_id",
            version: self.version,
            kind: TooLong.into(),
        })
    }

    /// Reads the header; the body follows in the reader.
    ///
    /// # Errors
    /// When it is cut off, or for an API that we do not know.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let key = reader.get_i16()?;
        let api = ApiKey::from_key(key).ok_or(DecodeErrorKind::UnknownApi(key))?;
        let version = reader.get_i16()?;
        let correlation_id = reader.get_i32()?;
        let client_id = reader.get_nullable_string(false)?;
        if api.is_flexible(version) {
            reader.skip_tagged_fields()?;
        }
        Ok(RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
        })
    }
}

/// Appends the header of an answer; its body follows.
pub fn put_response_header(writer: &mut Writer, api: ApiKey, version: i16, correlation_id: i32) {
    writer.put_i32(correlation_id);
    if api.has_flexible_response_header(version) {
        writer.put_uvarint(0);
    }
}

/// The correlation id of an answer: its first four bytes, whatever the API. `None` when it is shorter.
pub fn correlation_id(frame: &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(*frame.first_chunk()?))
}

/// Takes the header off an answer: its correlation id and its body.
///
/// # Errors
/// When the frame is shorter than its header.
pub fn strip_response_header(
    frame: Bytes,
    api: ApiKey,
    version: i16,
) -> Result<(i32, Bytes), DecodeError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.get_i32()?;
    if api.has_flexible_response_header(version) {
        reader.skip_tagged_fields()?;
    }
    Ok((correlation_id, reader.into_rest()))
}
