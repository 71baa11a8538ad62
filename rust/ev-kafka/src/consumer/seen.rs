//! What programs may write to, and what it was when it was looked at last: `{assignments}` and `{leaders}`.

use std::cell::RefCell;
use std::collections::HashMap;

use perl_xs::{ArrayRef, Croak, HashRef, Native, Perl, Sv};

/// No leader is known.
const NO_LEADER: i64 = -1;

/// One entry of the list.
struct Entry {
    /// "topic:partition".
    key: Sv,
    name: Vec<u8>,
    /// The hash itself, which may be put elsewhere or replaced.
    hash: Sv,
    offset: Option<i64>,
    leader: i64,
}

/// The state of an `EV::Kafka::Consumer::Seen`.
#[derive(Default)]
pub struct Seen {
    entries: RefCell<Vec<Entry>>,
    /// Where an entry stands, by its key.
    places: RefCell<HashMap<Vec<u8>, usize>>,
}

impl Native for Seen {
    const NAME: &'static str = "EV::Kafka::Consumer::Seen";
}

impl Seen {
    /// Another list: `keys` are those of its entries.
    pub fn take(&self, perl: Perl, list: &ArrayRef, keys: &ArrayRef) -> Result<(), Croak> {
        let mut entries = Vec::new();
        for (hash, key) in list.to_vec(perl)?.into_iter().zip(keys.to_vec(perl)?) {
            let name = key.to_bytes(perl)?.unwrap_or_default();
            entries.push(Entry {
                key,
                name,
                hash: hash.referent().ok_or("an entry is no hash")?,
                offset: None,
                leader: NO_LEADER,
            });
        }
        let names = entries.iter().map(|entry| entry.name.clone());
        self.places.replace(names.zip(0..).collect());
        self.entries.replace(entries);
        Ok(())
    }

    /// Entries whose offset the client has changed itself: they count as changed the next time.
    pub fn doubt(&self, perl: Perl, keys: &ArrayRef) -> Result<(), Croak> {
        let (places, mut entries) = (self.places.borrow(), self.entries.borrow_mut());
        for key in keys.to_vec(perl)? {
            let name = key.to_bytes(perl)?.unwrap_or_default();
            if let Some(entry) = places.get(&name).and_then(|&place| entries.get_mut(place)) {
                entry.offset = None;
            }
        }
        Ok(())
    }

    /// The keys of the entries that are not as they were; `None` if the list is another one.
    pub fn changes(
        &self,
        perl: Perl,
        list: &ArrayRef,
        leaders: Option<&HashRef>,
    ) -> Result<Option<Vec<Sv>>, Croak> {
        let now = list.to_vec(perl)?;
        let mut entries = self.entries.borrow_mut();
        if now.len() != entries.len() {
            return Ok(None);
        }
        let mut changed = Vec::new();
        for (reference, entry) in now.iter().zip(entries.iter_mut()) {
            match reference.referent() {
                Some(hash) if hash.as_ptr() == entry.hash.as_ptr() => {}
                _ => return Ok(None),
            }
            let Some(hash) = HashRef::new(reference) else {
                return Ok(None);
            };
            let offset = hash.get_i64(perl, "offset")?;
            let leader = match leaders {
                Some(leaders) => leaders.get_i64(perl, &entry.name)?,
                None => None,
            };
            let leader = leader.unwrap_or(NO_LEADER);
            if (offset, leader) != (entry.offset, entry.leader) {
                (entry.offset, entry.leader) = (offset, leader);
                changed.push(entry.key.clone());
            }
        }
        Ok(Some(changed))
    }
}
