//! Bytes from the broker, cut into responses where they lie.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::error::{ConnectionError, Peer};

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
/// Room is reserved in steps of at most this while a long response arrives, whatever its size
/// field claims.
const MAX_RESERVE: usize = 4 << 20;
/// A buffer up to this is kept by a connection that awaits nothing.
const KEEP_IDLE: usize = 64 << 10;
/// A buffer up to this is kept while answers are awaited.
const KEEP_BUSY: usize = 4 << 20;

/// The read buffer. Responses are split off it as `Bytes` without being copied.
pub(crate) struct FrameBuffer {
    /// Initialised memory: `filled` bytes of data, then room for the next read.
    buffer: BytesMut,
    filled: usize,
    /// How much to offer to the next read; follows what the peer sends.
    read_size: usize,
    /// The length of the last [`Self::room`], until it is filled.
    offered: usize,
    /// The largest allocation that `buffer` may be part of.
    allocated: usize,
    /// The largest response that is accepted now, in bytes without its size field.
    max_size: usize,
}

impl fmt::Debug for FrameBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameBuffer({} bytes)", self.filled)
    }
}

impl FrameBuffer {
    pub(crate) fn new() -> Self {
        FrameBuffer {
            buffer: BytesMut::new(),
            filled: 0,
            read_size: MIN_READ,
            offered: 0,
            allocated: 0,
            max_size: MAX_RESPONSE_SIZE,
        }
    }

    /// Sets the largest response that is accepted from the next one on, in bytes without its size
    /// field.
    pub(crate) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
    }

    /// Room for the next read; what is read into its front is announced with [`Self::filled`].
    /// Memory grows with what has arrived, not with what a size field claims.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let missing = self.missing();
        let enough = missing.clamp(self.read_size / 2, MAX_READ);
        if self.buffer.len() - self.filled < enough {
            // Without the unused rest, which need not be kept: the allocation is then used again
            // from its start if all that was split off it is gone.
            self.buffer.truncate(self.filled);
            self.buffer
                .reserve(missing.clamp(self.read_size, MAX_RESERVE));
            self.buffer
                .resize(self.filled + missing.clamp(self.read_size, MAX_READ), 0);
            self.allocated = self.allocated.max(self.buffer.capacity());
        }
        let room = &mut self.buffer[self.filled..];
        self.offered = room.len();
        room
    }

    /// `n` bytes were read into the front of [`Self::room`].
    pub(crate) fn filled(&mut self, n: usize) {
        let n = n.min(self.offered);
        self.filled += n;
        if n > 0 && n == self.offered {
            self.read_size = (self.read_size * 2).min(MAX_READ);
        } else if n < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(MIN_READ);
        }
        self.offered = 0;
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
            Ok(Some(size)) => self.filled - SIZE_FIELD >= size,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// The next complete response without its size field, at least a correlation id long.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        let Some(size) = self.response_size()? else {
            return Ok(None);
        };
        let length = SIZE_FIELD + size;
        if self.filled < length {
            return Ok(None);
        }
        let frame = self.buffer.split_to(length).freeze();
        self.filled -= length;
        Ok(Some(frame.slice(SIZE_FIELD..)))
    }

    /// Gives memory back: all that is more than a connection needs that awaits answers or, when
    /// `idle`, nothing.
    pub(crate) fn trim(&mut self, idle: bool) {
        let keep = if idle { KEEP_IDLE } else { KEEP_BUSY };
        if self.allocated > keep && self.filled <= KEEP_IDLE {
            self.buffer = BytesMut::from(&self.buffer[..self.filled]);
            self.allocated = self.buffer.capacity();
            self.read_size = MIN_READ;
            self.offered = 0;
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.allocated
    }

    /// How many bytes the response at the front still lacks; 0 when that is unknown.
    fn missing(&self) -> usize {
        match self.response_size() {
            Ok(Some(size)) => (SIZE_FIELD + size).saturating_sub(self.filled),
            _ => 0,
        }
    }

    /// The checked size of the response at the front; `None` before its size field is complete.
    fn response_size(&self) -> Result<Option<usize>, ConnectionError> {
        let Some(field) = self.buffer[..self.filled].first_chunk::<SIZE_FIELD>() else {
            return Ok(None);
        };
        match usize::try_from(i32::from_be_bytes(*field)) {
            Ok(size) if size < CORRELATION_ID => Err(ConnectionError::ResponseTooShort),
            Ok(size) if size <= self.max_size => Ok(Some(size)),
            _ => Err(ConnectionError::InvalidResponseSize(Peer::of(*field))),
        }
    }
}
