//! `end_txn`: commits or aborts a transaction.

use std::time::Duration;

use kafka_wire::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send};
use super::result::{Read, Shaped};
use super::shapes::outcome;
use crate::arguments::Arguments;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::end_txn",
    body: end_txn,
}];

/// `end_txn($txn_id, $producer_id, $epoch, $committed, $cb)`
fn end_txn(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "end_txn");
    let request = EndTxnRequest {
        transactional_id: args.string(1, "txn_id")?,
        producer_id: args.int(2, "producer_id", 0)?,
        producer_epoch: args.int(3, "epoch", 0)?,
        committed: args.bool(4)?,
    };
    let callback = args.callback(5)?;
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for EndTxnResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        Ok(outcome(perl, self.error_code))
    }
}
