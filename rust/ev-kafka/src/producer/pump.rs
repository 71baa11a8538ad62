//! What is ready leaves, and answers let others follow: Perl code says once which connection leads to a broker, and is
//! called when one is missing, or when something has to be done that is not for the producer alone.

use std::rc::Rc;

use kafka_producer::NO_LEADER;
use perl_xs::{Arg, Flow, Perl};

use super::{request, Producer};

impl Producer {
    /// Sends whatever can leave, and has Perl code do what has to be done before more can.
    pub(super) fn send_ready(self: &Rc<Self>, perl: Perl) -> Flow {
        if !self.home.is_here() {
            return Flow::Continue;
        }
        if self.options.have_changed(perl) && self.news(perl, "options_changed") == Flow::Exit {
            return Flow::Exit;
        }
        let needs_identity = self.accumulator.borrow().needs_identity();
        if needs_identity && self.news(perl, "renew") == Flow::Exit {
            return Flow::Exit;
        }
        let nodes = self.accumulator.borrow().ready_nodes();
        let must_register = self.accumulator.borrow().must_register();
        if must_register && self.news(perl, "must_register") == Flow::Exit {
            return Flow::Exit;
        }
        let is_leaderless = nodes.contains(&NO_LEADER);
        let was_leaderless = self.is_leaderless.replace(is_leaderless);
        if is_leaderless || was_leaderless {
            let args = [Arg::Int(is_leaderless.into())];
            if self.tell_or_warn(perl, "leaderless", &args) == Flow::Exit {
                return Flow::Exit;
            }
        }
        for node in nodes.into_iter().filter(|node| *node != NO_LEADER) {
            if self.send_to(perl, node) == Flow::Exit {
                return Flow::Exit;
            }
        }
        Flow::Continue
    }

    /// The same for one broker.
    pub(super) fn send_to(self: &Rc<Self>, perl: Perl, node: i32) -> Flow {
        // An answer lets what is ready follow. Until then nobody need ask the system whether the connection is still there.
        if !self.brokers.has_room(node) {
            return Flow::Continue;
        }
        let Some(conn) = self.brokers.conn(node) else {
            return self.tell_or_warn(perl, "send_to", &[Arg::Int(node.into())]);
        };
        let was_sending = self.brokers.set_sending(node, true);
        if was_sending {
            return Flow::Continue;
        }
        let mut flow = Flow::Continue;
        while flow == Flow::Continue && self.brokers.begins(node) {
            match request::send(perl, self, &conn, node) {
                Ok(0) => {
                    self.brokers.ended(node);
                    break;
                }
                Ok(_) => {}
                Err(exit) => flow = exit,
            }
        }
        self.brokers.set_sending(node, false);
        flow
    }

    /// A request has ended and its batches are settled.
    pub(super) fn go_on(self: &Rc<Self>, perl: Perl) -> Flow {
        if self.send_ready(perl) == Flow::Exit {
            return Flow::Exit;
        }
        let is_watched = self.is_watched.get() || self.accumulator.borrow().in_transaction();
        match is_watched {
            true => self.news(perl, "progress"),
            false => Flow::Continue,
        }
    }

    fn news(&self, perl: Perl, method: &str) -> Flow {
        self.tell_or_warn(perl, method, &[])
    }
}
