//! Opening a TCP connection: one address after the other until one takes it.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use kafka_conn::DialError;
use mio::net::TcpStream;

use super::strerror::strerror;

/// The addresses of one broker that are still to be tried, and what became of the others.
pub struct Dial {
    addresses: Vec<SocketAddr>,
    /// How many of them have been tried.
    tried: usize,
    last_error: String,
    /// When all of it has to be over.
    deadline: Option<Instant>,
    /// When the address being tried has had its share of that time.
    share_ends: Option<Instant>,
}

impl Dial {
    /// Nothing is tried yet. `addresses` must not be empty. Until the deadline, if there is one,
    /// each is given an equal share of the time that is left: one that does not answer at all must
    /// not keep the others from being tried.
    pub fn new(addresses: Vec<SocketAddr>, deadline: Option<Instant>) -> Dial {
        Dial {
            addresses,
            tried: 0,
            last_error: String::new(),
            deadline,
            share_ends: None,
        }
    }

    /// Begins to connect to the next address. The socket is to be watched for becoming writable and
    /// then given to [`finished`].
    ///
    /// # Errors
    /// When no address is left.
    pub fn next_socket(&mut self, now: Instant) -> Result<TcpStream, DialError> {
        while let Some(&address) = self.addresses.get(self.tried) {
            self.tried += 1;
            match TcpStream::connect(address) {
                Ok(socket) => {
                    self.share_ends = self.share(now);
                    return Ok(socket);
                }
                Err(error) => self.last_error = strerror(&error),
            }
        }
        Err(match self.addresses.len() {
            1 => DialError::Connect(self.last_error.clone()),
            _ => DialError::AllAddressesFailed,
        })
    }

    /// The last address has all the time that is left.
    fn share(&self, now: Instant) -> Option<Instant> {
        let others = u32::try_from(self.addresses.len() - self.tried).unwrap_or(u32::MAX);
        let left = self.deadline?.saturating_duration_since(now);
        (others > 0).then(|| now + left / others.saturating_add(1))
    }

    /// How many addresses there are, and how many have been tried.
    pub fn progress(&self) -> (usize, usize) {
        (self.addresses.len(), self.tried)
    }

    /// The address that was tried last, and the one to try after it; it goes round.
    pub fn current_and_next(&self) -> Option<(SocketAddr, SocketAddr)> {
        let current = *self.addresses.get(self.tried.checked_sub(1)?)?;
        let next = self.addresses.get(self.tried).or(self.addresses.first())?;
        Some((current, *next))
    }

    /// When to go on to the next address though this one has not answered.
    pub fn share_ends(&self) -> Option<Instant> {
        self.share_ends
    }

    /// Notes why the last socket came to nothing.
    pub fn failed(&mut self, error: &io::Error) {
        self.last_error = strerror(error);
    }
}

/// Whether a socket that became writable is connected; `Ok(false)` when it still is on its way.
///
/// # Errors
/// Why the connect failed.
pub fn finished(socket: &TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
        Err(error) => return Err(error),
    }
    // Requests are written whole, so Nagle's algorithm could only delay them.
    socket.set_nodelay(true)?;
    Ok(true)
}
