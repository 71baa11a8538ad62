//! The TLS side of one connection: ciphertext on the socket's side, plaintext on ours.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use rustls::ClientConnection;

use super::settings::server_name;
use super::{common_name, reason, TlsSettings};
use crate::frames::FrameBuffer;
use crate::transmit::{Transmit, TransmitQueue};

/// The bounds between which the room for ciphertext follows what one read yields.
const MIN_READ: usize = 8 << 10;
const MAX_READ: usize = 256 << 10;
/// Plaintext is encrypted when less ciphertext than this waits, and in pieces of this size, so
/// that a long queue is not held twice.
const ENCRYPT_AHEAD: usize = 256 << 10;
/// Most segments that are handed over together.
const MAX_SLICES: usize = 64;

/// One TLS connection. What goes wrong is given as text without the prefix `TLS: `.
pub(crate) struct TlsStream {
    tls: ClientConnection,
    /// The name that the broker's certificate has to have.
    server_name: ServerName<'static>,
    verifies: bool,
    /// Room for the next read.
    room: Vec<u8>,
    read_size: usize,
    /// Ciphertext for the socket.
    outgoing: TransmitQueue,
    /// The session is over by an error of the peer's: the alert about it is the last that it is told.
    broken: bool,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("handshaking", &self.tls.is_handshaking())
            .field("outgoing", &self.outgoing)
            .finish_non_exhaustive()
    }
}

impl TlsStream {
    /// Starts the handshake with `host`, a name or an address literal, unless the settings name
    /// another.
    pub(crate) fn new(settings: &TlsSettings, host: &str) -> Result<Self, String> {
        let name = server_name(settings.server_name.as_deref().unwrap_or(host))?;
        let mut tls = ClientConnection::new(Arc::clone(&settings.config), name.clone())
            .map_err(|error| reason::text(&error))?;
        // Bounded by ENCRYPT_AHEAD.
        tls.set_buffer_limit(None);
        let mut stream = TlsStream {
            tls,
            server_name: name,
            verifies: settings.verifies,
            room: Vec::new(),
            read_size: MIN_READ,
            outgoing: TransmitQueue::default(),
            broken: false,
        };
        stream.collect();
        Ok(stream)
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// What is to be told of a session that has been established.
    pub(crate) fn notice(&self) -> Option<String> {
        let certificate = self.tls.peer_certificates()?.first()?;
        let is_accepted_by_common_name =
            self.verifies && common_name::names(certificate, &self.server_name);
        is_accepted_by_common_name.then(|| format!(
            "TLS: the certificate of {} names it by its common name only: it should have a subjectAltName",
            self.server_name.to_str()
        ))
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Whether an alert waits that ends the session.
    pub(crate) fn has_last_words(&self) -> bool {
        self.broken && self.outgoing.len() > 0
    }

    /// Memory held for reading, in bytes.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.room.capacity()
    }

    /// Room for the next read from the socket.
    pub(crate) fn read_buffer(&mut self) -> &mut [u8] {
        self.room.resize(self.read_size, 0);
        &mut self.room
    }

    /// `n` bytes were read into the front of [`Self::read_buffer`].
    pub(crate) fn handle_read(
        &mut self,
        n: usize,
        plaintext: &mut FrameBuffer,
    ) -> Result<Peer, String> {
        let room = std::mem::take(&mut self.room);
        let n = n.min(room.len());
        let peer = self.handle_data(&room[..n], plaintext);
        if n == self.read_size {
            self.read_size = (self.read_size * 2).min(MAX_READ);
        } else if n < self.read_size / 4 && self.read_size > MIN_READ {
            self.read_size /= 2;
        }
        if room.len() == self.read_size {
            self.room = room;
        }
        peer
    }

    /// Ciphertext came: what is in it goes to `plaintext`.
    pub(crate) fn handle_data(
        &mut self,
        mut data: &[u8],
        plaintext: &mut FrameBuffer,
    ) -> Result<Peer, String> {
        let mut peer = Peer::Open;
        while !data.is_empty() && peer == Peer::Open {
            // An error here means that plaintext was not taken out, which it always is.
            self.tls
                .read_tls(&mut data)
                .map_err(|error| error.to_string())?;
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // What came before the broken record is sound.
                    self.take_plaintext(plaintext);
                    self.collect();
                    self.broken = true;
                    return Err(reason::text(&error));
                }
            };
            if state.plaintext_bytes_to_read() > 0 {
                self.take_plaintext(plaintext);
            }
            if state.peer_has_closed() {
                peer = Peer::Closed;
            }
        }
        self.collect();
        Ok(peer)
    }

    fn take_plaintext(&mut self, plaintext: &mut FrameBuffer) {
        // An error says that there is none, or that the peer has closed.
        while let Ok(n @ 1..) = self.tls.reader().read(plaintext.room()) {
            plaintext.filled(n);
        }
    }

    /// Encrypts what waits in `plaintext`, within bounds, and offers the ciphertext.
    pub(crate) fn poll_transmit(&mut self, plaintext: &mut TransmitQueue) -> Option<Transmit<'_>> {
        while !self.broken && self.outgoing.len() < ENCRYPT_AHEAD {
            let Some(Ok(n @ 1..)) = plaintext.poll().map(|waiting| self.encrypt(&waiting)) else {
                break;
            };
            plaintext.advance(n);
            self.collect();
        }
        self.outgoing.poll()
    }

    /// Hands over the first of what waits, together, so that small segments get no records of their own.
    fn encrypt(&mut self, waiting: &Transmit<'_>) -> io::Result<usize> {
        let mut slices = [io::IoSlice::new(&[]); MAX_SLICES];
        let count = waiting.io_slices_within(&mut slices, ENCRYPT_AHEAD);
        self.tls.writer().write_vectored(&slices[..count])
    }

    pub(crate) fn transmitted(&mut self, n: usize) {
        self.outgoing.advance(n);
    }

    /// Takes what rustls wants to have written.
    fn collect(&mut self) {
        let mut records = Records::default();
        while self.tls.wants_write() {
            if !matches!(self.tls.write_tls(&mut records), Ok(1..)) {
                break;
            }
        }
        self.outgoing.push(records.0.freeze());
    }
}

/// What the peer has said about further data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Open,
    /// It has said that nothing follows (close_notify).
    Closed,
}

/// TLS records on their way from rustls to the transmit queue.
#[derive(Default)]
struct Records(BytesMut);

impl Write for Records {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.0.reserve(length);
        slices
            .iter()
            .for_each(|slice| self.0.extend_from_slice(slice));
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
