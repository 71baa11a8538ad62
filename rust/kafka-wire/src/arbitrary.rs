//! Random messages that are valid at a given version: what tests are fed with.

use bytes::Bytes;

use crate::message::Message;

/// A message that can be made up.
pub trait Arbitrary: Message {
    /// A message whose encoding at `version` loses nothing: only fields of that version are set.
    fn arbitrary(entropy: &mut Entropy<'_>, version: i16) -> Self;
}

/// A finite supply of choices. When it is used up every choice is the simplest one, so that shorter and
/// smaller input makes simpler messages: a shrinking test library ends at something readable.
#[derive(Debug)]
pub struct Entropy<'a> {
    bytes: &'a [u8],
}

impl<'a> Entropy<'a> {
    /// Choices made by `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Entropy { bytes }
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((&byte, rest)) => {
                self.bytes = rest;
                byte
            }
            None => 0,
        }
    }

    /// A number below `n`, which is at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// A number of any size, small ones and those at the ends of the types more often than others.
    pub fn integer(&mut self) -> i64 {
        match self.below(8) {
            0..=3 => i64::from(self.byte() as i8),
            4 => i64::MAX,
            5 => i64::MIN,
            _ => i64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// ASCII, mostly short, sometimes longer than a one-byte varint can say.
    pub(crate) fn string(&mut self) -> Bytes {
        let len = if self.below(16) == 15 {
            100 + self.below(256)
        } else {
            self.below(12)
        };
        (0..len).map(|_| b' ' + (self.byte() % 95)).collect()
    }

    /// Any bytes, sometimes so many that they become a segment of their own.
    pub(crate) fn blob(&mut self) -> Bytes {
        if self.below(16) == 15 {
            return vec![self.byte(); crate::primitives::SHARE_THRESHOLD + self.below(256)].into();
        }
        (0..self.below(40)).map(|_| self.byte()).collect()
    }
}
