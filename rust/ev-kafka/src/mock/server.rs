//! The sockets of a mock cluster on an EV loop. Calls no Perl code, and its handlers hold it weakly:
//! when the Perl object goes, all of it goes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_mock::{Cluster, ClusterConfig, ClusterError, ConnId, Output, Reply};
use mio::net::TcpListener;
use perl_xs::{Flow, Native, Perl};

use super::link::Link;
use super::tls::{Encryption, Tls};
use crate::ev::{Handler, Io, Loop, Timer, READ};
use crate::home::Home;

/// Connections taken at a time before other watchers have their turn.
const MAX_ACCEPTS: usize = 64;

/// A cluster that listens.
pub(super) struct Server {
    this: Weak<Server>,
    on: Loop,
    started: Instant,
    cluster: RefCell<Cluster>,
    tls: Option<Tls>,
    /// By node id.
    ports: RefCell<Vec<Port>>,
    links: RefCell<BTreeMap<ConnId, Link>>,
    last_conn: Cell<ConnId>,
    closed: Cell<bool>,
    /// A forked child must not answer the parent's clients.
    home: Home,
    /// Fires when the cluster has something due.
    timer: Timer,
}

/// Where a broker listens, or did before it was stopped.
struct Port {
    address: SocketAddr,
    /// None while the broker is stopped.
    listener: Option<Listener>,
}

/// The watcher comes first: it must be gone before its descriptor.
struct Listener {
    _watcher: Io,
    socket: TcpListener,
}

impl Native for Server {
    const NAME: &'static str = "EV::Kafka::Mock";

    fn refusal(&self) -> Option<String> {
        self.is_foreign().then(|| {
            "EV::Kafka::Mock: the cluster belongs to the process that made it, not to a child of fork".into()
        })
    }
}

/// Starting and stopping.
impl Server {
    /// Starts all brokers, the first on this port and each on the one behind that, or, if it is 0, on ports of
    /// the kernel's choosing.
    ///
    /// # Errors
    /// When the system gives no socket, or a port is taken.
    pub fn start(
        config: ClusterConfig,
        first_port: u16,
        tls: Option<Tls>,
        on: Loop,
    ) -> io::Result<Rc<Server>> {
        let server = Rc::new_cyclic(|this: &Weak<Server>| Server {
            this: this.clone(),
            started: Instant::now(),
            cluster: RefCell::new(Cluster::new(config)),
            tls,
            ports: RefCell::default(),
            links: RefCell::default(),
            last_conn: Cell::new(0),
            closed: Cell::new(false),
            home: Home::new(),
            timer: Timer::new(&on, handler(this, |server| server.advance(Vec::new()))),
            on,
        });
        server.home.open();
        let brokers: Vec<i32> = server.cluster.borrow().broker_ids().collect();
        for (broker, wanted) in brokers.into_iter().zip(u32::from(first_port)..) {
            let port = match first_port {
                0 => 0,
                _ => u16::try_from(wanted).map_err(io::Error::other)?,
            };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listener = server.listen(broker, address)?;
            let address = listener.socket.local_addr()?;
            let host = address.ip().to_string();
            let told = server
                .cluster
                .borrow_mut()
                .set_address(broker, &host, address.port());
            told.map_err(io::Error::other)?;
            server.ports.borrow_mut().push(Port {
                address,
                listener: Some(listener),
            });
        }
        Ok(server)
    }

    fn listen(&self, broker: i32, address: SocketAddr) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        let watcher = Io::new(
            &self.on,
            handler(&self.this, move |server| server.accept(broker)),
        );
        watcher.start(socket.as_fd(), READ);
        Ok(Listener {
            _watcher: watcher,
            socket,
        })
    }

    /// Closes a broker's port and connections.
    pub fn stop_broker(&self, broker: i32) -> Result<(), ClusterError> {
        self.cluster.borrow_mut().stop_broker(broker)?;
        if let Some(port) = self.ports.borrow_mut().get_mut(broker as usize) {
            port.listener = None;
        }
        self.advance(Vec::new());
        Ok(())
    }

    /// Opens a stopped broker's port again; nothing to do for one that is up.
    pub fn start_broker(&self, broker: i32) -> Result<(), String> {
        if self.closed.get() {
            return Err("the cluster is closed".into());
        }
        if !self.look(|cluster| cluster.is_up(broker)) {
            self.change(|cluster| cluster.start_broker(broker))
                .map_err(|error| error.to_string())?;
            if let Err(error) = self.listen_again(broker) {
                self.stop_broker(broker)
                    .map_err(|error| error.to_string())?;
                return Err(format!("cannot listen again: {error}"));
            }
        }
        Ok(())
    }

    fn listen_again(&self, broker: i32) -> io::Result<()> {
        let mut ports = self.ports.borrow_mut();
        if let Some(port) = ports.get_mut(broker as usize) {
            port.listener = Some(self.listen(broker, port.address)?);
        }
        Ok(())
    }

    /// Whether this is a child of the process whose clients the cluster serves.
    pub fn is_foreign(&self) -> bool {
        self.home.is_foreign()
    }

    /// Closes our side of all sockets without a word to anybody.
    fn abandon(&self) {
        self.timer.stop();
        self.links.borrow_mut().clear();
        for port in self.ports.borrow_mut().iter_mut() {
            port.listener = None;
        }
    }

    /// Stops all brokers, for good. In a forked child it only closes our side of the sockets.
    pub fn close(&self) {
        if self.is_foreign() {
            return self.abandon();
        }
        self.closed.set(true);
        let brokers: Vec<i32> = self.cluster.borrow().broker_ids().collect();
        for broker in brokers {
            // They all exist.
            let _ = self.stop_broker(broker);
        }
    }
}

/// Looking at the cluster, and changing it.
impl Server {
    /// Where a broker listens.
    pub fn address(&self, broker: i32) -> Option<SocketAddr> {
        let index = usize::try_from(broker).ok()?;
        self.ports.borrow().get(index).map(|port| port.address)
    }

    /// How connections are encrypted, if they are.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Reads from the cluster.
    pub fn look<T>(&self, at: impl FnOnce(&Cluster) -> T) -> T {
        at(&self.cluster.borrow())
    }

    /// Changes the cluster, and hands out what that has brought about.
    pub fn change<T>(&self, how: impl FnOnce(&mut Cluster) -> T) -> T {
        let result = how(&mut self.cluster.borrow_mut());
        self.advance(Vec::new());
        result
    }
}

/// Moving bytes.
impl Server {
    /// The time at which a request arrives: rounded up, so that no wait ends early.
    fn arrival_ms(&self) -> u64 {
        self.now_ms().saturating_add(1)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn accept(&self, broker: i32) {
        for _ in 0..MAX_ACCEPTS {
            let accepted = match self.ports.borrow().get(broker as usize) {
                Some(Port {
                    listener: Some(listener),
                    ..
                }) => listener.socket.accept(),
                _ => return,
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nobody is left, or whoever was is gone, or descriptors have run out.
                Err(_) => return,
            };
            let conn = self.last_conn.get() + 1;
            self.last_conn.set(conn);
            let Ok(encryption) = self.tls.as_ref().map(Encryption::new).transpose() else {
                continue;
            };
            if self.cluster.borrow_mut().open(conn, broker).is_ok() {
                let ready = handler(&self.this, move |server| server.ready(conn));
                self.links
                    .borrow_mut()
                    .insert(conn, Link::new(socket, &self.on, ready, encryption));
            }
        }
    }

    /// A connection can be read, or written again.
    fn ready(&self, conn: ConnId) {
        let received = match self.links.borrow_mut().get_mut(&conn) {
            Some(link) => link.receive(),
            None => return,
        };
        let mut outputs = self.execute(conn, received.frames);
        if let Some(reason) = received.end {
            outputs.push((conn, Output::Close(reason)));
        }
        self.advance(outputs);
        self.flush(conn);
    }

    /// Gives requests to the cluster, until one of them closes the connection.
    fn execute(&self, conn: ConnId, frames: Vec<Bytes>) -> Vec<(ConnId, Output)> {
        let now_ms = self.arrival_ms();
        let mut cluster = self.cluster.borrow_mut();
        let mut outputs = Vec::new();
        for frame in frames {
            match cluster.handle(conn, frame, now_ms) {
                Reply::Answer(bytes) => outputs.push((conn, Output::Answer(bytes))),
                Reply::NoAnswer | Reply::Waiting => {}
                Reply::Close(reason) => {
                    outputs.push((conn, Output::Close(reason)));
                    break;
                }
            }
        }
        outputs
    }

    /// Delivers these outputs and whatever else is due, and sets the timer to what comes next.
    fn advance(&self, mut outputs: Vec<(ConnId, Output)>) {
        outputs.extend(self.cluster.borrow_mut().poll(self.now_ms()));
        let conns: BTreeSet<ConnId> = outputs.iter().map(|(conn, _)| *conn).collect();
        for (conn, output) in outputs {
            if let Some(link) = self.links.borrow_mut().get_mut(&conn) {
                match output {
                    Output::Answer(bytes) => link.queue(bytes),
                    Output::Close(_) => link.close_when_flushed(),
                }
            }
        }
        for conn in conns {
            self.flush(conn);
        }
        self.arm();
    }

    fn flush(&self, conn: ConnId) {
        let mut links = self.links.borrow_mut();
        let is_over = links.get_mut(&conn).is_some_and(|link| !link.flush());
        if is_over {
            links.remove(&conn);
            drop(links);
            self.cluster.borrow_mut().close(conn);
            // What it has held others may wait for.
            self.advance(Vec::new());
        }
    }

    fn arm(&self) {
        match self.cluster.borrow().next_timeout() {
            Some(due_ms) => {
                let due = self.started + Duration::from_millis(due_ms);
                self.timer
                    .start(due.saturating_duration_since(Instant::now()));
            }
            None => self.timer.stop(),
        }
    }
}

/// A handler that does nothing once the server is gone.
fn handler(server: &Weak<Server>, run: impl Fn(&Server) + 'static) -> Rc<dyn Handler> {
    let server = server.clone();
    Rc::new(move |_: Perl, _: i32| {
        match server.upgrade() {
            Some(server) if server.is_foreign() => server.abandon(),
            Some(server) => run(&server),
            None => {}
        }
        Flow::Continue
    })
}
