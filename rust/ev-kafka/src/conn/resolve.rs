//! From a host name to addresses, without ever blocking the loop.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::mpsc::{channel, Receiver};

use super::strerror::strerror;
use crate::ev::{self, Async, Handler, Loop};

/// The address that a numeric host stands for (IPv6 also in brackets); none for a name.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse().ok()
}

/// A name being resolved on a thread of its own. Dropping it forgets the answer.
pub struct Lookup {
    answer: Receiver<Result<Vec<SocketAddr>, String>>,
    _wake: Async,
}

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
        let wake = Async::new(on, handler);
        let sender = wake.sender();
        let (give, answer) = channel();
        ev::spawn_quietly("resolver", move || {
            // A receiver that is gone wanted no answer any more.
            let _ = give.send(addresses_of(&host, port));
            sender.send();
        })
        .map_err(|error| strerror(&error))?;
        Ok(Lookup {
            answer,
            _wake: wake,
        })
    }

    /// The answer, once: addresses in the system's order of preference, or why there are none.
    pub fn take(&self) -> Option<Result<Vec<SocketAddr>, String>> {
        self.answer.try_recv().ok()
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
