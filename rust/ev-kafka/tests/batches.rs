//! Which batches of an answer are read.

#[path = "../src/api/fetch/batches.rs"]
mod batches;

use batches::{or_corrupt, Budget, Unpacking, VerifiedBatches};
use bytes::Bytes;
use kafka_wire::records::{BatchBuilder, RecordBatches, SealOptions};

fn batch(value: &[u8]) -> Vec<u8> {
    let mut batch = BatchBuilder::new();
    let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    batch
        .append(0, None, Some(value), headers)
        .expect("is small enough");
    batch.seal(SealOptions::default()).to_vec()
}

/// The values of the records up to the end, and whether that is a batch that does not verify.
fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, bool, Option<usize>) {
    let unpacking = Unpacking::default();
    let mut budget = Budget::new(&unpacking);
    let mut batches = VerifiedBatches::new(
        RecordBatches::new(Bytes::copy_from_slice(bytes)),
        &mut budget,
    );
    let (mut values, mut is_broken) = (Vec::new(), false);
    for verified in &mut batches {
        assert!(!is_broken, "nothing comes after a broken batch");
        match verified {
            Ok((_, records)) => {
                values.extend(records.iter().filter_map(|r| r.value.map(<[u8]>::to_vec)));
            }
            Err(_) => is_broken = true,
        }
    }
    (values, is_broken, batches.incomplete())
}

fn values(of: &[&str]) -> Vec<Vec<u8>> {
    of.iter().map(|value| value.as_bytes().to_vec()).collect()
}

#[test]
fn all_batches_are_read_that_are_whole() {
    let whole = [batch(b"one"), batch(b"two")].concat();
    assert_eq!(read(&whole), (values(&["one", "two"]), false, None));
    let size = batch(b"two").len();
    let cut = read(&whole[..whole.len() - 1]);
    assert_eq!(cut, (values(&["one"]), false, Some(size)));
    assert_eq!(read(b""), (values(&[]), false, None));
}

#[test]
fn none_is_read_behind_one_that_does_not_verify() {
    let mut broken = batch(b"two");
    *broken.last_mut().expect("has bytes") ^= 1;
    let bytes = [batch(b"one"), broken, batch(b"three")].concat();
    assert_eq!(read(&bytes), (values(&["one"]), true, None));
}

#[test]
fn the_brokers_error_counts_more_than_a_broken_batch() {
    assert_eq!((or_corrupt(0), or_corrupt(3)), (2, 3));
}
