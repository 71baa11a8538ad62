//! From answers to what callbacks see.
//!
//! Keys that the documentation names are always there, except those that it calls optional.
//! `truncated => 1` marks an answer that broke off; it holds what was whole before the break.

use std::rc::Rc;

use kafka_wire::Message;
use perl_xs::{attach, Croak, Hv, Native, Perl, Sv};

use crate::conn::{Answer, Built, Kept};

/// How an answer was read.
#[derive(Clone, Copy)]
pub struct Read {
    /// At which version.
    pub version: i16,
    /// Whether it broke off.
    pub truncated: bool,
}

/// An answer that callbacks get as a hash.
pub trait Shaped: Message {
    /// For how long the broker wants nothing sent to it (KIP-219), in milliseconds.
    fn throttle_time_ms(&self) -> i32;

    /// The hash, without what [`finish`] adds, or why there is none.
    fn hash(&self, perl: Perl, read: Read) -> Result<Hv, String>;
}

/// What is there of an answer.
pub fn decode<M: Message>(answer: &Answer) -> (M, Read) {
    let (response, truncated) = M::decode_partial(answer.body.clone(), answer.version);
    let version = answer.version;
    (response, Read { version, truncated })
}

/// The throttle time of an answer that nobody wants to see.
pub fn throttle_time_ms<M: Shaped>(answer: &Answer) -> i32 {
    decode::<M>(answer).0.throttle_time_ms()
}

/// Decodes an answer and makes its hash; what [`Completion`](crate::conn::Completion) carries.
pub fn build<M: Shaped>(perl: Perl, answer: &Answer, _: &Kept) -> Built {
    let (response, read) = decode::<M>(answer);
    shape(perl, &response, read)
}

/// What a callback gets for a decoded answer.
pub fn shape<M: Shaped>(perl: Perl, response: &M, read: Read) -> Built {
    let throttle_time_ms = response.throttle_time_ms();
    let result = response
        .hash(perl, read)
        .map(|hash| finish(perl, hash, throttle_time_ms, read.truncated));
    Built {
        result,
        throttle_time_ms,
    }
}

/// The finished hash as a reference.
pub fn finish(perl: Perl, mut hash: Hv, throttle_time_ms: i32, truncated: bool) -> Sv {
    hash.store_int(perl, "throttle_time_ms", throttle_time_ms.into());
    if truncated {
        hash.store_int(perl, "truncated", 1);
    }
    hash.into_ref(perl)
}

/// An object of the state's class.
///
/// # Errors
/// As perl's `bless`.
pub fn object<T: Native>(perl: Perl, state: T) -> Result<Sv, Croak> {
    let object = Hv::new(perl).into_ref(perl);
    attach(perl, &object, Rc::new(state))?;
    object.bless(perl, &Sv::bytes(perl, T::NAME.as_bytes()))?;
    Ok(object)
}
