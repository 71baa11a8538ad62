//! Memory for long responses: each has its own, which later ones use again. It is initialised once; what the system gives
//! anew would cost a page fault for every 4 KiB besides.

use bytes::Bytes;

/// Memory grows in steps of at most this while a long response arrives, whatever its size field claims.
const MAX_GROWTH: usize = 4 << 20;
/// Memory comes in multiples of this.
const ROUND: usize = 256 << 10;
/// The most offered to one read.
const MAX_READ: usize = 512 << 10;
/// How many are kept: one is read into while the program looks at another.
const MAX_SPARE: usize = 2;
/// After so many responses that were not long, it is not kept any more.
const MAX_UNUSED: u32 = 16;

/// A long response that is being read.
pub(crate) struct Long {
    /// Initialised, and `filled` bytes of it are data.
    pub memory: Vec<u8>,
    pub filled: usize,
    /// Of the response with its size field.
    length: usize,
}

impl Long {
    /// A response of `length` bytes of which so much has arrived.
    pub fn new(spare: &mut Spare, length: usize, arrived: &[u8]) -> Self {
        let mut memory = spare.take(length, arrived.len());
        memory[..arrived.len()].copy_from_slice(arrived);
        Long {
            memory,
            filled: arrived.len(),
            length,
        }
    }

    /// Whether all of it has arrived.
    pub fn is_whole(&self) -> bool {
        self.filled == self.length
    }

    /// Room for the next read, up to the end of the response.
    pub fn room(&mut self) -> &mut [u8] {
        if self.filled == self.memory.len() {
            let more = self.filled.min(MAX_GROWTH);
            let grown = self.length.min(self.filled + more);
            self.memory.resize(rounded(grown), 0);
        }
        let end = self.length.min(self.memory.len());
        &mut self.memory[self.filled..end.min(self.filled + MAX_READ)]
    }
}

/// Responses differ in length: the next one is to find room, too.
fn rounded(length: usize) -> usize {
    length.next_multiple_of(ROUND)
}

/// Memory of responses that were read.
#[derive(Default)]
pub(crate) struct Spare {
    /// All of it is initialised; who else has it still reads it.
    memory: Vec<Bytes>,
    /// Responses since the last long one.
    unused: u32,
}

impl Spare {
    /// Initialised memory for a response of so many bytes, or for a part of it that is longer than what has arrived.
    fn take(&mut self, length: usize, arrived: usize) -> Vec<u8> {
        let suits = |memory: &Bytes| memory.is_unique() && memory.len() >= length;
        match self.memory.iter().position(suits) {
            Some(index) => Vec::from(self.memory.swap_remove(index)),
            None => vec![0; rounded(length.min(arrived + MAX_GROWTH))],
        }
    }

    /// Gives memory out to be read, and has it used again afterwards.
    pub fn lend(&mut self, memory: Vec<u8>) -> Bytes {
        let memory = Bytes::from(memory);
        if self.memory.len() == MAX_SPARE {
            self.memory.remove(0);
        }
        self.memory.push(memory.clone());
        self.unused = 0;
        memory
    }

    /// A response has come that was not long.
    pub fn is_not_needed(&mut self) {
        self.unused += 1;
        if self.unused > MAX_UNUSED {
            self.memory = Vec::new();
            self.unused = 0;
        }
    }

    /// Keeps at most so many bytes, the youngest.
    pub fn trim(&mut self, keep: usize) {
        while self.bytes() > keep {
            self.memory.remove(0);
        }
    }

    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.memory.iter().map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response of so many bytes, read to its end.
    fn read(spare: &mut Spare, length: usize) -> Vec<u8> {
        let mut long = Long::new(spare, length, &[0; 8]);
        while !long.is_whole() {
            long.filled += long.room().len();
        }
        long.memory
    }

    #[test]
    fn a_response_that_is_a_little_longer_finds_room_in_the_same_memory() {
        let mut spare = Spare::default();
        for length in [MAX_GROWTH - 100, MAX_GROWTH + 100, 2 * MAX_GROWTH + 100] {
            let memory = read(&mut spare, length);
            let at = memory.as_ptr();
            drop(spare.lend(memory));
            let memory = read(&mut spare, length + 50);
            assert_eq!(memory.as_ptr(), at);
            drop(spare.lend(memory));
        }
    }
}
