//! `init_producer_id`: an identity for idempotence or transactions.

use std::time::Duration;

use kafka_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use kafka_wire::records::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID};
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, send};
use super::result::{Read, Shaped};
use super::shapes::outcome;
use crate::arguments::Arguments;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::init_producer_id",
    body: init_producer_id,
}];

/// `init_producer_id($transactional_id, $txn_timeout_ms, $cb, [$producer_id, $epoch])`
fn init_producer_id(frame: &mut Frame<'_>) -> Result<(), Croak> {
    check_connected(frame)?;
    let args = Arguments::new(frame, "init_producer_id");
    let request = InitProducerIdRequest {
        transactional_id: args.nullable_string(1, "transactional_id")?,
        transaction_timeout_ms: args.int(2, "txn_timeout_ms", 0)?,
        producer_id: args.int(4, "producer_id", NO_PRODUCER_ID)?,
        producer_epoch: args.int(5, "epoch", NO_PRODUCER_EPOCH)?,
        ..Default::default()
    };
    let callback = args.callback(3)?;
    send(frame, &request, Duration::ZERO, callback)
}

impl Shaped for InitProducerIdResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ error_code, producer_id, producer_epoch }`
    fn hash(&self, perl: Perl, _: Read) -> Result<Hv, String> {
        let mut hash = outcome(perl, self.error_code);
        hash.store_int(perl, "producer_id", self.producer_id);
        hash.store_int(perl, "producer_epoch", self.producer_epoch.into());
        Ok(hash)
    }
}
