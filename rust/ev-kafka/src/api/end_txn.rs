//! `end_txn`: commits or aborts a transaction.

use std::time::Duration;

use kafka_wire::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use kafka_wire::ApiKey;
use perl_xs::{Croak, Frame, Hv, Perl, XsubDef};

use super::request::{check_connected, completion, encode_up_to, send_encoded};
use super::result::{Read, Shaped};
use super::shapes::outcome;
use super::transaction_version::TransactionVersion;
use crate::arguments::Arguments;
use crate::conn::ConnHandle;

/// The first version whose answer has the identity to go on with (KIP-890).
const IDENTITY_FROM: i16 = 5;

pub static XSUBS: &[XsubDef] = &[XsubDef {
    name: "EV::Kafka::Conn::end_txn",
    body: end_txn,
}];

/// `end_txn($txn_id, $producer_id, $epoch, $committed, $cb, [$transaction_version])`
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
    let of = TransactionVersion::of_number(args.int(6, "transaction_version", 1)?)
        .map_err(|why| args.error(why))?;
    let handle = frame.object::<ConnHandle>()?;
    let encoded = encode_up_to(&handle, of.most(ApiKey::EndTxn), &request);
    let completion = completion::<EndTxnRequest>(callback);
    send_encoded(
        frame.perl(),
        &handle,
        ApiKey::EndTxn,
        encoded,
        Duration::ZERO,
        completion,
    )
}

impl Shaped for EndTxnResponse {
    fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// `{ error_code, producer_id?, producer_epoch? }`
    fn hash(&self, perl: Perl, read: Read) -> Result<Hv, String> {
        let mut hash = outcome(perl, self.error_code);
        if read.version >= IDENTITY_FROM {
            hash.store_int(perl, "producer_id", self.producer_id);
            hash.store_int(perl, "producer_epoch", self.producer_epoch.into());
        }
        Ok(hash)
    }
}
