//! One connection of a client to a mock broker.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::os::fd::AsFd;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use kafka_mock::FrameReader;
use mio::net::TcpStream;

use super::tls::Encryption;
use crate::ev::{self, Handler, Io, Loop, READ, WRITE};

/// Bytes read at a time.
const READ_SIZE: usize = 64 * 1024;
/// Reads before other watchers have their turn.
const MAX_READS: usize = 16;
/// Answers given to the system in one call.
const MAX_SLICES: usize = 64;

/// The watcher comes first: it must be gone before its descriptor.
pub(super) struct Link {
    watcher: Io,
    socket: TcpStream,
    encryption: Option<Encryption>,
    frames: FrameReader,
    unsent: VecDeque<Bytes>,
    /// Nothing more is read, and the connection goes once `unsent` is empty.
    closing: bool,
}

/// What came from a client.
#[derive(Default)]
pub(super) struct Received {
    pub frames: Vec<Bytes>,
    /// Why nothing more will come.
    pub end: Option<String>,
}

impl Link {
    /// Watches a socket that was just accepted.
    pub fn new(
        socket: TcpStream,
        on: &Loop,
        ready: Rc<dyn Handler>,
        encryption: Option<Encryption>,
    ) -> Link {
        // Answers are written whole; Nagle's algorithm could only delay them. Without it they are
        // late, not wrong.
        let _ = socket.set_nodelay(true);
        let watcher = Io::new(on, ready);
        watcher.start(socket.as_fd(), READ);
        Link {
            watcher,
            socket,
            encryption,
            frames: FrameReader::new(),
            unsent: VecDeque::new(),
            closing: false,
        }
    }

    /// Reads what is there, within reason, and cuts it into requests.
    pub fn receive(&mut self) -> Received {
        let mut received = Received::default();
        let mut buffer = [0; READ_SIZE];
        for _ in 0..MAX_READS {
            if self.closing || received.end.is_some() {
                break;
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => received.end = Some("closed by the client".into()),
                Ok(n) => {
                    self.take_data(&buffer[..n], &mut received);
                    self.take_frames(&mut received);
                    if n < READ_SIZE {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => received.end = Some(error.to_string()),
            }
        }
        received
    }

    fn take_data(&mut self, data: &[u8], received: &mut Received) {
        let Some(encryption) = &mut self.encryption else {
            return self.frames.push(data);
        };
        if let Err(why) = encryption.decrypt(data, &mut self.frames) {
            received.end = Some(why);
        }
        // The handshake's messages, or an alert.
        self.collect();
    }

    /// Queues what the encryption wants to have written.
    fn collect(&mut self) {
        let records = self.encryption.as_mut().map(Encryption::outgoing);
        self.unsent
            .extend(records.filter(|bytes| !bytes.is_empty()));
    }

    fn take_frames(&mut self, received: &mut Received) {
        loop {
            match self.frames.next_frame() {
                Ok(Some(frame)) => received.frames.push(frame),
                Ok(None) => return,
                Err(error) => {
                    received.end.get_or_insert(error.to_string());
                    return;
                }
            }
        }
    }

    /// Adds an answer to what is to be written.
    pub fn queue(&mut self, bytes: Bytes) {
        match &mut self.encryption {
            None => self.unsent.push_back(bytes),
            Some(encryption) => {
                encryption.encrypt(&bytes);
                self.collect();
            }
        }
    }

    /// Ends the connection after what is queued.
    pub fn close_when_flushed(&mut self) {
        self.closing = true;
        if let Some(encryption) = &mut self.encryption {
            encryption.end();
        }
        self.collect();
    }

    /// Writes as far as the socket takes it; false when the connection is over.
    pub fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            let slices: Vec<IoSlice<'_>> = self
                .unsent
                .iter()
                .take(MAX_SLICES)
                .map(|bytes| IoSlice::new(bytes))
                .collect();
            match ev::send_vectored(self.socket.as_fd(), &slices) {
                Ok(sent) => self.sent(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        let events = match (self.unsent.is_empty(), self.closing) {
            (true, true) => return false,
            (true, false) => READ,
            (false, true) => WRITE,
            (false, false) => READ | WRITE,
        };
        self.watcher.start(self.socket.as_fd(), events);
        true
    }

    fn sent(&mut self, mut count: usize) {
        while let Some(first) = self.unsent.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.unsent.pop_front();
        }
    }
}
