//! Messages as plain values of another language: structs are its records with the names of the fields, arrays its
//! lists. For requests that are made so rarely that how the values are made does not matter.
//!
//! * [`Message::show`](crate::Message::show) makes such a value by a [`Sink`].
//! * [`Message::read`](crate::Message::read) reads one by a [`Source`].

use bytes::Bytes;

/// Makes the values.
pub trait Sink {
    /// A value.
    type Value;
    /// A record that is not finished.
    type Fields;

    /// Truth.
    fn boolean(&self, value: bool) -> Self::Value;
    /// A whole number.
    fn integer(&self, value: i64) -> Self::Value;
    /// Any other number.
    fn float(&self, value: f64) -> Self::Value;
    /// The id of a topic or a folder.
    fn uuid(&self, value: &[u8; 16]) -> Self::Value;
    /// Text or bytes.
    fn bytes(&self, value: &[u8]) -> Self::Value;
    /// A list.
    fn list(&self, values: Vec<Self::Value>) -> Self::Value;
    /// A record without fields.
    fn fields(&self) -> Self::Fields;
    /// Gives it a field.
    fn store(&self, fields: &mut Self::Fields, name: &str, value: Self::Value);
    /// The finished record.
    fn finish(&self, fields: Self::Fields) -> Self::Value;
}

/// A value that somebody has made, which is taken for what its field is.
pub trait Source: Sized {
    /// Why it is none.
    type Error;

    /// Whether it is the language's null.
    fn is_null(&self) -> bool;
    /// Truth.
    ///
    /// # Errors
    /// When it is no such value; for the other methods as well.
    fn boolean(&self) -> Result<bool, Self::Error>;
    /// A whole number of this size.
    fn integer<T: TryFrom<i64>>(&self) -> Result<T, Self::Error>;
    /// Any number.
    fn float(&self) -> Result<f64, Self::Error>;
    /// The id of a topic or a folder.
    fn uuid(&self) -> Result<[u8; 16], Self::Error>;
    /// Text or bytes.
    fn bytes(&self) -> Result<Bytes, Self::Error>;
    /// The elements of a list.
    fn elements(&self) -> Result<Vec<Self>, Self::Error>;
    /// A field of a record, `None` when it has none of this name.
    fn field(&self, name: &'static str) -> Result<Option<Self>, Self::Error>;
    /// Fails for a record with a field of another name.
    fn check_names(&self, names: &[&'static str]) -> Result<(), Self::Error>;
}
