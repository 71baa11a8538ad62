//! Why a message cannot be written, or bytes are not one.

/// A string of more than 32767 bytes, or a byte field or array of more than 2³¹ - 1 bytes or elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Why a message cannot be encoded at the version asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError {
    /// The message or the part of it that has the field.
    pub message: &'static str,
    /// Kafka's name of the field in snake_case.
    pub field: &'static str,
    /// The version asked for.
    pub version: i16,
    /// What is wrong with the field.
    pub kind: EncodeErrorKind,
}

/// What is wrong with a field that cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeErrorKind {
    /// It has a value, but this version has no such field, and leaving it out would change the meaning.
    FieldNotInVersion,
    /// It is null, which this version does not allow.
    NullNotAllowed,
    /// It is longer than its length field can say.
    TooLong,
}

impl From<TooLong> for EncodeErrorKind {
    fn from(_: TooLong) -> Self {
        EncodeErrorKind::TooLong
    }
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let EncodeError {
            message,
            field,
            version,
            kind,
        } = self;
        match kind {
            EncodeErrorKind::FieldNotInVersion => {
                write!(f, "{message} version {version} has no field {field}")
            }
            EncodeErrorKind::NullNotAllowed => {
                write!(f, "{message} version {version}: {field} must not be null")
            }
            EncodeErrorKind::TooLong => {
                write!(f, "{message} version {version}: {field} is too long")
            }
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The innermost message part and field that were being read, where known.
    pub at: Option<(&'static str, &'static str)>,
    /// What is wrong.
    pub kind: DecodeErrorKind,
}

/// What is wrong with bytes that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// A field, or the elements that a count promises, reach beyond the end of the input.
    UnexpectedEnd,
    /// A negative length other than -1.
    InvalidLength(i32),
    /// A varint that does not fit its type.
    VarintTooLong,
    /// Null where this version does not allow it.
    NullNotAllowed,
    /// A request for an API that this crate does not know.
    UnknownApi(i16),
}

impl From<DecodeErrorKind> for DecodeError {
    fn from(kind: DecodeErrorKind) -> Self {
        DecodeError { at: None, kind }
    }
}

impl DecodeError {
    /// Adds where it happened, unless a place further in is known already.
    pub(crate) fn at(mut self, message: &'static str, field: &'static str) -> Self {
        self.at.get_or_insert((message, field));
        self
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((message, field)) = self.at {
            write!(f, "{message}.{field}: ")?;
        }
        match self.kind {
            DecodeErrorKind::UnexpectedEnd => write!(f, "unexpected end of data"),
            DecodeErrorKind::InvalidLength(n) => write!(f, "invalid length {n}"),
            DecodeErrorKind::VarintTooLong => write!(f, "varint too long"),
            DecodeErrorKind::NullNotAllowed => write!(f, "null where this version allows none"),
            DecodeErrorKind::UnknownApi(key) => write!(f, "unknown API key {key}"),
        }
    }
}

impl std::error::Error for DecodeError {}
