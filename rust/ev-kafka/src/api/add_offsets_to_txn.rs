//! `add_offsets_to_txn`: a group's positions become part of a transaction.

use std::time::Duration;

use kafka_wire::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send};
use super::result::{Read, Shaped};
use super::shapes::outcome;
use crate::arguments::Arguments;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::add_offsets_to_txn",
    body: add_offsets_to_txn,
}];

/// `add_offsets_to_txn($txn_id, $producer_id, $epoch, $group_id, $cb)`
fn add_offsets_to_txn(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "add_offsets_to_txn");
    let request = AddOffsetsToTxnRequest {
        transactional_id: args.string(1, "txn_id")?,
        producer_id: args.int(2, "producer_id", 0)?,
        producer_epoch: args.int(3, "epoch", 0)?,
        group_id: args.string(4, "group_id")?,
    };
    let callback = args.callback(5)?;
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for AddOffsetsToTxnResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        Ok(outcome(perl, self.error_code))
    }
}
