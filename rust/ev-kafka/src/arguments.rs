//! Reading what programs give to methods. Values are taken as Perl takes them: undef counts as 0,
//! '' or the default, objects are the text or number that their overloading makes of them. What
//! cannot be meant croaks `METHOD: NAME …`.

mod options;
mod values;

use bytes::Bytes;
use kafka_wire::{TopicId, NO_TOPIC_ID};
use perl_xs::{Croak, Frame, Perl, Sv};

pub use self::options::{options_and_callback, Options};
pub use self::values::{is_plain_reference, Values};
use crate::strings::Strings;

/// Kafka's word for the epoch of a leader that is not known (KIP-320).
pub const NO_LEADER_EPOCH: i32 = -1;

/// The arguments of one call, read by the names that the documentation gives them.
pub struct Arguments<'a, 'f> {
    frame: &'a Frame<'f>,
    values: Values,
}

/// An element of `[{ topic => $name, topic_id => $id, partitions => [...] }]`, the id if it is known.
pub struct TopicArgument {
    pub topic: Bytes,
    pub topic_id: TopicId,
    pub partitions: Vec<Sv>,
}

/// An element of `[{ partition => $number, offset => $offset }]`.
pub struct OffsetArgument {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Bytes,
}

impl<'a, 'f> Arguments<'a, 'f> {
    pub fn new(frame: &'a Frame<'f>, method: &'static str) -> Self {
        let perl = frame.perl();
        let values = Values { perl, method };
        Arguments { frame, values }
    }

    pub fn values(&self) -> Values {
        self.values
    }

    pub fn perl(&self) -> Perl {
        self.values.perl
    }

    /// The croak `METHOD: TEXT`.
    pub fn error(&self, text: impl std::fmt::Display) -> Croak {
        self.values.error(text)
    }

    /// A string; undef is the empty one.
    pub fn string(&self, index: usize, name: &str) -> Result<Bytes, Croak> {
        Ok(self.nullable_string(index, name)?.unwrap_or_default())
    }

    /// A string, or `None` for undef.
    pub fn nullable_string(&self, index: usize, name: &str) -> Result<Option<Bytes>, Croak> {
        self.values.string(self.frame.value(index)?.as_ref(), name)
    }

    /// Bytes of any length, or `None` for undef.
    pub fn bytes(&self, index: usize, name: &str) -> Result<Option<Vec<u8>>, Croak> {
        self.values.bytes(self.frame.value(index)?.as_ref(), name)
    }

    /// What is sent of a key or value, or `None` for undef.
    pub fn encoded(
        &self,
        index: usize,
        name: &str,
        strings: Strings,
    ) -> Result<Option<Vec<u8>>, Croak> {
        let value = self.frame.value(index)?;
        self.values.encoded(value.as_ref(), name, strings)
    }

    /// The bytes of a value that was read before, or `None` for undef.
    pub fn text(&self, value: Option<&Sv>, name: &str) -> Result<Option<Vec<u8>>, Croak> {
        self.values.bytes(value, name)
    }

    /// An integer of any width; `default` when it is undef or was left out.
    pub fn int<T: TryFrom<i64>>(&self, index: usize, name: &str, default: T) -> Result<T, Croak> {
        let value = self.frame.value(index)?;
        Ok(self
            .values
            .integer(value.as_ref(), name)?
            .unwrap_or(default))
    }

    /// A time in seconds; `default` when it is undef or was left out.
    pub fn seconds(&self, index: usize, name: &str, default: f64) -> Result<f64, Croak> {
        let value = self.frame.value(index)?;
        Ok(self
            .values
            .seconds(value.as_ref(), name)?
            .unwrap_or(default))
    }

    pub fn bool(&self, index: usize) -> Result<bool, Croak> {
        self.frame.bool(index)
    }

    /// The callback, which may be left out.
    pub fn callback(&self, index: usize) -> Result<Option<Sv>, Croak> {
        self.values.callback(self.frame.value(index)?.as_ref())
    }

    /// The elements of an array.
    pub fn array(&self, index: usize) -> Result<Vec<Sv>, Croak> {
        self.values.array(self.frame.value(index)?.as_ref())
    }

    /// The elements of an array, or `None` for undef.
    pub fn nullable_array(&self, index: usize) -> Result<Option<Vec<Sv>>, Croak> {
        let value = self.frame.value(index)?.filter(Sv::is_defined);
        value
            .map(|value| self.values.array(Some(&value)))
            .transpose()
    }

    /// The names in an array.
    pub fn names(&self, index: usize, name: &str) -> Result<Vec<Bytes>, Croak> {
        self.values.strings(&self.array(index)?, name)
    }

    /// The names in an array, or `None` for undef.
    pub fn nullable_names(&self, index: usize, name: &str) -> Result<Option<Vec<Bytes>>, Croak> {
        self.nullable_array(index)?
            .map(|elements| self.values.strings(&elements, name))
            .transpose()
    }

    /// The pairs of a hash.
    pub fn pairs(&self, index: usize) -> Result<Vec<(Vec<u8>, Sv)>, Croak> {
        let value = self.frame.value(index)?;
        let hash = self.values.hash(value.as_ref(), "expected hashref")?;
        hash.pairs(self.perl())
    }

    /// The elements of an array reference; the croak `METHOD: ERROR` when it is none.
    pub fn elements(&self, value: &Sv, error: &str) -> Result<Vec<Sv>, Croak> {
        self.values.elements(Some(value), error)
    }

    /// `[{ topic => $name, topic_id => $id, partitions => [...] }]`
    pub fn topics(&self, index: usize) -> Result<Vec<TopicArgument>, Croak> {
        self.array(index)?
            .iter()
            .map(|element| self.topic(element))
            .collect()
    }

    fn topic(&self, element: &Sv) -> Result<TopicArgument, Croak> {
        let element = self.hash(element, "bad element")?;
        let topic = element
            .string("topic")?
            .ok_or_else(|| self.error("missing topic"))?;
        let topic_id = element.string("topic_id")?.unwrap_or_default();
        let topic_id = TopicId::try_from(&topic_id[..]).unwrap_or(NO_TOPIC_ID);
        let partitions = element.value("partitions")?;
        let partitions = self
            .values
            .elements(partitions.as_ref(), "missing partitions")?;
        Ok(TopicArgument {
            topic,
            topic_id,
            partitions,
        })
    }

    /// An element that has to be a hash reference; the croak `METHOD: ERROR` when it is none.
    pub fn hash(&self, element: &Sv, error: &str) -> Result<Options, Croak> {
        let hash = self.values.hash(Some(element), error)?;
        Ok(Options::new(self.values, Some(hash)))
    }

    /// The numbers of partitions; `{ partition => $number }` will do as well.
    pub fn partitions(&self, partitions: &[Sv]) -> Result<Vec<i32>, Croak> {
        const BAD: &str = "bad partition";
        partitions
            .iter()
            .map(
                |value| match value.is_hash_ref() && !value.is_overloaded() {
                    true => self.hash(value, BAD)?.int("partition", 0),
                    false => self
                        .values
                        .integer(Some(value), "partition")?
                        .ok_or_else(|| self.error(BAD)),
                },
            )
            .collect()
    }

    /// `[{ partition => $number, offset => $offset, leader_epoch => $epoch, metadata => $text }]`
    pub fn offsets(&self, partitions: &[Sv]) -> Result<Vec<OffsetArgument>, Croak> {
        partitions
            .iter()
            .map(|value| {
                let entry = self.hash(value, "bad partition")?;
                Ok(OffsetArgument {
                    partition: entry.int("partition", 0)?,
                    offset: entry.int("offset", 0)?,
                    leader_epoch: entry.int("leader_epoch", NO_LEADER_EPOCH)?,
                    metadata: entry.string("metadata")?.unwrap_or_default(),
                })
            })
            .collect()
    }
}

/// The id of a topic; none where there are not 16 bytes.
pub fn topic_id(frame: &Frame<'_>, index: usize) -> Result<TopicId, Croak> {
    let bytes = frame.bytes(index)?.unwrap_or_default();
    Ok(TopicId::try_from(&bytes[..]).unwrap_or(NO_TOPIC_ID))
}

/// A string of bytes, whatever it was; undef is the empty one.
pub fn string(frame: &Frame<'_>, index: usize) -> Result<Bytes, Croak> {
    Ok(frame.bytes(index)?.unwrap_or_default().into())
}
