//! The brokers that Produce requests go to: which connection leads to one, and what is under way to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::conn::ConnHandle;

/// Produce requests under way to one broker; batches that become ready meanwhile wait and leave together when one is
/// answered.
const MAX_IN_FLIGHT: u32 = 5;

/// So many of them at least, whatever is in them: while one is carried out the next is there already.
const MIN_IN_FLIGHT: u32 = 2;

/// More batches than these keep a broker busy for a millisecond or two, however small they are.
const MANY_BATCHES: usize = 64;

/// With fewer bytes than this a batch costs a broker as much for being one as for what is in it.
const SMALL_BATCH: usize = 32 << 10;

/// What is on its way to a broker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub batches: usize,
    pub bytes: usize,
}

impl Load {
    fn add(&mut self, other: Load) {
        self.batches += other.batches;
        self.bytes += other.bytes;
    }

    fn take_off(&mut self, other: Load) {
        self.batches = self.batches.saturating_sub(other.batches);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// A broker that has this to do is not there sooner for more of it: batches that wait get larger.
    fn is_many_small_batches(self) -> bool {
        self.batches > MANY_BATCHES && self.bytes < self.batches * SMALL_BATCH
    }
}

/// What is known of them, by node id.
#[derive(Default)]
pub(super) struct Brokers(RefCell<BTreeMap<i32, Broker>>);

#[derive(Default)]
struct Broker {
    conn: Weak<ConnHandle>,
    /// A connection that has been quiet for longer is not used.
    longest_quiet: Duration,
    /// Requests under way.
    in_flight: u32,
    /// What is in them.
    load: Load,
    /// Requests are being put on its connection: with acks 0 one ends before it is.
    is_sending: bool,
    /// It has got something that it does not answer.
    is_unconfirmed: bool,
}

impl Broker {
    fn has_room(&self) -> bool {
        self.in_flight < MIN_IN_FLIGHT
            || self.in_flight < MAX_IN_FLIGHT && !self.load.is_many_small_batches()
    }
}

impl Brokers {
    /// This connection leads to the broker.
    pub fn serve(&self, node: i32, conn: &Rc<ConnHandle>, longest_quiet: Duration) {
        let mut brokers = self.0.borrow_mut();
        let broker = brokers.entry(node).or_default();
        broker.conn = Rc::downgrade(conn);
        broker.longest_quiet = longest_quiet;
    }

    /// Brokers that have got something which they do not answer.
    pub fn unconfirmed(&self) -> Vec<i32> {
        let brokers = self.0.borrow();
        let unconfirmed = brokers.iter().filter(|(_, broker)| broker.is_unconfirmed);
        unconfirmed.map(|(&node, _)| node).collect()
    }

    /// A request leaves that the broker does not answer.
    pub fn leaves_unanswered(&self, node: i32, conn: &ConnHandle) {
        conn.leaves_unanswered();
        self.with(node, |broker| broker.is_unconfirmed = true);
    }

    /// A request to the broker has ended.
    pub fn ended(&self, node: i32) {
        self.with(node, |broker| {
            broker.in_flight = broker.in_flight.saturating_sub(1)
        });
    }

    /// A request has got its batches.
    pub fn loaded(&self, node: i32, load: Load) {
        self.with(node, |broker| broker.load.add(load));
    }

    /// They are not on their way any more.
    pub fn unloaded(&self, node: i32, load: Load) {
        self.with(node, |broker| broker.load.take_off(load));
    }

    /// Whether requests are being put on the broker's connection; they are, or are not any more, from now on.
    pub fn set_sending(&self, node: i32, is_so: bool) -> bool {
        self.with(node, |broker| {
            std::mem::replace(&mut broker.is_sending, is_so)
        })
    }

    /// Whether requests are being put on the broker's connection.
    pub fn is_sending(&self, node: i32) -> bool {
        self.with(node, |broker| broker.is_sending)
    }

    fn with<R>(&self, node: i32, change: impl FnOnce(&mut Broker) -> R) -> R {
        change(self.0.borrow_mut().entry(node).or_default())
    }

    /// A connection that requests may be put on.
    pub fn conn(&self, node: i32) -> Option<Rc<ConnHandle>> {
        let brokers = self.0.borrow();
        let broker = brokers.get(&node)?;
        let conn = broker.conn.upgrade()?;
        conn.is_trusted(broker.longest_quiet).then_some(conn)
    }

    /// Whether one more request may leave, which then counts.
    pub fn begins(&self, node: i32) -> bool {
        self.with(node, |broker| {
            let may = broker.has_room();
            broker.in_flight += u32::from(may);
            may
        })
    }

    /// Whether one more request may leave.
    pub fn has_room(&self, node: i32) -> bool {
        self.with(node, |broker| broker.has_room())
    }
}
