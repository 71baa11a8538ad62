//! EV::Kafka's native half: sockets and EV watchers around `kafka-conn`, requests around the batches
//! of `kafka-producer`, the consumer's delivery, and the mock cluster, all as XSUBs.
//!
//! * [`ev`] makes EV's loops and watchers safe values; the only module with unsafe code.
//! * [`conn`] is EV::Kafka::Conn without its requests, which are in [`api`].
//! * [`producer`] and [`consumer`] do what must not cost Perl code per message.
//! * [`mock`] is EV::Kafka::Mock's cluster on the loop.
//! * [`groups`] reads and writes what members of a group tell each other.
//! * [`functions`] are plain functions.
//! * [`arguments`] reads what programs give to methods.
//! * [`strings`] knows what the strings of messages are.
//! * [`problem`] is what programs are told of errors.
//! * [`home`] knows which process a thing with sockets belongs to.
//! * [`wall`] is the time of day.
#![deny(unsafe_code)]
#![warn(missing_docs)]
// XSLoader looks for a library that is named like the last part of the module.
#![allow(non_snake_case)]

mod api;
mod arguments;
mod conn;
mod consumer;
mod ev;
mod functions;
mod groups;
mod home;
mod mock;
mod problem;
mod producer;
mod share;
mod strings;
mod wall;

use perl_xs::{Croak, Perl};

fn init(perl: Perl) -> Result<(), Croak> {
    ev::boot()?;
    conn::register(perl);
    api::register(perl);
    functions::register(perl);
    groups::register(perl);
    producer::register(perl);
    consumer::register(perl);
    share::register(perl);
    mock::register(perl);
    Ok(())
}

mod boot {
    //! The symbol that XSLoader looks for.
    #![allow(unsafe_code)]
    perl_xs::boot!(boot_EV__Kafka, super::init);
}
