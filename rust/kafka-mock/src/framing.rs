//! Cutting a connection's byte stream into request frames.

use bytes::{Buf, Bytes, BytesMut};

/// Largest request a broker takes: the default of `socket.request.max.bytes` (100 MiB). It keeps a
/// garbage length prefix from being waited for.
pub const MAX_REQUEST_BYTES: usize = 100 * 1024 * 1024;

/// Size of the length prefix that precedes every request and answer.
const LENGTH_PREFIX: usize = 4;

/// The length prefix was negative or above [`MAX_REQUEST_BYTES`]; a broker closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidFrameLength(pub i32);

impl std::fmt::Display for InvalidFrameLength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid request length {}", self.0)
    }
}

impl std::error::Error for InvalidFrameLength {}

/// Collects what was read from one connection and gives out whole request frames, in order.
///
/// Memory grows with the bytes received, never with the length that a prefix announces.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    /// A reader with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they came from the connection.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next complete request without its length prefix, for
    /// [`Cluster::handle`](crate::Cluster::handle); `None` until enough bytes have arrived.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, InvalidFrameLength> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_PREFIX>() else {
            return Ok(None);
        };
        let announced = i32::from_be_bytes(*prefix);
        let length = usize::try_from(announced)
            .ok()
            .filter(|&length| length <= MAX_REQUEST_BYTES)
            .ok_or(InvalidFrameLength(announced))?;
        if self.buffer.len() - LENGTH_PREFIX < length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let stream = [0, 0, 0, 3, b'a', b'b', b'c', 0, 0, 0, 0, 0, 0, 0, 1, b'z'];
        for chunk in 1..stream.len() {
            let mut reader = FrameReader::new();
            let mut frames = Vec::new();
            for part in stream.chunks(chunk) {
                reader.push(part);
                while let Some(frame) = reader.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, ["abc", "", "z"]);
        }
    }

    #[test]
    fn a_negative_or_huge_length_is_an_error_at_once() {
        for length in [-1, i32::MIN, i32::MAX, MAX_REQUEST_BYTES as i32 + 1] {
            let mut reader = FrameReader::new();
            reader.push(&length.to_be_bytes());
            assert_eq!(reader.next_frame(), Err(InvalidFrameLength(length)));
        }
    }
}
