//! A driver in its simplest form, a blocking socket: connects to a broker, with TLS and SASL if
//! asked to, and sends Metadata requests for some seconds.
//!
//! ```text
//! cargo run -p kafka-conn --example driver -- localhost:9093 ca=ca.pem cert=me.pem key=me.key \
//!     sasl=SCRAM-SHA-512 user=alice password=secret seconds=10
//! ```
//! `skip_verify=1` accepts any certificate, `tls=1` trusts the system's authorities only, and
//! `token=…` given once or more is what OAUTHBEARER takes, one after the other.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use kafka_conn::{Config, Connection, Event, Pem, SaslSettings, TlsOptions, TlsSettings};
use kafka_wire::messages::MetadataRequest;
use kafka_wire::{ApiKey, Message, Writer};

/// How long a read waits before the clock is looked at.
const TICK: Duration = Duration::from_millis(5);
/// Requests in flight.
const DEPTH: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .ok_or("usage: driver HOST:PORT [NAME=VALUE]...")?;
    let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for argument in arguments {
        let (name, value) = argument.split_once('=').ok_or("not NAME=VALUE")?;
        options.entry(name.into()).or_default().push(value.into());
    }
    let mut connection = Connection::new(Config::default());
    connection.set_tls(tls(&options)?);
    connection.set_sasl(sasl(&options));
    let (host, port) = address.rsplit_once(':').ok_or("not HOST:PORT")?;
    let timeout = Some(Duration::from_secs(10));
    connection.connect(host, port.parse()?, timeout, Instant::now());
    let seconds = first(&options, "seconds").map_or(Ok(0), str::parse)?;
    let tokens = options.remove("token").unwrap_or_default();
    run(connection, Duration::from_secs(seconds), tokens)
}

fn first<'a>(options: &'a BTreeMap<String, Vec<String>>, name: &str) -> Option<&'a str> {
    options.get(name).map(|values| &values[0][..])
}

fn tls(
    options: &BTreeMap<String, Vec<String>>,
) -> Result<Option<TlsSettings>, Box<dyn std::error::Error>> {
    let pem = |name: &str| -> std::io::Result<Option<Pem>> {
        let read = |file: &str| {
            std::fs::read(file).map(|contents| Pem {
                name: file.into(),
                contents: contents.into(),
            })
        };
        first(options, name).map(read).transpose()
    };
    let wanted = ["ca", "cert", "tls", "skip_verify"];
    if !wanted.iter().any(|name| options.contains_key(*name)) {
        return Ok(None);
    }
    let settings = TlsSettings::new(&TlsOptions {
        ca: pem("ca")?,
        skip_verify: options.contains_key("skip_verify"),
        certificate: pem("cert")?,
        key: pem("key")?,
        ..TlsOptions::default()
    })?;
    Ok(Some(settings))
}

fn sasl(options: &BTreeMap<String, Vec<String>>) -> Option<SaslSettings> {
    if options.contains_key("token") {
        return Some(SaslSettings::oauthbearer_on_demand());
    }
    let [user, password] = ["user", "password"].map(|name| first(options, name).unwrap_or(""));
    first(options, "sasl").map(|mechanism| SaslSettings::new(mechanism, user, password))
}

fn run(
    mut connection: Connection,
    time: Duration,
    tokens: Vec<String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut tokens = tokens.into_iter();
    let mut socket: Option<TcpStream> = None;
    let (mut ready_at, mut sent, mut answered) = (None, 0, 0);
    loop {
        while let Some(event) = connection.poll_event() {
            let now = Instant::now();
            match event {
                Event::Dial { host, port } => match TcpStream::connect((&host[..], port)) {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        stream.set_read_timeout(Some(TICK))?;
                        socket = Some(stream);
                        connection.handle_dialed(now);
                    }
                    Err(error) => connection.handle_dial_failed(format!("connect: {error}"), now),
                },
                Event::Close => {
                    if let Some(socket) = socket.take() {
                        let _ = socket.shutdown(Shutdown::Both);
                    }
                }
                Event::Ready => ready_at = Some(now),
                Event::TokenNeeded { id } => {
                    let token = tokens.next().ok_or("no token left".to_string());
                    connection.provide_token(id, token.map(|token| token[..].into()), now);
                }
                // A program with more than one connection does that on another thread.
                Event::SaltingNeeded { id, salting } => {
                    connection.provide_salted(id, &salting.run(), now);
                }
                Event::Answer { .. } => answered += 1,
                Event::Written { .. } | Event::Throttled { .. } => {}
                Event::Failed { reason, .. } => println!("failed: {reason}"),
                Event::Error(text) => println!("error: {text}"),
                Event::Notice(text) => println!("notice: {text}"),
                Event::Disconnected => {
                    println!("disconnected; {sent} sent, {answered} answered");
                    return Ok(());
                }
            }
        }
        let now = Instant::now();
        if let Some(since) = ready_at {
            if now - since < time {
                while connection.pending() < DEPTH {
                    let version = connection.version(ApiKey::Metadata)?;
                    let mut body = Writer::new();
                    MetadataRequest::default().encode(&mut body, version)?;
                    connection.send(ApiKey::Metadata, version, body, None, now)?;
                    sent += 1;
                }
            } else if connection.pending() == 0 {
                println!("ready; {sent} sent, {answered} answered");
                return Ok(());
            }
        }
        let Some(stream) = &mut socket else { continue };
        while let Some(transmit) = connection.poll_transmit() {
            let segment = transmit.segments().next().unwrap_or_default();
            let written = stream.write(segment)?;
            connection.transmitted(written, Instant::now());
        }
        match stream.read(connection.read_buffer()) {
            Ok(0) => connection.handle_eof(Instant::now()),
            Ok(n) => connection.handle_read(n, Instant::now()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                connection.handle_eof(Instant::now());
            }
            Err(error) => connection.handle_io_error(format!("read: {error}"), Instant::now()),
        }
        connection.handle_timeout(Instant::now());
    }
}
