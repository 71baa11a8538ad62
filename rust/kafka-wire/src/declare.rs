//! The declaration of messages: [`kafka_message!`] turns a list of fields, written much as in Kafka's own JSON
//! definitions, into a struct with its default, its encoder and its decoder.

#[cfg(feature = "arbitrary")]
use crate::arbitrary::Entropy;
use crate::malformed::{DecodeError, EncodeError, EncodeErrorKind};
use crate::plain::{Sink, Source};
use crate::primitives::{Reader, Writer};
use crate::wire::{Format, NullableWire, PutError, TaggedFields, Wire};

/// A range of versions in the notation of Kafka's definitions: `"3+"`, `"0-4"`, `"2"`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions {
    first: i16,
    last: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { first: 0, last: -1 };

    /// Reads the notation at compile time.
    pub const fn parse(text: &str) -> Versions {
        let text = text.as_bytes();
        let (first, i) = parse_number(text, 0);
        if i == text.len() {
            return Versions { first, last: first };
        }
        if text[i] == b'+' && i + 1 == text.len() {
            return Versions {
                first,
                last: i16::MAX,
            };
        }
        assert!(
            text[i] == b'-',
            "versions are written \"N\", \"N+\" or \"N-M\""
        );
        let (last, end) = parse_number(text, i + 1);
        assert!(
            end == text.len(),
            "versions are written \"N\", \"N+\" or \"N-M\""
        );
        Versions { first, last }
    }

    pub const fn contains(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

const fn parse_number(text: &[u8], mut i: usize) -> (i16, usize) {
    let start = i;
    let mut number = 0;
    while i < text.len() && text[i].is_ascii_digit() {
        number = number * 10 + (text[i] - b'0') as i16;
        i += 1;
    }
    assert!(i > start, "a version number is missing");
    (number, i)
}

/// What is declared about a field besides its type and default.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub message: &'static str,
    pub name: &'static str,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    /// It may be left out silently where the version lacks it.
    pub ignorable: bool,
}

impl Field {
    fn format(&self, f: Format) -> Format {
        Format {
            nullable: self.nullable.contains(f.version),
            ..f
        }
    }

    fn error(&self, error: PutError, version: i16) -> EncodeError {
        match error {
            PutError::Here(kind) => EncodeError {
                message: self.message,
                field: self.name,
                version,
                kind,
            },
            PutError::Inside(error) => error,
        }
    }

    /// Encodes an untagged field; one that the version lacks must be ignorable or have its default.
    pub fn put<W: Wire>(
        &self,
        w: &mut Writer,
        value: &W::Value,
        default: &W::Value,
        f: Format,
    ) -> Result<(), EncodeError> {
        if self.versions.contains(f.version) {
            if self.tag.is_some() {
                return Ok(());
            }
            return W::put(w, value, self.format(f)).map_err(|e| self.error(e, f.version));
        }
        if self.ignorable || value == default {
            return Ok(());
        }
        Err(self.error(EncodeErrorKind::FieldNotInVersion.into(), f.version))
    }

    /// Encodes a tagged field, which is left out when it has its default.
    pub fn put_tagged<W: Wire>(
        &self,
        tagged: &mut TaggedFields,
        value: &W::Value,
        default: &W::Value,
        f: Format,
    ) -> Result<(), EncodeError> {
        match self.tag {
            Some(tag) if self.versions.contains(f.version) && value != default => tagged
                .put::<W>(tag, value, self.format(f))
                .map_err(|e| self.error(e, f.version)),
            _ => Ok(()),
        }
    }

    /// Decodes an untagged field if the version has it.
    pub fn get<W: Wire>(
        &self,
        r: &mut Reader,
        value: &mut W::Value,
        f: Format,
    ) -> Result<(), DecodeError> {
        if self.tag.is_none() && self.versions.contains(f.version) {
            *value = W::get(r, self.format(f)).map_err(|e| e.at(self.message, self.name))?;
        }
        Ok(())
    }

    /// Shows a field that the version has, unless it is null.
    pub fn show<W: Wire, S: Sink>(
        &self,
        sink: &S,
        shown: &mut S::Fields,
        value: &W::Value,
        f: Format,
    ) {
        if self.versions.contains(f.version) {
            if let Some(value) = W::show(value, sink, f) {
                sink.store(shown, self.name, value);
            }
        }
    }

    /// Reads a field that was given.
    pub fn read<W: Wire, S: Source>(
        &self,
        source: &S,
        value: &mut W::Value,
    ) -> Result<(), S::Error> {
        match source.field(self.name)? {
            Some(given) if given.is_null() => {
                if let Some(null) = W::null() {
                    *value = null;
                }
            }
            Some(given) => *value = W::read(&given)?,
            None => {}
        }
        Ok(())
    }

    /// Makes up a field that the version has.
    #[cfg(feature = "arbitrary")]
    pub fn arbitrary<W: Wire>(&self, entropy: &mut Entropy<'_>, value: &mut W::Value, f: Format) {
        if self.versions.contains(f.version) {
            *value = W::arbitrary(entropy, self.format(f));
        }
    }

    /// Decodes a tagged field if `tag` is its tag.
    pub fn get_tagged<W: Wire>(
        &self,
        tag: u32,
        bytes: &bytes::Bytes,
        value: &mut W::Value,
        f: Format,
    ) -> Result<(), DecodeError> {
        if self.tag == Some(tag) && self.versions.contains(f.version) {
            let mut r = Reader::new(bytes.clone());
            *value = W::get(&mut r, self.format(f)).map_err(|e| e.at(self.message, self.name))?;
        }
        Ok(())
    }
}

/// Declares the messages of one API.
///
/// ```text
/// kafka_message! {
///     /// Documentation
///     request FooRequest for Foo -> FooResponse { fields }
///     response FooResponse for Foo { fields }
///     /// A part of a message. `partial partitions`: of an element that breaks off, decode_partial keeps
///     /// the partitions that were complete.
///     part FooResponseTopic, partial partitions { fields }
///     /// Bytes inside a message that have versions of their own.
///     data FooData { fields }
/// }
/// ```
/// A field is `name: type, "versions"` with, in this order, `nullable "versions"`, `default value`, `tag number`
/// and `ignorable true`, ended by a semicolon; the words mean what they mean in Kafka's definitions. Types are
/// bool, int8 to int64, uint16, float64, uuid, string, bytes, records (pieces where they go out as such), the name of a part, or one
/// of these in brackets: an array. A nullable field is an `Option`; unless `default None` is given, its default is empty, not null.
macro_rules! kafka_message {
    ($(
        $(#[$meta:meta])*
        $kind:ident $name:ident $(for $api:ident)? $(-> $response:ident)? $(, partial $part:ident)? {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $ty:tt, $versions:literal
                    $(, nullable $nullable:literal)?
                    $(, default $default:expr)?
                    $(, tag $tag:literal)?
                    $(, ignorable $ignorable:literal)?;
            )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                pub $field: kafka_message!(@type $ty $(, $nullable)?),
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($field: kafka_message!(@default ($($default)?) ($($nullable)?)),)*
                }
            }
        }

        impl $crate::declare::Declared for $name {
            fn put_fields(
                &self,
                w: &mut $crate::primitives::Writer,
                f: $crate::wire::Format,
            ) -> Result<(), $crate::message::EncodeError> {
                let default = Self::default();
                $(
                    kafka_message!(@spec $name $field $versions ($($nullable)?) ($($tag)?) ($($ignorable)?))
                        .put::<kafka_message!(@wire $ty $(, $nullable)?)>(w, &self.$field, &default.$field, f)?;
                )*
                if f.flexible {
                    let mut tagged = $crate::wire::TaggedFields::default();
                    $(
                        kafka_message!(@spec $name $field $versions ($($nullable)?) ($($tag)?) ($($ignorable)?))
                            .put_tagged::<kafka_message!(@wire $ty $(, $nullable)?)>(
                                &mut tagged, &self.$field, &default.$field, f)?;
                    )*
                    tagged.finish(w);
                }
                Ok(())
            }

            fn get_fields(
                &mut self,
                r: &mut $crate::primitives::Reader,
                f: $crate::wire::Format,
            ) -> Result<(), $crate::message::DecodeError> {
                $(
                    kafka_message!(@spec $name $field $versions ($($nullable)?) ($($tag)?) ($($ignorable)?))
                        .get::<kafka_message!(@wire $ty $(, $nullable)?)>(r, &mut self.$field, f)?;
                )*
                if f.flexible {
                    for _ in 0..r.get_uvarint()? {
                        let (tag, bytes) = r.get_tagged_field()?;
                        $(
                            kafka_message!(@spec $name $field $versions ($($nullable)?) ($($tag)?) ($($ignorable)?))
                                .get_tagged::<kafka_message!(@wire $ty $(, $nullable)?)>(
                                    tag, &bytes, &mut self.$field, f)?;
                        )*
                    }
                }
                Ok(())
            }

            fn show_fields<S: $crate::plain::Sink>(
                &self,
                sink: &S,
                shown: &mut S::Fields,
                f: $crate::wire::Format,
            ) {
                $(
                    kafka_message!(@spec $name $field $versions ($($nullable)?) ($($tag)?) ($($ignorable)?))
                        .show::<kafka_message!(@wire $ty $(, $nullable)?), S>(sink, shown, &self.$field, f);
                )*
            }

            fn read_fields<S: $crate::plain::Source>(&mut self, source: &S) -> Result<(), S::Error> {
                source.check_names(&[$(stringify!($field)),*])?;
                $(
                    kafka_message!(@spec $name $field $versions ($($nullable)?) ($($tag)?) ($($ignorable)?))
                        .read::<kafka_message!(@wire $ty $(, $nullable)?), S>(source, &mut self.$field)?;
                )*
                Ok(())
            }

            #[cfg(feature = "arbitrary")]
            fn arbitrary_fields(
                &mut self,
                entropy: &mut $crate::arbitrary::Entropy<'_>,
                f: $crate::wire::Format,
            ) {
                $(
                    kafka_message!(@spec $name $field $versions ($($nullable)?) ($($tag)?) ($($ignorable)?))
                        .arbitrary::<kafka_message!(@wire $ty $(, $nullable)?)>(entropy, &mut self.$field, f);
                )*
            }

            fn is_worth_keeping(&self) -> bool {
                false $(|| !self.$part.is_empty())?
            }
        }

        kafka_message!(@$kind $name $($api)? $($response)?);
    )*};

    (@spec $message:ident $field:ident $versions:literal ($($nullable:literal)?) ($($tag:literal)?) ($($ignorable:literal)?)) => {{
        const FIELD: $crate::declare::Field = $crate::declare::Field {
            message: stringify!($message),
            name: stringify!($field),
            versions: $crate::declare::Versions::parse($versions),
            nullable: kafka_message!(@versions $($nullable)?),
            tag: kafka_message!(@option $($tag)?),
            ignorable: false $(|| $ignorable)?,
        };
        FIELD
    }};
    (@versions) => { $crate::declare::Versions::NONE };
    (@versions $versions:literal) => { $crate::declare::Versions::parse($versions) };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };

    (@default ($default:expr) $nullable:tt) => { $default };
    (@default () ()) => { Default::default() };
    (@default () ($nullable:literal)) => { Some(Default::default()) };

    (@type $ty:tt, $nullable:literal) => { Option<kafka_message!(@type $ty)> };
    (@type bool) => { bool };
    (@type int8) => { i8 };
    (@type int16) => { i16 };
    (@type int32) => { i32 };
    (@type int64) => { i64 };
    (@type uint16) => { u16 };
    (@type float64) => { f64 };
    (@type uuid) => { [u8; 16] };
    (@type string) => { bytes::Bytes };
    (@type bytes) => { bytes::Bytes };
    (@type records) => { bytes::Bytes };
    (@type pieces) => { $crate::pieces::Pieces };
    (@type [$ty:tt]) => { Vec<kafka_message!(@type $ty)> };
    (@type $ty:ident) => { $ty };

    (@wire $ty:tt, $nullable:literal) => { $crate::wire::Nullable<kafka_message!(@wire $ty)> };
    (@wire string) => { $crate::wire::Str };
    (@wire bytes) => { $crate::wire::Blob };
    (@wire records) => { $crate::wire::Blob };
    (@wire pieces) => { $crate::pieces::Pieces };
    (@wire [$ty:tt]) => { $crate::wire::Array<kafka_message!(@wire $ty)> };
    (@wire $ty:ident) => { kafka_message!(@type $ty) };

    (@part $name:ident) => {};
    (@request $name:ident $api:ident $response:ident) => {
        kafka_message!(@response $name $api);
        impl $crate::message::Request for $name {
            const API: $crate::api::ApiKey = $crate::api::ApiKey::$api;
            type Response = $response;
        }
    };
    (@response $name:ident $api:ident) => {
        kafka_message!(@message $name, version => $crate::declare::format($crate::api::ApiKey::$api, version));
    };
    (@data $name:ident) => {
        kafka_message!(@message $name, version => $crate::declare::inflexible(version));
    };
    (@message $name:ident, $version:ident => $format:expr) => {
        impl $crate::message::Message for $name {
            fn encode(
                &self,
                writer: &mut $crate::primitives::Writer,
                $version: i16,
            ) -> Result<(), $crate::message::EncodeError> {
                $crate::declare::encode(self, writer, $format)
            }
            fn decode(
                reader: &mut $crate::primitives::Reader,
                $version: i16,
            ) -> Result<Self, $crate::message::DecodeError> {
                $crate::declare::decode(reader, $format)
            }
            fn decode_partial(body: bytes::Bytes, $version: i16) -> (Self, bool) {
                $crate::declare::decode_partial(body, $format)
            }
            fn show<S: $crate::plain::Sink>(&self, sink: &S, $version: i16) -> S::Value {
                $crate::declare::show(self, sink, $format)
            }
            fn read<S: $crate::plain::Source>(source: &S) -> Result<Self, S::Error> {
                $crate::declare::read(source)
            }
        }

        #[cfg(feature = "arbitrary")]
        impl $crate::arbitrary::Arbitrary for $name {
            fn arbitrary(entropy: &mut $crate::arbitrary::Entropy<'_>, $version: i16) -> Self {
                $crate::declare::arbitrary(entropy, $format)
            }
        }
    };
}

/// A struct made by [`kafka_message!`]: a whole message or a part of one.
pub(crate) trait Declared: Default + PartialEq {
    fn put_fields(&self, w: &mut Writer, f: Format) -> Result<(), EncodeError>;
    fn get_fields(&mut self, r: &mut Reader, f: Format) -> Result<(), DecodeError>;
    fn show_fields<S: Sink>(&self, sink: &S, shown: &mut S::Fields, f: Format);
    fn read_fields<S: Source>(&mut self, source: &S) -> Result<(), S::Error>;
    #[cfg(feature = "arbitrary")]
    fn arbitrary_fields(&mut self, entropy: &mut Entropy<'_>, f: Format);
    /// Of an element that breaks off: does it hold something complete that the caller wants?
    fn is_worth_keeping(&self) -> bool;
}

impl<T: Declared> Wire for T {
    type Value = T;

    fn put(w: &mut Writer, value: &T, f: Format) -> Result<(), PutError> {
        value.put_fields(w, f).map_err(PutError::Inside)
    }

    fn get(r: &mut Reader, f: Format) -> Result<T, DecodeError> {
        let mut value = T::default();
        let result = value.get_fields(r, f);
        if r.is_cut() || (result.is_err() && r.is_lenient()) {
            r.cut();
            if value.is_worth_keeping() {
                return Ok(value);
            }
            return Err(crate::message::DecodeErrorKind::UnexpectedEnd.into());
        }
        result.map(|()| value)
    }

    fn show<S: Sink>(value: &T, sink: &S, f: Format) -> Option<S::Value> {
        Some(show(value, sink, f))
    }

    fn read<S: Source>(source: &S) -> Result<T, S::Error> {
        read(source)
    }

    #[cfg(feature = "arbitrary")]
    fn arbitrary(entropy: &mut Entropy<'_>, f: Format) -> T {
        let mut value = T::default();
        value.arbitrary_fields(entropy, f);
        value
    }
}

/// What stands before a part that may be null: negative for null.
const PART_IS_NULL: i8 = -1;
const PART_FOLLOWS: i8 = 1;

impl<T: Declared> NullableWire for T {
    fn put_nullable(w: &mut Writer, value: Option<&T>, f: Format) -> Result<(), PutError> {
        let Some(part) = value else {
            w.put_i8(PART_IS_NULL);
            return Ok(());
        };
        w.put_i8(PART_FOLLOWS);
        Self::put(w, part, f)
    }

    fn get_nullable(r: &mut Reader, f: Format) -> Result<Option<T>, DecodeError> {
        match r.get_i8()? {
            ..0 => Ok(None),
            _ => Self::get(r, f).map(Some),
        }
    }
}

/// The layout of an API's messages at a version.
pub(crate) fn format(api: crate::ApiKey, version: i16) -> Format {
    Format {
        version,
        flexible: api.is_flexible(version),
        nullable: false,
    }
}

/// The layout of what never got flexible versions.
pub(crate) fn inflexible(version: i16) -> Format {
    Format {
        version,
        flexible: false,
        nullable: false,
    }
}

pub(crate) fn encode<T: Declared>(
    message: &T,
    w: &mut Writer,
    f: Format,
) -> Result<(), EncodeError> {
    message.put_fields(w, f)
}

pub(crate) fn decode<T: Declared>(r: &mut Reader, f: Format) -> Result<T, DecodeError> {
    let mut message = T::default();
    message.get_fields(r, f)?;
    Ok(message)
}

pub(crate) fn show<T: Declared, S: Sink>(message: &T, sink: &S, f: Format) -> S::Value {
    let mut shown = sink.fields();
    message.show_fields(sink, &mut shown, f);
    sink.finish(shown)
}

pub(crate) fn read<T: Declared, S: Source>(source: &S) -> Result<T, S::Error> {
    let mut message = T::default();
    message.read_fields(source)?;
    Ok(message)
}

pub(crate) fn decode_partial<T: Declared>(body: bytes::Bytes, f: Format) -> (T, bool) {
    let mut r = Reader::lenient(body);
    let mut message = T::default();
    let result = message.get_fields(&mut r, f);
    (message, result.is_err() || r.is_cut())
}

#[cfg(feature = "arbitrary")]
pub(crate) fn arbitrary<T: Declared>(entropy: &mut Entropy<'_>, f: Format) -> T {
    <T as Wire>::arbitrary(entropy, f)
}
