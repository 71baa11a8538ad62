//! Options that batches go by and that the program may change.

use std::cell::RefCell;
use std::rc::Rc;

use perl_xs::{Croak, HashRef, Perl, Sv};

/// Options that the program may change at any time, where they lie, and what they were when they were applied.
#[derive(Default)]
pub(super) struct Options(RefCell<Option<Rc<Known>>>);

struct Known {
    hash: HashRef,
    applied: Vec<Applied>,
}

/// An option's value, as far as it can be seen without running Perl code.
#[derive(PartialEq, Eq)]
enum Applied {
    Absent,
    Int(i64),
    Text(Option<Vec<u8>>),
    Reference(usize),
}

const PARTITIONER: &str = "partitioner";

/// Options that count from the next batch on.
const NAMES: [&str; 6] = [
    "acks",
    "batch_size",
    "compression",
    "compression_level",
    "linger_ms",
    PARTITIONER,
];

impl Options {
    /// They have been applied.
    pub fn are(&self, perl: Perl, hash: Option<HashRef>) -> Result<(), Croak> {
        let options = match hash {
            Some(hash) => {
                let value = |name: &&str| value(perl, &hash, name);
                let applied = NAMES.iter().map(value).collect::<Result<_, _>>()?;
                Some(Rc::new(Known { hash, applied }))
            }
            None => None,
        };
        let before = self.0.replace(options);
        drop(before);
        Ok(())
    }

    /// The program's partitioner, if it is code that can be called as it is.
    pub fn partitioner(&self, perl: Perl) -> Option<Sv> {
        let options = self.0.borrow();
        let hash = &options.as_ref()?.hash;
        // A tied option cannot be read from here: that is left to Perl code.
        let partitioner = hash.get(perl, PARTITIONER).ok()??;
        partitioner.is_ref().then(|| partitioner.code())?
    }

    /// Whether they are others by now.
    pub fn have_changed(&self, perl: Perl) -> bool {
        // A tied option runs Perl code: no borrow is open then.
        let Some(known) = self.0.borrow().clone() else {
            return false;
        };
        let mut options = NAMES.iter().zip(&known.applied);
        options
            .any(|(name, applied)| value(perl, &known.hash, name).is_ok_and(|now| now != *applied))
    }
}

fn value(perl: Perl, hash: &HashRef, name: &str) -> Result<Applied, Croak> {
    let Some(value) = hash.get(perl, name)? else {
        return Ok(Applied::Absent);
    };
    if let Some(number) = value.plain_int() {
        return Ok(Applied::Int(number));
    }
    match value.referent() {
        Some(code) => Ok(Applied::Reference(code.as_ptr() as usize)),
        None => Ok(Applied::Text(value.to_bytes(perl)?)),
    }
}
