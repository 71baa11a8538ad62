//! Where a connection goes to, and which of the addresses there are of use.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::addresses::AddressBook;
use super::dial::Dial;

/// Where the last connection went to, and what to think of that.
#[derive(Default)]
pub struct Destination {
    host: String,
    port: u16,
    /// The address, and the next one of its name.
    address: Option<(SocketAddr, SocketAddr)>,
    /// How many addresses the name has.
    known: usize,
    /// How many have failed since one worked, or since all were tried.
    failed: usize,
    /// How many the attempt had tried when it connected.
    tried: usize,
    /// Where to begin with a name of several addresses.
    book: Rc<RefCell<AddressBook>>,
}

impl Destination {
    /// An attempt to get to a name and port begins.
    pub fn aim(&mut self, host: &str, port: u16) {
        if self.host != host || self.port != port {
            *self = Destination {
                host: host.to_owned(),
                port,
                book: self.book.clone(),
                ..Destination::default()
            };
        }
        self.address = None;
    }

    /// `HOST:PORT`, once there is one.
    pub fn name(&self) -> Option<String> {
        let Destination { host, port, .. } = self;
        (!host.is_empty()).then(|| format!("{host}:{port}"))
    }

    /// What this learns of addresses, and what another one does, is known to both.
    pub fn share(&mut self, with: &Destination) {
        self.book = with.book.clone();
    }

    /// The addresses of the name in the order in which they are to be tried.
    pub fn order(&self, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        self.book.borrow().order(&self.host, self.port, addresses)
    }

    /// The attempt has connected.
    pub fn connected(&mut self, dial: &Dial) {
        self.address = dial.current_and_next();
        (self.known, self.tried) = dial.progress();
    }

    /// The broker at the address that is connected to speaks Kafka.
    pub fn address_worked(&mut self) {
        self.failed = 0;
        if let Some((address, _)) = self.address {
            self.begin_with(address);
        }
    }

    /// Whoever is at the address of the last connection is of no use: the next attempt begins with
    /// the next address.
    pub fn address_failed(&mut self) {
        if let Some((_, next)) = self.address.take() {
            self.failed += self.tried;
            if self.failed >= self.known {
                self.failed = 0;
            }
            self.begin_with(next);
        }
    }

    /// The attempt has come to nothing: at the address that was connected to, or at all of them.
    pub fn attempt_failed(&mut self) {
        match self.address {
            Some(_) => self.address_failed(),
            None => self.failed = 0,
        }
    }

    /// Whether the name has addresses that were not tried since one of them has failed.
    pub fn has_untried_addresses(&self) -> bool {
        self.failed > 0
    }

    fn begin_with(&self, address: SocketAddr) {
        let mut book = self.book.borrow_mut();
        book.begin_with(&self.host, self.port, address);
    }
}
