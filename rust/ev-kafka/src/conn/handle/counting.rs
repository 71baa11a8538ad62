//! What is counted of a connection.

use kafka_conn::Stats;

use super::ConnHandle;

impl ConnHandle {
    /// Counts from now on, or on from where another connection stands, which counts no more.
    pub fn count(&self, before: Option<&ConnHandle>) {
        let mut connection = self.connection.borrow_mut();
        // It may be the same.
        let before = before.and_then(|before| before.connection.try_borrow_mut().ok());
        if let Some(mut before) = before {
            connection.go_on_counting(&mut before);
        }
        connection.count();
    }

    /// What was counted.
    pub fn stats(&self) -> Option<Stats> {
        self.connection.borrow().stats().cloned()
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.connection.borrow().queued_bytes()
    }
}
