//! Opening a TCP connection: one address after the other until one takes it.

use std::io;
use std::net::SocketAddr;
use std::vec;

use kafka_conn::DialError;
use mio::net::TcpStream;

use super::resolve::strerror;

/// The addresses of one broker that are still to be tried, and what became of the others.
pub struct Dial {
    remaining: vec::IntoIter<SocketAddr>,
    total: usize,
    last_error: String,
}

impl Dial {
    /// Nothing is tried yet. `addresses` must not be empty.
    pub fn new(addresses: Vec<SocketAddr>) -> Dial {
        Dial {
            total: addresses.len(),
            remaining: addresses.into_iter(),
            last_error: String::new(),
        }
    }

    /// Begins to connect to the next address. The socket is to be watched for becoming writable and
    /// then given to [`finished`].
    ///
    /// # Errors
    /// When no address is left.
    pub fn next_socket(&mut self) -> Result<TcpStream, DialError> {
        for address in self.remaining.by_ref() {
            match TcpStream::connect(address) {
                Ok(socket) => return Ok(socket),
                Err(error) => self.last_error = strerror(&error),
            }
        }
        Err(match self.total {
            1 => DialError::Connect(self.last_error.clone()),
            _ => DialError::AllAddressesFailed,
        })
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
