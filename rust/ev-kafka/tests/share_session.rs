//! What a member of a share group holds, and what it tells its broker: the tests that lie beside the code.

#[allow(dead_code)]
#[path = "../src/share/ledger.rs"]
mod ledger;
#[allow(dead_code)]
#[path = "../src/share/session.rs"]
mod session;
