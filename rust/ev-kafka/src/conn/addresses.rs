//! Which of a name's addresses to try first.

use std::collections::HashMap;
use std::net::SocketAddr;

/// Names remembered at most. A program that connects to more of them begins anew.
const MAX_NAMES: usize = 1024;

/// For each name and port the address to begin with: the one that worked last, or the one after
/// the one that failed last. The connections of one client share theirs, so that what one of them
/// has learned is known to the next.
#[derive(Debug, Default)]
pub struct AddressBook {
    first: HashMap<(String, u16), SocketAddr>,
}

impl AddressBook {
    /// The addresses in the order in which they are to be tried. It goes round: after the last one
    /// comes the first.
    pub fn order(&self, host: &str, port: u16, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let first = self.first.get(&(host.to_owned(), port));
        let place = first.and_then(|first| addresses.iter().position(|address| address == first));
        addresses.rotate_left(place.unwrap_or(0));
        addresses
    }

    /// The address to begin with the next time.
    pub fn begin_with(&mut self, host: &str, port: u16, address: SocketAddr) {
        let key = (host.to_owned(), port);
        if self.first.len() >= MAX_NAMES && !self.first.contains_key(&key) {
            self.first.clear();
        }
        self.first.insert(key, address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Vec<SocketAddr> {
        (1..=3)
            .map(|n| SocketAddr::from(([192, 0, 2, n], 9092)))
            .collect()
    }

    #[test]
    fn the_order_of_a_name_begins_where_it_was_said_and_goes_round() {
        let (mut book, all) = (AddressBook::default(), addresses());
        assert_eq!(book.order("kafka", 9092, all.clone()), all);
        book.begin_with("kafka", 9092, all[1]);
        let expected = [all[1], all[2], all[0]];
        assert_eq!(book.order("kafka", 9092, all.clone()), expected);
        assert_eq!(book.order("kafka", 9093, all.clone()), all, "another port");
        assert_eq!(book.order("other", 9092, all.clone()), all, "another name");
    }

    #[test]
    fn an_address_that_a_name_has_no_longer_is_no_beginning() {
        let (mut book, all) = (AddressBook::default(), addresses());
        book.begin_with("kafka", 9092, SocketAddr::from(([192, 0, 2, 9], 9092)));
        assert_eq!(book.order("kafka", 9092, all.clone()), all);
    }

    #[test]
    fn the_book_does_not_grow_for_ever() {
        let (mut book, all) = (AddressBook::default(), addresses());
        for n in 0..3 * MAX_NAMES {
            book.begin_with(&format!("kafka{n}"), 9092, all[0]);
            assert!(book.first.len() <= MAX_NAMES);
        }
    }
}
