//! The control batch that ends a producer's transaction in a partition (KIP-98).

use bytes::{Bytes, BytesMut};
use kafka_wire::records::{BatchBuilder, SealOptions, NO_HEADERS};

/// Version of key and value, and the type in the key.
const KEY_ABORT: [u8; 4] = [0, 0, 0, 0];
const KEY_COMMIT: [u8; 4] = [0, 0, 0, 1];
/// A version and the epoch of the coordinator, which has only ever been the first.
const VALUE: [u8; 6] = [0; 6];

/// The low byte of a batch's attributes, and the flag that makes it a control batch.
const ATTRIBUTES: usize = 22;
const CONTROL: u8 = 0x20;
/// The checksum, which covers everything behind itself.
const CRC: std::ops::Range<usize> = 17..21;

/// The marker of a producer and epoch.
pub(super) fn marker(producer_id: i64, epoch: i16, committed: bool, timestamp: i64) -> Bytes {
    let key = match committed {
        true => KEY_COMMIT,
        false => KEY_ABORT,
    };
    let mut builder = BatchBuilder::new();
    // A batch this small has room for its one record.
    let _ = builder.append(timestamp, Some(&key), Some(&VALUE), NO_HEADERS);
    let sealed = builder.seal(SealOptions {
        producer_id,
        producer_epoch: epoch,
        transactional: true,
        ..Default::default()
    });
    let mut batch = BytesMut::from(&sealed[..]);
    if let Some(attributes) = batch.get_mut(ATTRIBUTES) {
        *attributes |= CONTROL;
    }
    let crc = kafka_wire::crc32c(&batch[CRC.end..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}
