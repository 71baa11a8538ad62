//! The tests of what needs no perl: the library itself can only be loaded by one.

#[allow(dead_code)]
#[path = "../src/conn/addresses.rs"]
mod addresses;
#[allow(dead_code)]
#[path = "../src/strings.rs"]
mod strings;
#[allow(dead_code)]
#[path = "../src/conn/throttle.rs"]
mod throttle;
