//! The socket of one connection and the watchers around it. Calls no Perl code.

use std::cell::Cell;
use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka_conn::{Connection, DialError, SaltedPassword, Salting, SaltingId, Transmit};
use mio::net::TcpStream;

use super::beside::Beside;
use super::destination::Destination;
use super::dial::{self, Dial};
use super::resolve::{literal, Lookup};
use super::strerror::strerror;
use crate::ev::{self, Handler, Io, Loop, Prepare, Timer, READ, WRITE};

/// Most segments given to the system in one call, a megabyte of values of 10 kB and what stands between them; more go in
/// the next one.
const MAX_SLICES: usize = 256;

/// For how long a look holds good that found the peer still there, unless something is read or written before: the time in
/// which a request is made and written.
const LOOK_HOLDS: Duration = Duration::from_millis(1);

/// How often to look how much of what was written has arrived.
const ARRIVAL_LOOKS: Duration = Duration::from_millis(250);

/// The handlers of a link's watchers.
pub(super) struct Handlers {
    pub io: Rc<dyn Handler>,
    pub timer: Rc<dyn Handler>,
    pub prepare: Rc<dyn Handler>,
    pub resolved: Rc<dyn Handler>,
    pub salted: Rc<dyn Handler>,
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Bytes or an end came; there may be more.
    More,
    /// Nothing more is there for now.
    Drained,
}

/// Where the transport stands.
enum Transport {
    None,
    /// And until when all addresses are to be tried.
    Resolving(Lookup, Option<Instant>),
    Connecting(TcpStream, Dial),
    Connected(TcpStream),
}

/// Moves bytes between a [`Connection`] and a socket.
pub(super) struct Link {
    on: Loop,
    transport: Transport,
    /// Where it goes to.
    pub destination: Destination,
    /// Grows with every transport, so that a loop over reads notices that its socket is gone.
    serial: u64,
    /// An attempt that failed on the spot, to be reported from the loop.
    dial_error: Option<DialError>,
    /// Why writing has stopped. What the broker said before is read first.
    write_error: Option<io::Error>,
    /// The socket's buffer is full.
    blocked: bool,
    /// Something was written of which it is not known yet whether it has arrived.
    on_its_way: bool,
    /// When the peer was last looked for and found there, if nothing was read or written since.
    looked_at: Cell<Option<Instant>>,
    /// When bytes last moved, one way or the other.
    used_at: Instant,
    /// When bytes last came.
    heard_at: Instant,
    io: Io,
    /// What `io` watches for: most of the time what it is to watch for.
    watched: i32,
    timer: Timer,
    /// When the timer fires at the latest.
    armed: Option<Instant>,
    prepare: Prepare,
    /// Whether `prepare` is started.
    prepared: Cell<bool>,
    resolved: Rc<dyn Handler>,
    /// A password that the authentication waits for.
    salting: Option<Beside<(SaltingId, SaltedPassword)>>,
    salted: Rc<dyn Handler>,
}

impl Link {
    pub fn new(on: &Loop, handlers: Handlers) -> Link {
        Link {
            on: on.clone(),
            transport: Transport::None,
            destination: Destination::default(),
            serial: 0,
            dial_error: None,
            write_error: None,
            blocked: false,
            on_its_way: false,
            looked_at: Cell::new(None),
            used_at: Instant::now(),
            heard_at: Instant::now(),
            io: Io::new(on, handlers.io),
            watched: 0,
            timer: Timer::new(on, handlers.timer),
            armed: None,
            prepare: Prepare::new(on, handlers.prepare),
            prepared: Cell::new(false),
            resolved: handlers.resolved,
            salting: None,
            salted: handlers.salted,
        }
    }

    /// Names the current transport.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Drops the transport, whatever it is.
    pub fn close(&mut self) {
        self.io.stop();
        self.watched = 0;
        self.prepare.stop();
        self.prepared.set(false);
        self.transport = Transport::None;
        self.serial += 1;
        self.dial_error = None;
        self.write_error = None;
        self.blocked = false;
        self.salting = None;
        self.on_its_way = false;
        self.looked_at.set(None);
    }

    /// Also stops the timer: nothing fires any more.
    pub fn shut(&mut self) {
        self.close();
        self.timer.stop();
        self.armed = None;
    }
}

/// Connecting.
impl Link {
    /// Resolves and connects. What fails at once is reported by [`Link::dialed`] later, so that no
    /// callback runs inside the call that wanted to connect.
    pub fn dial(&mut self, host: &str, port: u16, deadline: Option<Instant>) {
        self.close();
        self.destination.aim(host, port);
        match literal(host) {
            Some(address) => {
                let addresses = vec![SocketAddr::new(address, port)];
                self.connect(Dial::new(addresses, deadline));
            }
            None => match Lookup::start(&self.on, host.to_string(), port, self.resolved.clone()) {
                Ok(lookup) => self.transport = Transport::Resolving(lookup, deadline),
                Err(reason) => self.dial_error = Some(DialError::Resolve(reason)),
            },
        }
    }

    fn connect(&mut self, mut dial: Dial) {
        match dial.next_socket(Instant::now()) {
            Ok(socket) => {
                self.io.start(socket.as_fd(), WRITE);
                self.watched = WRITE;
                self.transport = Transport::Connecting(socket, dial);
            }
            Err(error) => self.dial_error = Some(error),
        }
    }

    /// The resolver's thread has an answer.
    pub fn resolved(&mut self) {
        let Transport::Resolving(lookup, deadline) = &self.transport else {
            return;
        };
        let deadline = *deadline;
        let Some(answer) = lookup.take() else { return };
        self.transport = Transport::None;
        match answer {
            Ok(addresses) => {
                let addresses = self.destination.order(addresses);
                self.connect(Dial::new(addresses, deadline));
            }
            Err(reason) => self.dial_error = Some(DialError::Resolve(reason)),
        }
    }

    /// Looks whether the attempt has come to an end and tells the connection.
    pub fn dialed(&mut self, connection: &mut Connection, now: Instant) {
        if self.is_connected() && self.dial_error.is_none() {
            return;
        }
        match std::mem::replace(&mut self.transport, Transport::None) {
            Transport::Connecting(socket, mut dial) => match dial::finished(&socket) {
                Ok(true) => {
                    self.io.start(socket.as_fd(), READ);
                    self.watched = READ;
                    ev::keep_alive(socket.as_fd());
                    self.transport = Transport::Connected(socket);
                    self.used_at = now;
                    self.destination.connected(&dial);
                    connection.handle_dialed(now);
                }
                Ok(false) if dial.share_ends().is_none_or(|end| end > now) => {
                    self.transport = Transport::Connecting(socket, dial);
                }
                outcome => {
                    self.io.stop();
                    self.watched = 0;
                    drop(socket);
                    dial.failed(&outcome.err().unwrap_or(io::ErrorKind::TimedOut.into()));
                    self.connect(dial);
                }
            },
            other => self.transport = other,
        }
        if let Some(error) = self.dial_error.take() {
            connection.handle_dial_failed(error, now);
        }
    }
}

/// Authenticating.
impl Link {
    /// Salts a password on a thread; [`Link::salted`] has it later.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn salt(&mut self, id: SaltingId, salting: Salting) -> io::Result<()> {
        let handler = self.salted.clone();
        let work = move || (id, salting.run());
        self.salting = Some(Beside::start(&self.on, "salting", handler, work)?);
        Ok(())
    }

    /// The password that was salted, once.
    pub fn salted(&mut self) -> Option<(SaltingId, SaltedPassword)> {
        let salted = self.salting.as_ref()?.take()?;
        self.salting = None;
        Some(salted)
    }
}

/// Reading and writing.
impl Link {
    /// Reads once into the connection's buffer.
    pub fn read(&mut self, connection: &mut Connection, now: Instant) -> Progress {
        let Transport::Connected(socket) = &self.transport else {
            return Progress::Drained;
        };
        self.looked_at.set(None);
        let buffer = connection.read_buffer();
        let room = buffer.len();
        let read = loop {
            match (&*socket).read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match read {
            Ok(0) => connection.handle_eof(now),
            Ok(n) => {
                (self.used_at, self.heard_at) = (now, now);
                connection.handle_read(n, now);
                if n < room {
                    return Progress::Drained;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(error) = self.write_error.take() {
                    report(connection, "write", &error, now);
                }
                return Progress::Drained;
            }
            Err(error) => report(connection, "read", &error, now),
        }
        Progress::More
    }

    /// Writes what the connection has to say, as far as the socket takes it.
    pub fn transmit(&mut self, connection: &mut Connection) {
        if self.prepared.replace(false) {
            self.prepare.stop();
        }
        let Transport::Connected(socket) = &self.transport else {
            return;
        };
        // What is written into a connection that has ended is lost, and the end is soon read.
        if self.write_error.is_some()
            || connection.queued_bytes() == 0
            || self.peer_has_closed(socket)
        {
            return;
        }
        self.looked_at.set(None);
        self.blocked = false;
        while let Some(transmit) = connection.poll_transmit() {
            let sent = match transmit.only_segment() {
                Some(segment) => ev::send(socket.as_fd(), segment),
                None => send_all(socket, &transmit),
            };
            match sent {
                Ok(sent) => {
                    let now = Instant::now();
                    connection.transmitted(sent, now);
                    self.used_at = now;
                    self.on_its_way = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) => {
                    // The broker may have answered before it closed: its words come first.
                    self.write_error = Some(error);
                    break;
                }
            }
        }
        let events = if self.blocked { READ | WRITE } else { READ };
        if self.watched != events {
            self.io.start(socket.as_fd(), events);
            self.watched = events;
        }
    }

    /// Has the connection's bytes written when this turn of the loop ends, together with what else
    /// is still to be said in it.
    pub fn transmit_later(&self, connection: &Connection) {
        if connection.queued_bytes() > 0
            && !self.blocked
            && self.write_error.is_none()
            && self.is_connected()
        {
            self.prepare.start();
            self.prepared.set(true);
        }
    }

    /// Has the connection looked after before the loop waits again.
    pub fn fire_soon(&self) {
        if self.is_connected() {
            self.prepare.start();
            self.prepared.set(true);
        }
    }

    /// Whether the socket's buffer is full: it will say when there is room again.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether the peer has closed the connection, though it may not be known yet.
    pub fn has_ended(&self) -> bool {
        match &self.transport {
            Transport::Connected(socket) => self.write_error.is_some() || self.look(socket),
            _ => false,
        }
    }

    /// Whether the peer has closed the connection, as far as the system knows now.
    fn look(&self, socket: &TcpStream) -> bool {
        let has_closed = ev::peer_closed(socket.as_fd());
        self.looked_at.set((!has_closed).then(Instant::now));
        has_closed
    }

    /// The same before a write: whoever chose this connection has just looked.
    fn peer_has_closed(&self, socket: &TcpStream) -> bool {
        let holds_good = |at: Instant| at.elapsed() < LOOK_HOLDS;
        !self.looked_at.get().is_some_and(holds_good) && self.look(socket)
    }

    /// When something last came from the peer.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// For how long nothing has moved.
    pub fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.used_at)
    }

    /// Finds out how much of what was written has arrived.
    pub fn look_after_bytes(&mut self, connection: &mut Connection, now: Instant) {
        let Transport::Connected(socket) = &self.transport else {
            return;
        };
        if !self.on_its_way {
            return;
        }
        let left = ev::unacknowledged(socket.as_fd());
        if let Some(left) = left {
            connection.handle_unacknowledged(left, now);
        }
        self.on_its_way = left.is_some_and(|left| left > 0);
    }

    fn is_connected(&self) -> bool {
        matches!(self.transport, Transport::Connected(_))
    }
}

/// Time.
impl Link {
    /// Sets the timer so that it fires at the connection's next deadline, or earlier.
    pub fn arm(&mut self, connection: &Connection) {
        let due = match self.dial_error.is_some() || self.write_error.is_some() {
            true => Some(Instant::now()),
            false => self.earliest(connection.poll_timeout()),
        };
        match (due, self.armed) {
            (None, None) => {}
            (None, Some(_)) => {
                self.timer.stop();
                self.armed = None;
            }
            // Deadlines mostly move on; firing early costs less than moving the timer each time.
            (Some(due), Some(armed)) if armed <= due => {}
            (Some(due), armed) => {
                let now = Instant::now();
                let due = match self.on_its_way {
                    true => due.min(now + ARRIVAL_LOOKS),
                    false => due,
                };
                if armed.is_none_or(|armed| armed > due) {
                    self.timer.start(due.saturating_duration_since(now));
                    self.armed = Some(due);
                }
            }
        }
    }

    /// A connection's deadline, or when the next address is to be tried if that comes first.
    fn earliest(&self, deadline: Option<Instant>) -> Option<Instant> {
        match &self.transport {
            Transport::Connecting(_, dial) => deadline.into_iter().chain(dial.share_ends()).min(),
            _ => deadline,
        }
    }

    /// The timer has fired.
    pub fn disarm(&mut self) {
        self.armed = None;
    }
}

/// Apart from what one segment needs: the slices take four kilobytes of stack.
#[inline(never)]
fn send_all(socket: &TcpStream, transmit: &Transmit<'_>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = transmit.io_slices(&mut slices);
    ev::send_vectored(socket.as_fd(), &slices[..count])
}

/// A reset is how a closed connection looks to whoever still writes: not an error of its own.
fn report(connection: &mut Connection, what: &str, error: &io::Error, now: Instant) {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => connection.handle_eof(now),
        _ => connection.handle_io_error(format_args!("{what}: {}", strerror(error)), now),
    }
}
