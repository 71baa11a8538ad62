//! Bytes for the broker, kept as segments so that large bodies are never copied.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Segments shorter than this are copied together: a copy costs less than an `iovec`.
const COPY_BELOW: usize = 4 << 10;
/// Small segments are gathered into pieces of at most this size.
const GATHER: usize = 32 << 10;
/// A buffer up to this is kept when all is written.
const KEEP: usize = 4 << 10;

/// What waits to be written.
#[derive(Default)]
pub(crate) struct TransmitQueue {
    segments: VecDeque<Bytes>,
    /// Small segments after the last of `segments`.
    gathered: BytesMut,
    len: usize,
}

impl fmt::Debug for TransmitQueue {
    /// Without the bytes, which may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransmitQueue({} bytes)", self.len)
    }
}

impl TransmitQueue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, segment: Bytes) {
        if segment.is_empty() {
            return;
        }
        self.len += segment.len();
        if segment.len() >= COPY_BELOW {
            self.seal();
            self.segments.push_back(segment);
            return;
        }
        self.gather(segment.len()).extend_from_slice(&segment);
    }

    /// Queues `len` bytes, few enough to be copied, which the caller appends to the returned buffer.
    pub(crate) fn append(&mut self, len: usize) -> &mut BytesMut {
        self.len += len;
        self.gather(len)
    }

    /// The buffer with room for `len` bytes.
    fn gather(&mut self, len: usize) -> &mut BytesMut {
        if self.gathered.len() + len > GATHER {
            self.seal();
        }
        self.gathered.reserve(len);
        &mut self.gathered
    }

    /// Queues a segment that must not be copied, because it is wiped when dropped.
    pub(crate) fn push_uncopied(&mut self, segment: Bytes) {
        self.seal();
        self.len += segment.len();
        self.segments.push_back(segment);
    }

    pub(crate) fn poll(&self) -> Option<Transmit<'_>> {
        (self.len > 0).then_some(Transmit {
            segments: &self.segments,
            gathered: &self.gathered,
            len: self.len,
        })
    }

    pub(crate) fn advance(&mut self, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        while let Some(front) = self.segments.front_mut() {
            if front.len() > left {
                front.advance(left);
                return;
            }
            left -= front.len();
            self.segments.pop_front();
        }
        self.gathered.advance(left);
        self.shrink_if_empty();
    }

    fn shrink_if_empty(&mut self) {
        if self.len > 0 {
            return;
        }
        if self.segments.capacity() > 256 {
            self.segments = VecDeque::new();
        }
        if self.gathered.capacity() > KEEP {
            self.gathered = BytesMut::new();
        }
    }

    fn seal(&mut self) {
        if !self.gathered.is_empty() {
            self.segments.push_back(self.gathered.split().freeze());
        }
    }
}

/// Everything that waits to be written, as a borrowed list of segments for one `writev`.
pub struct Transmit<'a> {
    segments: &'a VecDeque<Bytes>,
    /// What follows them.
    gathered: &'a [u8],
    len: usize,
}

impl fmt::Debug for Transmit<'_> {
    /// Without the bytes, which may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transmit({} bytes)", self.len)
    }
}

#[allow(clippy::len_without_is_empty)] // there is no empty one
impl<'a> Transmit<'a> {
    /// Bytes in all segments; at least 1.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The segments, none of them empty.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        let gathered = Some(self.gathered).filter(|gathered| !gathered.is_empty());
        self.segments
            .iter()
            .map(|segment| &segment[..])
            .chain(gathered)
    }

    /// The first segment if it is the only one: what a plain `write` takes.
    pub fn only_segment(&self) -> Option<&'a [u8]> {
        match self.segments.is_empty() {
            true => Some(self.gathered),
            false if self.gathered.is_empty() && self.segments.len() == 1 => {
                self.segments.front().map(|segment| &segment[..])
            }
            false => None,
        }
    }

    /// Puts as many of the segments as fit into `slices`, from the first on, and returns how
    /// many; `&slices[..n]` is then ready for `write_vectored`.
    pub fn io_slices(&self, slices: &mut [IoSlice<'a>]) -> usize {
        self.io_slices_within(slices, usize::MAX)
    }

    /// The same with at most so many bytes.
    pub(crate) fn io_slices_within(&self, slices: &mut [IoSlice<'a>], most: usize) -> usize {
        let (mut fitting, mut left) = (0, most);
        for (slice, segment) in slices.iter_mut().zip(self.segments()) {
            if left == 0 {
                break;
            }
            let segment = &segment[..segment.len().min(left)];
            *slice = IoSlice::new(segment);
            fitting += 1;
            left -= segment.len();
        }
        fitting
    }
}
