//! `find_coordinator`: the broker that coordinates a group or a transaction.

use std::time::Duration;

use kafka_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_wire::ApiKey;
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send, version_or_lowest};
use super::result::{Read, Shaped};
use super::shapes::{outcome, store_message};
use crate::arguments::Arguments;
use crate::conn::ConnHandle;

/// The first version with lists: of keys, and in the answer of one coordinator for each (KIP-699).
const LISTS_FROM: i16 = 4;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::find_coordinator",
    body: find_coordinator,
}];

/// `find_coordinator($key, $cb, [$key_type])`
fn find_coordinator(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "find_coordinator");
    let key = args.string(1, "key")?;
    let callback = args.callback(2)?;
    let key_type = args.int(3, "key_type", 0)?;
    let handle = frame.object::<ConnHandle>()?;
    let mut request = FindCoordinatorRequest {
        key_type,
        ..Default::default()
    };
    match version_or_lowest(&handle, ApiKey::FindCoordinator) >= LISTS_FROM {
        true => request.coordinator_keys = vec![key],
        false => request.key = key,
    }
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for FindCoordinatorResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ error_code, error_message?, node_id, host, port }`
    fn hash(&self, perl: Perl, read: Read) -> Result<Hv, String> {
        let (error_code, error_message, node_id, host, port) = if read.version < LISTS_FROM {
            (
                self.error_code,
                &self.error_message,
                self.node_id,
                &self.host,
                self.port,
            )
        } else {
            let only = self
                .coordinators
                .first()
                .ok_or("FindCoordinator: the answer names no coordinator")?;
            (
                only.error_code,
                &only.error_message,
                only.node_id,
                &only.host,
                only.port,
            )
        };
        let mut hash = outcome(perl, error_code);
        store_message(perl, &mut hash, error_message.as_deref());
        hash.store_int(perl, "node_id", node_id.into());
        hash.store_bytes(perl, "host", host);
        hash.store_int(perl, "port", port.into());
        Ok(hash)
    }
}
