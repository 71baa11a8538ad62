//! The arguments of the group and transaction methods, read by the names that the documentation
//! gives them. What cannot be meant croaks `METHOD: NAME …`.

use bytes::Bytes;
use perl_xs::{Croak, Frame, HashRef, Perl, Sv};

use super::args;

/// Kafka's word for an offset whose leader epoch is not known.
const NO_LEADER_EPOCH: i32 = -1;

/// The arguments of one call.
pub struct Arguments<'a, 'f> {
    frame: &'a Frame<'f>,
    method: &'static str,
}

/// An element of `[{ topic => $name, partitions => [...] }]`.
pub struct TopicArgument {
    pub topic: Bytes,
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
        Arguments { frame, method }
    }

    pub fn perl(&self) -> Perl {
        self.frame.perl()
    }

    /// The croak `METHOD: TEXT`.
    pub fn error(&self, text: impl std::fmt::Display) -> Croak {
        format!("{}: {text}", self.method).into()
    }

    /// A string; undef is the empty one.
    pub fn string(&self, index: usize, name: &str) -> Result<Bytes, Croak> {
        Ok(self.nullable_string(index, name)?.unwrap_or_default())
    }

    /// A string, or `None` for undef.
    pub fn nullable_string(&self, index: usize, name: &str) -> Result<Option<Bytes>, Croak> {
        self.text(self.frame.value(index)?.as_ref(), name)
    }

    /// An integer of any width; `default` when it is undef or was left out.
    pub fn int<T: TryFrom<i64>>(&self, index: usize, name: &str, default: T) -> Result<T, Croak> {
        let value = self.frame.value(index)?;
        Ok(self.integer(value.as_ref(), name)?.unwrap_or(default))
    }

    pub fn bool(&self, index: usize) -> Result<bool, Croak> {
        self.frame.bool(index)
    }

    /// The callback, which may be left out.
    pub fn callback(&self, index: usize) -> Result<Option<Sv>, Croak> {
        args::callback(self.frame, index, self.method)
    }

    /// The elements of an array.
    pub fn array(&self, index: usize) -> Result<Vec<Sv>, Croak> {
        args::array(self.frame, index, self.method)
    }

    /// The names in an array.
    pub fn names(&self, index: usize, name: &str) -> Result<Vec<Bytes>, Croak> {
        self.array(index)?
            .iter()
            .map(|value| Ok(self.text(Some(value), name)?.unwrap_or_default()))
            .collect()
    }

    /// `[{ topic => $name, partitions => [...] }]`
    pub fn topics(&self, index: usize) -> Result<Vec<TopicArgument>, Croak> {
        self.array(index)?
            .iter()
            .map(|element| self.topic(element))
            .collect()
    }

    fn topic(&self, element: &Sv) -> Result<TopicArgument, Croak> {
        let perl = self.perl();
        let element = self.hash(element)?;
        let topic = self
            .text(element.get(perl, "topic")?.as_ref(), "topic")?
            .ok_or_else(|| self.error("missing topic"))?;
        let partitions = args::elements(perl, element.get(perl, "partitions")?.as_ref(), || {
            format!("{}: missing partitions", self.method)
        })?;
        Ok(TopicArgument { topic, partitions })
    }

    /// An element that has to be a hash reference.
    pub fn hash(&self, element: &Sv) -> Result<HashRef, Croak> {
        HashRef::new(element).ok_or_else(|| self.error("bad element"))
    }

    /// The numbers of partitions; `{ partition => $number }` will do as well.
    pub fn partitions(&self, partitions: &[Sv]) -> Result<Vec<i32>, Croak> {
        partitions
            .iter()
            .map(|value| match HashRef::new(value) {
                Some(hash) => self.partition(&hash),
                None => self
                    .integer(Some(value), "partition")?
                    .ok_or_else(|| self.error("bad partition")),
            })
            .collect()
    }

    /// `[{ partition => $number, offset => $offset, leader_epoch => $epoch, metadata => $text }]`
    pub fn offsets(&self, partitions: &[Sv]) -> Result<Vec<OffsetArgument>, Croak> {
        let perl = self.perl();
        partitions
            .iter()
            .map(|value| {
                let hash = HashRef::new(value).ok_or_else(|| self.error("bad partition"))?;
                let offset = hash.get(perl, "offset")?;
                let leader_epoch = hash.get(perl, "leader_epoch")?;
                let metadata = hash.get(perl, "metadata")?;
                Ok(OffsetArgument {
                    partition: self.partition(&hash)?,
                    offset: self.integer(offset.as_ref(), "offset")?.unwrap_or(0),
                    leader_epoch: self
                        .integer(leader_epoch.as_ref(), "leader_epoch")?
                        .unwrap_or(NO_LEADER_EPOCH),
                    metadata: self
                        .text(metadata.as_ref(), "metadata")?
                        .unwrap_or_default(),
                })
            })
            .collect()
    }

    fn partition(&self, hash: &HashRef) -> Result<i32, Croak> {
        let number = hash.get(self.perl(), "partition")?;
        Ok(self.integer(number.as_ref(), "partition")?.unwrap_or(0))
    }

    /// The bytes of a value without magic; `None` for undef.
    pub fn text(&self, value: Option<&Sv>, name: &str) -> Result<Option<Bytes>, Croak> {
        let Some(value) = value else { return Ok(None) };
        if is_plain_reference(value) {
            return Err(self.error(format_args!("{name} must be a string")));
        }
        Ok(value.to_bytes(self.perl())?.map(Bytes::from))
    }

    fn integer<T: TryFrom<i64>>(&self, value: Option<&Sv>, name: &str) -> Result<Option<T>, Croak> {
        let Some(value) = value else { return Ok(None) };
        if is_plain_reference(value) {
            return Err(self.error(format_args!("{name} must be a number")));
        }
        let Some(number) = value.to_number(self.perl())? else {
            return Ok(None);
        };
        let fits = number.to_i64().and_then(|number| T::try_from(number).ok());
        match fits {
            Some(number) => Ok(Some(number)),
            None => Err(self.error(format_args!("{name} out of range"))),
        }
    }
}

/// As text or number it would be an address, which nobody means.
fn is_plain_reference(value: &Sv) -> bool {
    value.is_ref() && !value.is_overloaded()
}
