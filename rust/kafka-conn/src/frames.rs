//! Bytes from the broker, cut into responses where they lie.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::error::{ConnectionError, Peer};
use crate::spare::{Long, Spare};

/// The largest response that is accepted, in bytes without its size field: 256 MiB. It protects
/// the process against a peer that is no Kafka broker; brokers send answers of this size only
/// when asked for them.
pub const MAX_RESPONSE_SIZE: usize = 256 << 20;

/// The same for answers to the requests of the handshake and of re-authentication, which are sent
/// before anybody is known, and short: 1 MiB.
pub const MAX_HANDSHAKE_RESPONSE_SIZE: usize = 1 << 20;

/// Length of a response's size field.
const SIZE_FIELD: usize = 4;
/// Length of a correlation id, which every response starts with.
const CORRELATION_ID: usize = 4;
/// The bounds between which the pieces of buffer follow what one read yields.
const MIN_READ: usize = 8 << 10;
const MAX_READ: usize = 512 << 10;
/// A response longer than this, with its size field, is read into memory of its own.
const OWN_MEMORY: usize = 64 << 10;
/// A buffer up to this is kept by a connection that awaits nothing.
const KEEP_IDLE: usize = 64 << 10;
/// A buffer up to this is kept while answers are awaited.
const KEEP_BUSY: usize = 4 << 20;

/// And so much memory of long responses, for two of 8 MB.
const KEEP_SPARE: usize = 16 << 20;

/// The read buffer. Responses are split off it as `Bytes` without being copied.
pub(crate) struct FrameBuffer {
    /// Initialised memory: `filled` bytes of data, then room for the next read.
    buffer: BytesMut,
    filled: usize,
    /// A long response that is being read, and everything that has come.
    long: Option<Long>,
    spare: Spare,
    /// How much to offer to the next read; follows what the peer sends.
    read_size: usize,
    /// The length of the last [`Self::room`], until it is filled.
    offered: usize,
    /// The largest allocation that `buffer` may be part of.
    allocated: usize,
    /// The smallest and the largest response that is accepted now, in bytes without its size field.
    sizes: (usize, usize),
}

impl fmt::Debug for FrameBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameBuffer({} bytes)", self.front().len())
    }
}

impl FrameBuffer {
    pub(crate) fn new() -> Self {
        FrameBuffer {
            buffer: BytesMut::new(),
            filled: 0,
            long: None,
            spare: Spare::default(),
            read_size: MIN_READ,
            offered: 0,
            allocated: 0,
            sizes: (CORRELATION_ID, MAX_RESPONSE_SIZE),
        }
    }

    /// Sets the largest response that is accepted from the next one on, in bytes without its size
    /// field, and whether it is `bare`: without a correlation id.
    pub(crate) fn set_sizes(&mut self, max_size: usize, bare: bool) {
        self.sizes = (if bare { 0 } else { CORRELATION_ID }, max_size);
    }

    /// Room for the next read; what is read into its front is announced with [`Self::filled`].
    /// Memory grows with what has arrived, not with what a size field claims.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.long.is_none() && self.missing() > 0 {
            self.begin_long();
        }
        let room = match unfinished(&mut self.long) {
            Some(long) => long.room(),
            None => {
                make_room(&mut self.buffer, self.filled, self.read_size);
                self.allocated = self.allocated.max(self.buffer.capacity());
                &mut self.buffer[self.filled..]
            }
        };
        self.offered = room.len();
        room
    }

    /// If the response at the front is a long one, goes on with it elsewhere.
    fn begin_long(&mut self) {
        let length = self.filled + self.missing();
        if length > OWN_MEMORY {
            let arrived = &self.buffer[..self.filled];
            self.long = Some(Long::new(&mut self.spare, length, arrived));
            self.filled = 0;
            // The next read is for the start of a response again.
            self.read_size = MIN_READ;
        }
    }

    /// `n` bytes were read into the front of [`Self::room`].
    pub(crate) fn filled(&mut self, n: usize) {
        let n = n.min(self.offered);
        let offered = std::mem::take(&mut self.offered);
        if let Some(long) = unfinished(&mut self.long) {
            long.filled += n;
            return;
        }
        self.filled += n;
        if n > 0 && n == offered {
            self.read_size = (self.read_size * 2).min(MAX_READ);
        } else if n < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(MIN_READ);
        }
    }

    /// Takes bytes that were read elsewhere.
    pub(crate) fn extend(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let room = self.room();
            let n = room.len().min(data.len());
            room[..n].copy_from_slice(&data[..n]);
            self.filled(n);
            data = &data[n..];
        }
    }

    /// Whether [`Self::next`] has something to say.
    pub(crate) fn is_due(&self) -> bool {
        match self.response_size() {
            Ok(Some(size)) => self.front().len() - SIZE_FIELD >= size,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// The next complete response without its size field, at least a correlation id long unless it is bare.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        let Some(size) = self.response_size()? else {
            return Ok(None);
        };
        let length = SIZE_FIELD + size;
        if self.front().len() < length {
            return Ok(None);
        }
        let frame = match self.long.take() {
            Some(long) => self.spare.lend(long.memory),
            None => {
                self.filled -= length;
                self.spare.is_not_needed();
                self.buffer.split_to(length).freeze()
            }
        };
        Ok(Some(frame.slice(SIZE_FIELD..length)))
    }

    /// Gives memory back: all that is more than a connection needs that awaits answers or, when
    /// `idle`, nothing.
    pub(crate) fn trim(&mut self, idle: bool) {
        let keep = if idle { KEEP_IDLE } else { KEEP_BUSY };
        self.spare.trim(if idle { 0 } else { KEEP_SPARE });
        if self.allocated > keep && self.filled <= KEEP_IDLE {
            self.buffer = BytesMut::from(&self.buffer[..self.filled]);
            self.allocated = self.buffer.capacity();
            self.read_size = MIN_READ;
            self.offered = 0;
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn allocated(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| long.memory.capacity());
        self.allocated + long + self.spare.bytes()
    }

    /// What has arrived of the response at the front, and of others behind it.
    fn front(&self) -> &[u8] {
        match &self.long {
            Some(long) => &long.memory[..long.filled],
            None => &self.buffer[..self.filled],
        }
    }

    /// How many bytes the response at the front still lacks; 0 when that is unknown.
    fn missing(&self) -> usize {
        match self.response_size() {
            Ok(Some(size)) => (SIZE_FIELD + size).saturating_sub(self.front().len()),
            _ => 0,
        }
    }

    /// The checked size of the response at the front; `None` before its size field is complete.
    fn response_size(&self) -> Result<Option<usize>, ConnectionError> {
        let Some(field) = self.front().first_chunk::<SIZE_FIELD>() else {
            return Ok(None);
        };
        match usize::try_from(i32::from_be_bytes(*field)) {
            Ok(size) if size < self.sizes.0 => Err(ConnectionError::ResponseTooShort),
            Ok(size) if size <= self.sizes.1 => Ok(Some(size)),
            _ => Err(ConnectionError::InvalidResponseSize(Peer::of(*field))),
        }
    }
}

/// The long response if it is still to be read: what comes behind a whole one goes into the buffer again.
fn unfinished(long: &mut Option<Long>) -> Option<&mut Long> {
    long.as_mut().filter(|long| !long.is_whole())
}

/// Room for a read of about that size behind what is filled.
fn make_room(buffer: &mut BytesMut, filled: usize, read_size: usize) {
    if buffer.len() - filled >= read_size / 2 {
        return;
    }
    if buffer.capacity() - filled < read_size {
        // Without the unused rest, which need not be kept: the allocation is then used again
        // from its start if all that was split off it is gone.
        buffer.truncate(filled);
        buffer.reserve(read_size);
    }
    buffer.resize(filled + read_size, 0);
}
