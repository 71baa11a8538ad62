//! From a host name to addresses, without ever blocking the loop.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;

use super::beside::Beside;
use super::strerror::strerror;
use crate::ev::{Handler, Loop};

/// The address that a numeric host stands for (IPv6 also in brackets); none for a name.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse().ok()
}

/// A name being resolved. Dropping it forgets the answer.
pub struct Lookup(Beside<Result<Vec<SocketAddr>, String>>);

impl Lookup {
    /// Starts resolving; `handler` fires on the loop when [`Lookup::take`] has the answer.
    ///
    /// # Errors
    /// A text when no thread can be started.
    pub fn start(
        on: &Loop,
        host: String,
        port: u16,
        handler: Rc<dyn Handler>,
    ) -> Result<Lookup, String> {
        Beside::start(on, "resolver", handler, move || addresses_of(&host, port))
            .map(Lookup)
            .map_err(|error| strerror(&error))
    }

    /// The answer, once: addresses in the system's order of preference, or why there are none.
    pub fn take(&self) -> Option<Result<Vec<SocketAddr>, String>> {
        self.0.take()
    }
}

fn addresses_of(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| {
        let text = strerror(&error);
        // Rust's own words before the reason that getaddrinfo(3) gave.
        text.rsplit_once("information: ")
            .map_or(text.clone(), |(_, reason)| reason.to_string())
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err("no address".into());
    }
    Ok(addresses)
}
