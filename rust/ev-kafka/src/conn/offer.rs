//! What a broker has to offer, and how the client introduces itself when it asks.

use bytes::Bytes;
use kafka_conn::{Features, Introduction};
use perl_xs::{Av, Croak, Frame, Hv, Perl, Sv, XsubDef};

use super::ConnHandle;
use crate::arguments::Arguments;

/// What brokers log and count this library as (KIP-511).
const SOFTWARE_NAME: &[u8] = b"ev-kafka";

/// The version of an API that the broker does not have.
const NOT_ADVERTISED: i16 = -1;

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Conn::api_versions",
        body: api_versions,
    },
    XsubDef {
        name: "EV::Kafka::Conn::features",
        body: features,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_highest_version",
        body: highest_version,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_has_met_another",
        body: has_met_another,
    },
    XsubDef {
        name: "EV::Kafka::Conn::_introduce",
        body: introduce,
    },
];

/// `{ api_key => highest version }` as the broker advertised; undef before the handshake.
fn api_versions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let handle = frame.object::<ConnHandle>()?;
    let result = handle.with_connection(|connection| {
        connection.api_versions().map(|versions| {
            let mut hash = Hv::new(perl);
            for (key, (_, highest)) in versions {
                hash.store_int(perl, key.to_string(), (*highest).into());
            }
            hash.into_ref(perl)
        })
    });
    frame.ret(result.unwrap_or_else(|| Sv::undef(perl)));
    Ok(())
}

/// `_highest_version($api_key)`: the same of one API, which is asked for every Fetch; -1 when the broker did not advertise it.
fn highest_version(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let key = frame.int(1)?.and_then(|key| i16::try_from(key).ok());
    let highest = frame.object::<ConnHandle>()?.with_connection(|connection| {
        let (_, highest) = connection.api_versions()?.get(&key?)?;
        Some(*highest)
    });
    frame.ret_int(highest.unwrap_or(NOT_ADVERTISED).into());
    Ok(())
}

/// `{ epoch, finalized => { name => level }, supported => { name => [lowest, highest] } }` as the broker told on
/// this connection; undef when it did not.
fn features(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let handle = frame.object::<ConnHandle>()?;
    let told = handle.with_connection(|connection| {
        let features = connection.features();
        features.map(|features| hash_of(perl, features))
    });
    frame.ret(told.unwrap_or_else(|| Sv::undef(perl)));
    Ok(())
}

fn hash_of(perl: Perl, features: &Features) -> Sv {
    let mut finalized = Hv::new(perl);
    for (name, level) in &features.finalized {
        finalized.store_int(perl, name, (*level).into());
    }
    let mut supported = Hv::new(perl);
    for (name, (lowest, highest)) in &features.supported {
        let mut range = Av::with_capacity(perl, 2);
        for level in [lowest, highest] {
            range.push(perl, Sv::int(perl, (*level).into()));
        }
        supported.store(perl, name, range.into_ref(perl));
    }
    let mut hash = Hv::new(perl);
    hash.store_int(perl, "epoch", features.epoch);
    hash.store(perl, "finalized", finalized.into_ref(perl));
    hash.store(perl, "supported", supported.into_ref(perl));
    hash.into_ref(perl)
}

/// `_introduce($software_version, [$cluster_id, $node_id])`: from the next connection on the broker is told who
/// asks (KIP-511), and for whom it is taken (KIP-1242).
fn introduce(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let args = Arguments::new(frame, "_introduce");
    let introduction = Introduction {
        software_name: Bytes::from_static(SOFTWARE_NAME),
        software_version: args.string(1, "version")?,
        cluster_id: args.nullable_string(2, "cluster_id")?,
        node_id: frame.int(3)?.and_then(|id| i32::try_from(id).ok()),
    };
    let handle = frame.object::<ConnHandle>()?;
    handle.introduce(introduction);
    Ok(())
}

/// Whether another broker than the one that was meant has answered, which has ended the connection.
fn has_met_another(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let handle = frame.object::<ConnHandle>()?;
    let met = handle.with_connection(kafka_conn::Connection::met_another);
    frame.ret_int(met.into());
    Ok(())
}
