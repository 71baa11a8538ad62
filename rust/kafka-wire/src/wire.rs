//! How a field of each declared type is laid out. [`kafka_message!`](crate::declare) maps the type names of
//! Kafka's JSON definitions to the types here.

use std::marker::PhantomData;

use bytes::Bytes;

#[cfg(feature = "arbitrary")]
use crate::arbitrary::Entropy;
use crate::malformed::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
use crate::pieces::Pieces;
use crate::plain::{Sink, Source};
use crate::primitives::{Reader, Writer};

/// Arrays reserve room for at most this many elements before the first of them was decoded: a count is only
/// a claim until its elements are there.
const MAX_RESERVED_ELEMENTS: usize = 1024;

/// What decides the layout of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub version: i16,
    /// KIP-482: compact lengths and tagged fields.
    pub flexible: bool,
    /// Null is allowed here.
    pub nullable: bool,
}

/// The error of a value that knows nothing of the field it stands in.
pub(crate) enum PutError {
    /// Something in this very field.
    Here(EncodeErrorKind),
    /// A field further in, which is already named.
    Inside(EncodeError),
}

impl<T: Into<EncodeErrorKind>> From<T> for PutError {
    fn from(kind: T) -> Self {
        PutError::Here(kind.into())
    }
}

/// A type that a field can be declared with.
pub(crate) trait Wire {
    type Value: PartialEq;
    fn put(w: &mut Writer, value: &Self::Value, f: Format) -> Result<(), PutError>;
    fn get(r: &mut Reader, f: Format) -> Result<Self::Value, DecodeError>;
    /// Makes a value of the language that the sink is for; `None` for null.
    fn show<S: Sink>(value: &Self::Value, sink: &S, f: Format) -> Option<S::Value>;
    /// Reads a value of the language that the source is of, which is not null.
    fn read<S: Source>(source: &S) -> Result<Self::Value, S::Error>;
    /// What the language's null is here; `None` where it counts as left out.
    fn null() -> Option<Self::Value> {
        None
    }
    #[cfg(feature = "arbitrary")]
    fn arbitrary(entropy: &mut Entropy<'_>, f: Format) -> Self::Value;
}

/// A type whose null has an encoding.
pub(crate) trait NullableWire: Wire {
    fn put_nullable(w: &mut Writer, value: Option<&Self::Value>, f: Format)
        -> Result<(), PutError>;
    fn get_nullable(r: &mut Reader, f: Format) -> Result<Option<Self::Value>, DecodeError>;
}

macro_rules! fixed_size {
    ($($ty:ty, $get:ident, $put:ident, $show:ident, $read:ident, $arbitrary:expr;)*) => {$(
        impl Wire for $ty {
            type Value = $ty;
            fn put(w: &mut Writer, value: &$ty, _: Format) -> Result<(), PutError> {
                w.$put(*value);
                Ok(())
            }
            fn get(r: &mut Reader, _: Format) -> Result<$ty, DecodeError> {
                r.$get()
            }
            fn show<S: Sink>(value: &$ty, sink: &S, _: Format) -> Option<S::Value> {
                Some(sink.$show((*value).into()))
            }
            fn read<S: Source>(source: &S) -> Result<$ty, S::Error> {
                source.$read()
            }
            #[cfg(feature = "arbitrary")]
            fn arbitrary(entropy: &mut Entropy<'_>, _: Format) -> $ty {
                $arbitrary(entropy)
            }
        }
    )*};
}

fixed_size! {
    bool, get_bool, put_bool, boolean, boolean, |e: &mut Entropy<'_>| e.below(2) == 1;
    i8, get_i8, put_i8, integer, integer, |e: &mut Entropy<'_>| e.integer() as i8;
    i16, get_i16, put_i16, integer, integer, |e: &mut Entropy<'_>| e.integer() as i16;
    i32, get_i32, put_i32, integer, integer, |e: &mut Entropy<'_>| e.integer() as i32;
    u16, get_u16, put_u16, integer, integer, |e: &mut Entropy<'_>| e.integer() as u16;
    i64, get_i64, put_i64, integer, integer, |e: &mut Entropy<'_>| e.integer();
    f64, get_f64, put_f64, float, float, |e: &mut Entropy<'_>| e.integer() as f64;
}

/// UUID
impl Wire for [u8; 16] {
    type Value = [u8; 16];
    fn put(w: &mut Writer, value: &[u8; 16], _: Format) -> Result<(), PutError> {
        w.put_slice(value);
        Ok(())
    }
    fn get(r: &mut Reader, _: Format) -> Result<[u8; 16], DecodeError> {
        r.get_uuid()
    }
    fn show<S: Sink>(value: &[u8; 16], sink: &S, _: Format) -> Option<S::Value> {
        Some(sink.uuid(value))
    }
    fn read<S: Source>(source: &S) -> Result<[u8; 16], S::Error> {
        source.uuid()
    }
    #[cfg(feature = "arbitrary")]
    fn arbitrary(entropy: &mut Entropy<'_>, _: Format) -> [u8; 16] {
        std::array::from_fn(|_| entropy.byte())
    }
}

/// STRING and COMPACT_STRING, taken as bytes.
pub(crate) struct Str;

impl Wire for Str {
    type Value = Bytes;
    fn put(w: &mut Writer, value: &Bytes, f: Format) -> Result<(), PutError> {
        Self::put_nullable(w, Some(value), f)
    }
    fn get(r: &mut Reader, f: Format) -> Result<Bytes, DecodeError> {
        not_null(Self::get_nullable(r, f)?)
    }
    fn show<S: Sink>(value: &Bytes, sink: &S, _: Format) -> Option<S::Value> {
        Some(sink.bytes(value))
    }
    fn read<S: Source>(source: &S) -> Result<Bytes, S::Error> {
        source.bytes()
    }
    #[cfg(feature = "arbitrary")]
    fn arbitrary(entropy: &mut Entropy<'_>, _: Format) -> Bytes {
        entropy.string()
    }
}

impl NullableWire for Str {
    fn put_nullable(w: &mut Writer, value: Option<&Bytes>, f: Format) -> Result<(), PutError> {
        w.put_string_len(value.map(Bytes::len), f.flexible)?;
        w.put_slice(value.map_or(&[], |v| v));
        Ok(())
    }
    fn get_nullable(r: &mut Reader, f: Format) -> Result<Option<Bytes>, DecodeError> {
        r.get_nullable_string(f.flexible)
    }
}

/// BYTES, RECORDS and their compact forms. Large ones are shared, not copied.
pub(crate) struct Blob;

impl Wire for Blob {
    type Value = Bytes;
    fn put(w: &mut Writer, value: &Bytes, f: Format) -> Result<(), PutError> {
        Self::put_nullable(w, Some(value), f)
    }
    fn get(r: &mut Reader, f: Format) -> Result<Bytes, DecodeError> {
        let value = Self::get_nullable(r, f)?;
        // Brokers that are not Kafka say by null that they have no assignment to give out, say.
        match r.is_lenient() {
            true => Ok(value.unwrap_or_default()),
            false => not_null(value),
        }
    }
    fn show<S: Sink>(value: &Bytes, sink: &S, _: Format) -> Option<S::Value> {
        Some(sink.bytes(value))
    }
    fn read<S: Source>(source: &S) -> Result<Bytes, S::Error> {
        source.bytes()
    }
    #[cfg(feature = "arbitrary")]
    fn arbitrary(entropy: &mut Entropy<'_>, _: Format) -> Bytes {
        entropy.blob()
    }
}

impl NullableWire for Blob {
    fn put_nullable(w: &mut Writer, value: Option<&Bytes>, f: Format) -> Result<(), PutError> {
        w.put_len(value.map(Bytes::len), f.flexible)?;
        if let Some(value) = value {
            w.put_shared(value.clone());
        }
        Ok(())
    }
    fn get_nullable(r: &mut Reader, f: Format) -> Result<Option<Bytes>, DecodeError> {
        r.get_nullable_bytes(f.flexible)
    }
}

/// RECORDS as they go out. What is read is one piece.
impl Wire for Pieces {
    type Value = Pieces;
    fn put(w: &mut Writer, value: &Pieces, f: Format) -> Result<(), PutError> {
        Self::put_nullable(w, Some(value), f)
    }
    fn get(r: &mut Reader, f: Format) -> Result<Pieces, DecodeError> {
        Blob::get(r, f).map(Pieces::from)
    }
    fn show<S: Sink>(value: &Pieces, sink: &S, _: Format) -> Option<S::Value> {
        let pieces: Vec<&[u8]> = value.iter().map(|piece| &**piece).collect();
        Some(sink.bytes(&pieces.concat()))
    }
    fn read<S: Source>(source: &S) -> Result<Pieces, S::Error> {
        source.bytes().map(Pieces::from)
    }
    #[cfg(feature = "arbitrary")]
    fn arbitrary(entropy: &mut Entropy<'_>, _: Format) -> Pieces {
        let mut pieces = Pieces::from(entropy.blob());
        (0..entropy.below(3)).for_each(|_| pieces.push(entropy.blob()));
        pieces
    }
}

impl NullableWire for Pieces {
    fn put_nullable(w: &mut Writer, value: Option<&Pieces>, f: Format) -> Result<(), PutError> {
        w.put_len(value.map(Pieces::len), f.flexible)?;
        for piece in value.into_iter().flat_map(Pieces::iter) {
            w.put_shared(piece.clone());
        }
        Ok(())
    }
    fn get_nullable(r: &mut Reader, f: Format) -> Result<Option<Pieces>, DecodeError> {
        Ok(Blob::get_nullable(r, f)?.map(Pieces::from))
    }
}

/// ARRAY and COMPACT_ARRAY.
pub(crate) struct Array<W>(PhantomData<W>);

impl<W: Wire> Wire for Array<W> {
    type Value = Vec<W::Value>;
    fn put(w: &mut Writer, value: &Self::Value, f: Format) -> Result<(), PutError> {
        Self::put_nullable(w, Some(value), f)
    }
    fn get(r: &mut Reader, f: Format) -> Result<Self::Value, DecodeError> {
        not_null(Self::get_nullable(r, f)?)
    }
    fn show<S: Sink>(value: &Self::Value, sink: &S, f: Format) -> Option<S::Value> {
        let elements = value.iter().filter_map(|v| W::show(v, sink, f));
        Some(sink.list(elements.collect()))
    }
    fn read<S: Source>(source: &S) -> Result<Self::Value, S::Error> {
        source.elements()?.iter().map(W::read).collect()
    }
    #[cfg(feature = "arbitrary")]
    fn arbitrary(entropy: &mut Entropy<'_>, f: Format) -> Self::Value {
        let element = Format {
            nullable: false,
            ..f
        };
        (0..entropy.below(4))
            .map(|_| W::arbitrary(entropy, element))
            .collect()
    }
}

impl<W: Wire> NullableWire for Array<W> {
    fn put_nullable(
        w: &mut Writer,
        value: Option<&Self::Value>,
        f: Format,
    ) -> Result<(), PutError> {
        w.put_len(value.map(Vec::len), f.flexible)?;
        let element = Format {
            nullable: false,
            ..f
        };
        value
            .into_iter()
            .flatten()
            .try_for_each(|v| W::put(w, v, element))
    }
    fn get_nullable(r: &mut Reader, f: Format) -> Result<Option<Self::Value>, DecodeError> {
        let count = r.get_len(f.flexible)?;
        count
            .map(|n| {
                get_elements::<W>(
                    r,
                    n,
                    Format {
                        nullable: false,
                        ..f
                    },
                )
            })
            .transpose()
    }
}

fn get_elements<W: Wire>(
    r: &mut Reader,
    count: usize,
    f: Format,
) -> Result<Vec<W::Value>, DecodeError> {
    // Every element takes a byte at least, so a larger count is a lie that need not be followed to its end.
    if count > r.remaining() && !r.is_lenient() {
        return Err(DecodeErrorKind::UnexpectedEnd.into());
    }
    let mut elements = Vec::with_capacity(count.min(r.remaining()).min(MAX_RESERVED_ELEMENTS));
    for _ in 0..count {
        match W::get(r, f) {
            Ok(element) => elements.push(element),
            Err(_) if r.is_lenient() => r.cut(),
            Err(error) => return Err(error),
        }
        if r.is_cut() {
            break;
        }
    }
    Ok(elements)
}

/// A field that may be null at some versions.
pub(crate) struct Nullable<W>(PhantomData<W>);

impl<W: NullableWire> Wire for Nullable<W> {
    type Value = Option<W::Value>;
    fn put(w: &mut Writer, value: &Self::Value, f: Format) -> Result<(), PutError> {
        if value.is_none() && !f.nullable {
            return Err(EncodeErrorKind::NullNotAllowed.into());
        }
        W::put_nullable(w, value.as_ref(), f)
    }
    fn get(r: &mut Reader, f: Format) -> Result<Self::Value, DecodeError> {
        let value = W::get_nullable(r, f)?;
        match f.nullable {
            true => Ok(value),
            false => not_null(value).map(Some),
        }
    }
    fn show<S: Sink>(value: &Self::Value, sink: &S, f: Format) -> Option<S::Value> {
        value.as_ref().and_then(|value| W::show(value, sink, f))
    }
    fn read<S: Source>(source: &S) -> Result<Self::Value, S::Error> {
        W::read(source).map(Some)
    }
    fn null() -> Option<Self::Value> {
        Some(None)
    }
    #[cfg(feature = "arbitrary")]
    fn arbitrary(entropy: &mut Entropy<'_>, f: Format) -> Self::Value {
        if f.nullable && entropy.below(2) == 1 {
            return None;
        }
        Some(W::arbitrary(entropy, f))
    }
}

fn not_null<T>(value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or_else(|| DecodeErrorKind::NullNotAllowed.into())
}

/// Collects the tagged fields of one struct (KIP-482), which stand at its end behind their count.
#[derive(Default)]
pub(crate) struct TaggedFields {
    count: u32,
    fields: Writer,
}

impl TaggedFields {
    pub fn put<W: Wire>(&mut self, tag: u32, value: &W::Value, f: Format) -> Result<(), PutError> {
        let mut field = Writer::new();
        W::put(&mut field, value, f)?;
        self.count += 1;
        self.fields.put_uvarint(tag);
        self.fields
            .put_uvarint(u32::try_from(field.len()).map_err(|_| EncodeErrorKind::TooLong)?);
        self.fields.append(field);
        Ok(())
    }

    pub fn finish(self, w: &mut Writer) {
        w.put_uvarint(self.count);
        w.append(self.fields);
    }
}
