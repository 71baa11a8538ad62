//! What connections are encrypted with: certificates and keys from files, which are looked at
//! again for every new connection, or given as text.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use kafka_conn::{Pem, Secret, TlsOptions, TlsSettings};

use super::strerror::strerror;

/// No file of certificates is larger, in bytes: what is not a regular file may never end.
const MAX_FILE: usize = 16 << 20;
/// What is in every PEM text, and in no name of a file.
const PEM_MARK: &[u8] = b"-----BEGIN ";
/// A file that was written less than this ago may be written again without a change of its times,
/// which some file systems keep to two seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Where certificates or a key come from.
pub struct Place {
    /// What it is, for messages.
    what: &'static str,
    from: From,
}

enum From {
    Text(Pem),
    File { path: Vec<u8>, name: String },
}

impl Place {
    /// A PEM text, or else the name of a file; none for an empty string.
    pub fn new(what: &'static str, given: Vec<u8>) -> Option<Place> {
        if given.is_empty() {
            return None;
        }
        let is_text = given.windows(PEM_MARK.len()).any(|at| at == PEM_MARK);
        let from = match is_text {
            true => From::Text(Pem {
                name: format!("the text given as {what}"),
                contents: given.into(),
            }),
            false => From::File {
                name: String::from_utf8_lossy(&given).into_owned(),
                path: given,
            },
        };
        Some(Place { what, from })
    }

    /// What is there, and how to tell whether that has changed.
    fn read(&self) -> Result<(Pem, Stamp), String> {
        let (path, name) = match &self.from {
            From::Text(pem) => return Ok((pem.clone(), Stamp::Never)),
            From::File { path, name } => (path, name),
        };
        let read = File::open(OsStr::from_bytes(path)).and_then(|file| {
            let stamp = Stamp::of(&file.metadata()?);
            Ok((Secret::read(file, MAX_FILE)?, stamp))
        });
        let (contents, stamp) = read
            .map_err(|error| strerror(&error))
            .and_then(|read| match read.0.len() {
                0..=MAX_FILE => Ok(read),
                _ => Err(format!("larger than {MAX_FILE} bytes")),
            })
            .map_err(|reason| format!("cannot read {} {name}: {reason}", self.what))?;
        let name = name.clone();
        Ok((Pem { name, contents }, stamp))
    }

    /// Whether the file is another one than when it was read, or may be.
    fn has_changed(&self, since: &Stamp) -> bool {
        match (&self.from, since) {
            (From::Text(_), _) | (_, Stamp::Never) => false,
            (From::File { path, .. }, since) => {
                let now = fs::metadata(OsStr::from_bytes(path));
                *since == Stamp::Unsettled || now.map_or(true, |now| Stamp::of(&now) != *since)
            }
        }
    }
}

/// By what a file is known to be the one that was read.
#[derive(PartialEq, Eq)]
enum Stamp {
    /// It does not change, or can be read only once: a text, a pipe.
    Never,
    /// It was written just now.
    Unsettled,
    /// Device, number and size, and when it was written and changed, in seconds and nanoseconds.
    File([u64; 3], [i64; 4]),
}

impl Stamp {
    fn of(file: &Metadata) -> Stamp {
        if !file.is_file() {
            return Stamp::Never;
        }
        let age = file
            .modified()
            .ok()
            .and_then(|written| SystemTime::now().duration_since(written).ok());
        if age.is_none_or(|age| age < SETTLED_AFTER) {
            return Stamp::Unsettled;
        }
        Stamp::File(
            [file.dev(), file.ino(), file.size()],
            [
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            ],
        )
    }
}

/// What a program wants; see [`TlsOptions`].
pub struct TlsWanted {
    pub ca: Option<Place>,
    pub skip_verify: bool,
    pub certificate: Option<Place>,
    pub key: Option<Place>,
    pub key_password: Option<Secret>,
    pub server_name: Option<String>,
}

/// What a look at the files has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    None,
    /// They have changed and cannot be used, for this reason.
    Unusable(String),
    /// They can be used again.
    Usable,
}

/// TLS settings that follow their files. Connections that are made alike share one.
pub struct TlsSource {
    wanted: TlsWanted,
    settings: TlsSettings,
    /// Of the CA file, the certificate and the key.
    stamps: [Stamp; 3],
    /// Why the files are not those that are in use.
    problem: Option<String>,
}

impl TlsSource {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read or used; without the prefix `TLS: `.
    pub fn new(mut wanted: TlsWanted) -> Result<TlsSource, String> {
        let (settings, stamps, pems) = read(&wanted)?;
        // What can be read only once is kept.
        for ((place, stamp), pem) in wanted.places_mut().into_iter().zip(&stamps).zip(pems) {
            if let (Some(place), Some(pem), Stamp::Never) = (place, pem, stamp) {
                place.from = From::Text(pem);
            }
        }
        Ok(TlsSource {
            wanted,
            settings,
            stamps,
            problem: None,
        })
    }

    /// For a connection that is made now.
    pub fn settings(&self) -> TlsSettings {
        self.settings.clone()
    }

    /// Reads the files again if they have changed. Those that cannot be used change nothing, and
    /// are looked at again the next time.
    pub fn look_again(&mut self) -> News {
        if !self.has_changed() {
            // They may be back as they were.
            return self.is_usable();
        }
        match read(&self.wanted) {
            Ok((settings, stamps, _)) => {
                self.settings = settings;
                self.stamps = stamps;
                self.is_usable()
            }
            Err(reason) if self.problem.as_ref() == Some(&reason) => News::None,
            Err(reason) => {
                self.problem = Some(reason.clone());
                News::Unusable(reason)
            }
        }
    }

    fn has_changed(&self) -> bool {
        let mut places = self.wanted.places().into_iter().zip(&self.stamps);
        places.any(|(place, stamp)| place.is_some_and(|place| place.has_changed(stamp)))
    }

    fn is_usable(&mut self) -> News {
        self.problem.take().map_or(News::None, |_| News::Usable)
    }
}

impl TlsWanted {
    fn places(&self) -> [Option<&Place>; 3] {
        [&self.ca, &self.certificate, &self.key].map(Option::as_ref)
    }

    fn places_mut(&mut self) -> [Option<&mut Place>; 3] {
        [&mut self.ca, &mut self.certificate, &mut self.key].map(Option::as_mut)
    }
}

type Read = (TlsSettings, [Stamp; 3], [Option<Pem>; 3]);

fn read(wanted: &TlsWanted) -> Result<Read, String> {
    let read = |place: Option<&Place>| match place {
        Some(place) => place.read().map(|(pem, stamp)| (Some(pem), stamp)),
        None => Ok((None, Stamp::Never)),
    };
    let [ca, certificate, key] = wanted.places().map(read);
    let ((ca, ca_stamp), (certificate, certificate_stamp), (key, key_stamp)) =
        (ca?, certificate?, key?);
    let options = TlsOptions {
        ca,
        skip_verify: wanted.skip_verify,
        certificate,
        key,
        key_password: wanted.key_password.clone(),
        server_name: wanted.server_name.clone(),
    };
    let settings = TlsSettings::new(&options).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix("TLS: ").unwrap_or(&text).to_owned()
    })?;
    let stamps = [ca_stamp, certificate_stamp, key_stamp];
    Ok((
        settings,
        stamps,
        [options.ca, options.certificate, options.key],
    ))
}
