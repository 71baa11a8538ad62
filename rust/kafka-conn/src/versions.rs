//! Which version of an API to speak (KIP-35).

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_wire::ApiKey;

use crate::error::VersionError;

/// What a broker advertised: API key to lowest and highest version. Keys that this client does
/// not know are kept too.
pub type ApiVersions = BTreeMap<i16, (i16, i16)>;

/// What a broker tells of its own features and of those that its cluster has agreed on (KIP-584).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Grows with every change of what is agreed on; -1 when the broker does not know.
    pub epoch: i64,
    /// By name the level that the cluster has agreed on. What is not in here has none.
    pub finalized: BTreeMap<Bytes, i16>,
    /// By name the lowest and the highest level that the broker can have.
    pub supported: BTreeMap<Bytes, (i16, i16)>,
}

/// What every broker advertises, and every gateway that speaks Kafka.
const ADVERTISED_BY_ALL: [ApiKey; 2] = [ApiKey::DescribeGroups, ApiKey::ListGroups];

/// Whether this is no broker but stands in for one, for programs that were written against this library's first
/// releases: those asked whatever they needed, advertised or not, and read some things in ways of their own.
pub(crate) fn is_stand_in(advertised: Option<&ApiVersions>) -> bool {
    advertised.is_none_or(|all| {
        ADVERTISED_BY_ALL
            .iter()
            .all(|api| !all.contains_key(&api.key()))
    })
}

/// The highest version in both sides' range, and not above `most`; the API's fallback when a stand-in did not
/// advertise it.
pub(crate) fn negotiate(
    advertised: Option<&ApiVersions>,
    api: ApiKey,
    most: i16,
) -> Result<i16, VersionError> {
    let ours = api.versions();
    let Some(&broker) = advertised.and_then(|all| all.get(&api.key())) else {
        return match is_stand_in(advertised) {
            true => Ok(api.fallback_version()),
            false => Err(not_offered(api, (*ours.start(), *ours.end()))),
        };
    };
    let newest = most.min(*ours.end());
    let highest = broker.1.min(newest);
    match highest >= broker.0.max(*ours.start()) {
        true => Ok(highest),
        false => Err(VersionError {
            api,
            wanted: (*ours.start(), newest),
            broker: Some(broker),
            node_id: None,
        }),
    }
}

fn not_offered(api: ApiKey, wanted: (i16, i16)) -> VersionError {
    VersionError {
        api,
        wanted,
        broker: None,
        node_id: None,
    }
}

/// Refuses a version outside the range that the broker advertised for the API, and what it did not advertise.
pub(crate) fn check(
    advertised: Option<&ApiVersions>,
    api: ApiKey,
    version: i16,
) -> Result<(), VersionError> {
    match advertised.and_then(|all| all.get(&api.key())) {
        Some(&broker) if !(broker.0..=broker.1).contains(&version) => Err(VersionError {
            api,
            wanted: (version, version),
            broker: Some(broker),
            node_id: None,
        }),
        None if !is_stand_in(advertised) => Err(not_offered(api, (version, version))),
        _ => Ok(()),
    }
}
