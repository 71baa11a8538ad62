//! Options that batches go by and that the program may change.

use std::cell::RefCell;
use std::rc::Rc;

use perl_xs::{Croak, HashRef, Perl, Sv};

/// Options that the program may change at any time, where they lie, and what they were when they were applied.
#[derive(Default)]
pub(super) struct Options(RefCell<Option<(Rc<HashRef>, Vec<Applied>)>>);

/// An option's value, as far as it can be seen without running Perl code.
#[derive(PartialEq, Eq)]
enum Applied {
    Absent,
    Text(Option<Vec<u8>>),
    Reference(usize),
}

const PARTITIONER: &str = "partitioner";

/// Options that count from the next batch on.
const NAMES: [&str; 5] = [
    "acks",
    "batch_size",
    "compression",
    "linger_ms",
    PARTITIONER,
];

impl Options {
    /// They have been applied.
    pub fn are(&self, perl: Perl, hash: Option<HashRef>) -> Result<(), Croak> {
        let options = match hash {
            Some(hash) => {
                let applied = values(perl, &hash)?;
                Some((Rc::new(hash), applied))
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
        let (hash, _) = options.as_ref()?;
        // A tied option cannot be read from here: that is left to Perl code.
        let partitioner = hash.get(perl, PARTITIONER).ok()??;
        partitioner.is_ref().then(|| partitioner.code())?
    }

    /// Whether they are others by now.
    pub fn have_changed(&self, perl: Perl) -> bool {
        // A tied option runs Perl code: no borrow is open then.
        let Some(hash) = self.0.borrow().as_ref().map(|(hash, _)| Rc::clone(hash)) else {
            return false;
        };
        let now = values(perl, &hash).ok();
        let options = self.0.borrow();
        now.is_some_and(|now| options.as_ref().is_some_and(|(_, applied)| *applied != now))
    }
}

fn values(perl: Perl, hash: &HashRef) -> Result<Vec<Applied>, Croak> {
    let value = |name: &&str| match hash.get(perl, *name)? {
        None => Ok(Applied::Absent),
        Some(value) => match value.referent() {
            Some(code) => Ok(Applied::Reference(code.as_ptr() as usize)),
            None => Ok(Applied::Text(value.to_bytes(perl)?)),
        },
    };
    NAMES.iter().map(value).collect()
}
