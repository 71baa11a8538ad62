//! Memory that codecs write into. It is initialised once and then used again and again: what the system gives anew costs
//! a page fault for every 4 KiB.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::DecompressError;

/// Bytes kept for batches to come: as much as an answer of the usual size (1 MB) may become, and the one after it.
const MAX_KEPT: usize = 16 << 20;

/// The least that is taken from the system, in bytes: what most batches need.
const MIN_ROOM: usize = 1 << 16;

/// When less than a part of this many of some room is used, what lies there is copied out of it.
const MAX_SLACK: usize = 2;

/// The first `len` bytes of a buffer, which grows if it is shorter; whatever lies in them.
pub(super) fn initialised(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.is_empty() {
        // Memory that comes zeroed from the system is not touched before it is used.
        *buffer = vec![0; len];
    } else if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// Buffers that nobody reads from any longer.
#[derive(Clone, Default)]
pub(super) struct Shelf(Arc<Mutex<Spare>>);

#[derive(Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    /// How many bytes they have.
    bytes: usize,
    /// The fewest buffers that were here since the last trim.
    fewest: usize,
}

impl Shelf {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The buffer that was used last: the processor may still have it in its cache.
    fn take(&self) -> Vec<u8> {
        let mut spare = self.spare();
        let buffer = spare.buffers.pop().unwrap_or_default();
        spare.bytes -= buffer.len();
        spare.fewest = spare.fewest.min(spare.buffers.len());
        buffer
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut spare = self.spare();
        if !buffer.is_empty() && spare.bytes + buffer.len() <= MAX_KEPT {
            spare.bytes += buffer.len();
            spare.buffers.push(buffer);
        }
    }

    /// Frees one of the buffers that were not needed since the last trim.
    pub fn trim(&self) {
        let mut spare = self.spare();
        if spare.fewest > 0 {
            spare.bytes -= spare.buffers.remove(0).len();
        }
        spare.fewest = spare.buffers.len();
    }
}

/// A buffer from a shelf, to which it goes back.
struct Lent {
    bytes: Vec<u8>,
    /// How many of them are for reading.
    len: usize,
    shelf: Shelf,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.shelf.give_back(std::mem::take(&mut self.bytes));
    }
}

/// Where something is decompressed to, at most so many bytes of it.
pub(super) struct Room {
    lent: Lent,
    limit: usize,
}

impl Room {
    pub fn new(shelf: &Shelf, limit: usize) -> Room {
        let lent = Lent {
            bytes: shelf.take(),
            len: 0,
            shelf: shelf.clone(),
        };
        Room { lent, limit }
    }

    /// What is said when the limit is reached.
    pub fn too_large(&self) -> DecompressError {
        DecompressError::TooLarge(self.limit)
    }

    /// How many bytes there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Exactly so many bytes from the start on; what was written into them before is still there.
    pub fn first(&mut self, len: usize) -> &mut [u8] {
        let buffer = &mut self.lent.bytes;
        if buffer.len() < len {
            // Growing by halves, something is moved only a few times.
            let wanted = len.max(MIN_ROOM).max(buffer.len() + buffer.len() / 2);
            initialised(buffer, wanted);
        }
        &mut buffer[..len]
    }

    /// For what cannot go on where it ran out of room: lets `attempt` start anew with twice as much until that
    /// suffices. It says how many bytes it wrote, none if they did not suffice.
    pub fn fill(
        &mut self,
        expected: usize,
        mut attempt: impl FnMut(&mut [u8]) -> Result<Option<usize>, DecompressError>,
    ) -> Result<usize, DecompressError> {
        let mut wanted = expected;
        loop {
            let offered = wanted
                .max(self.lent.bytes.len())
                .max(MIN_ROOM)
                .min(self.limit);
            if let Some(len) = attempt(self.first(offered))? {
                return Ok(len);
            }
            if offered == self.limit {
                return Err(self.too_large());
            }
            wanted = offered.saturating_mul(2);
        }
    }

    /// Reads to the end.
    pub fn read(&mut self, from: &mut impl Read) -> Result<usize, DecompressError> {
        let mut len = 0;
        loop {
            // A byte beyond the limit tells what ends there from what goes on.
            let offered = self.lent.bytes.len().max(len + MIN_ROOM);
            let offered = offered.min(self.limit.saturating_add(1));
            match from.read(&mut self.first(offered)[len..])? {
                0 if len > self.limit => return Err(self.too_large()),
                0 => return Ok(len),
                more => len += more,
            }
        }
    }

    /// The first `len` bytes. A small part of a large buffer does not hold all of it.
    pub fn into_bytes(mut self, len: usize) -> Bytes {
        if self.lent.bytes.len() / MAX_SLACK > len {
            return Bytes::copy_from_slice(&self.lent.bytes[..len]);
        }
        self.lent.len = len;
        Bytes::from_owner(self.lent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room_of(shelf: &Shelf, len: usize) -> Room {
        let mut room = Room::new(shelf, usize::MAX);
        room.first(len).fill(1);
        room
    }

    #[test]
    fn memory_comes_back_when_nobody_reads_it() {
        let shelf = Shelf::default();
        let bytes = room_of(&shelf, 1 << 20).into_bytes(1 << 20);
        let (at, copy) = (bytes.as_ptr(), bytes.clone());
        drop(bytes);
        assert_eq!(shelf.spare().bytes, 0);
        drop(copy);
        assert_eq!(shelf.spare().bytes, 1 << 20);
        let bytes = room_of(&shelf, 1 << 20).into_bytes(1 << 20);
        assert_eq!(bytes.as_ptr(), at);
    }

    #[test]
    fn a_small_part_does_not_hold_the_whole() {
        let shelf = Shelf::default();
        let bytes = room_of(&shelf, 1 << 20).into_bytes(1000);
        assert_eq!(shelf.spare().bytes, 1 << 20);
        assert_eq!(bytes, vec![1; 1000]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_when_it_is_not_needed() {
        let shelf = Shelf::default();
        let lent: Vec<_> = (0..40)
            .map(|_| room_of(&shelf, 1 << 20).into_bytes(1 << 20))
            .collect();
        drop(lent);
        assert_eq!(shelf.spare().bytes, MAX_KEPT);
        shelf.trim();
        // One is in use between the trims that follow.
        for _ in 0..40 {
            drop(room_of(&shelf, 1 << 20));
            shelf.trim();
        }
        assert_eq!(shelf.spare().bytes, 1 << 20);
        shelf.trim();
        assert_eq!(shelf.spare().bytes, 0);
    }

    #[test]
    fn what_needs_more_room_than_there_may_be_is_too_large() {
        let mut room = Room::new(&Shelf::default(), 100_000);
        let mut offered = Vec::new();
        let filled = room.fill(10, |out| {
            offered.push(out.len());
            Ok(None)
        });
        assert_eq!(filled, Err(DecompressError::TooLarge(100_000)));
        assert_eq!(offered, [MIN_ROOM, 100_000]);
        assert_eq!(room.read(&mut &[1; 100_000][..]), Ok(100_000));
        let mut longer = &[1; 100_001][..];
        assert_eq!(
            room.read(&mut longer),
            Err(DecompressError::TooLarge(100_000))
        );
    }
}
