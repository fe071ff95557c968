//! How keys and values become bytes, for [`TypedTopic`](crate::TypedTopic).
//!
//! Thread:   the caller's, before anything is claimed: one that fails or panics leaves no hole.
//! Never:    needed: a [`Record`](crate::Record) of bytes takes none of this.
//! Source:   `org.apache.kafka.common.serialization`, whose deserializers read what these write.
//!
//! | here | Kafka's | takes | writes |
//! |---|---|---|---|
//! | [`Bytes`] | `ByteArraySerializer` | what is bytes | the bytes, without a copy of them |
//! | [`Text`] | `StringSerializer` | what is text | UTF-8, without a copy of it |
//! | [`Short`], [`Integer`], [`Long`] | the same names | `i16`, `i32`, `i64` | 2, 4, 8 bytes |
//! | [`Float`], [`Double`] | the same names | `f32`, `f64` | 4, 8 bytes |
//! | [`Boolean`] | `BooleanSerializer` | `bool` | 1 byte |
//! | [`Uuid`] | `UUIDSerializer` | `u128`, `[u8; 16]` | 36 characters |
//! | [`Void`] | `VoidSerializer` | anything | null |
//! | [`Nullable`] | each of them | an `Option` | null for `None` |
//! | `Json` | (none) | what serde can write | JSON; feature `serde_json` |
//!
//! Numbers are big endian. Anything else is a [`from_fn`], or a [`Serializer`] of one's own.
#![forbid(unsafe_code)]

mod headers;
#[cfg(feature = "serde_json")]
mod json;
mod kafka;

use std::error::Error;
use std::fmt;

pub use headers::RecordHeaders;
#[cfg(feature = "serde_json")]
pub use json::Json;
pub use kafka::{Boolean, Bytes, Double, Float, Integer, Long, Nullable, Short, Text, Uuid, Void};

/// Why a key or a value has no bytes. Anything that is an error becomes one with `?`.
pub type SerializeError = Box<dyn Error + Send + Sync>;

/// Which part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// What is being serialized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target<'a> {
    /// The topic that the record goes to.
    pub topic: &'a str,
    /// Whether it is its key or its value.
    pub field: Field,
}

impl<'a> Target<'a> {
    pub(crate) fn new(topic: &'a str, field: Field) -> Self {
        Self { topic, field }
    }
}

/// Writes values of type `T` as bytes. Called on the thread that sends, once per record, and shared
/// by all threads that do. What it writes goes into memory that is reused: a serializer that
/// allocates nothing makes a send that allocates nothing.
///
/// ```
/// use kuring::serializer::{SerializeError, Serializer, Target};
///
/// struct Point { x: f32, y: f32 }
/// struct Points;
///
/// impl Serializer<Point> for Points {
///     fn serialize(
///         &self,
///         _: Target<'_>,
///         point: &Point,
///         out: &mut Vec<u8>,
///     ) -> Result<(), SerializeError> {
///         if !point.x.is_finite() || !point.y.is_finite() {
///             return Err("a point is nowhere".into());
///         }
///         out.extend_from_slice(&point.x.to_be_bytes());
///         out.extend_from_slice(&point.y.to_be_bytes());
///         Ok(())
///     }
/// }
/// ```
pub trait Serializer<T: ?Sized>: Send + Sync {
    /// Writes `value` to `out`, which is empty before.
    ///
    /// # Errors
    /// Why this value has no bytes. Only its record is not sent.
    fn serialize(
        &self,
        target: Target<'_>,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError>;

    /// [`serialize`](Self::serialize) for those that add headers to the record, such as the id of
    /// a schema: this is what is called. Unless it is written anew it calls `serialize`, and costs
    /// nothing. Of a record that fails nothing is sent, so no header either. Not called where there
    /// is nothing to serialize: for null, and for bytes that are [lent](Self::borrow).
    ///
    /// ```
    /// use kuring::serializer::{RecordHeaders, SerializeError, Serializer, Target};
    ///
    /// /// Text, and what it is.
    /// struct Described;
    ///
    /// impl Serializer<str> for Described {
    ///     fn serialize(
    ///         &self,
    ///         _: Target<'_>,
    ///         text: &str,
    ///         out: &mut Vec<u8>,
    ///     ) -> Result<(), SerializeError> {
    ///         out.extend_from_slice(text.as_bytes());
    ///         Ok(())
    ///     }
    ///
    ///     fn serialize_with_headers(
    ///         &self,
    ///         target: Target<'_>,
    ///         headers: &mut RecordHeaders<'_>,
    ///         text: &str,
    ///         out: &mut Vec<u8>,
    ///     ) -> Result<(), SerializeError> {
    ///         headers.push("content-type", Some(b"text/plain"));
    ///         self.serialize(target, text, out)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`serialize`](Self::serialize).
    fn serialize_with_headers(
        &self,
        target: Target<'_>,
        headers: &mut RecordHeaders<'_>,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        let _ = headers;
        self.serialize(target, value, out)
    }

    /// Whether `value` is written as null, which no bytes stand for: a record without a key, or a
    /// tombstone. Then [`serialize`](Self::serialize) is not called.
    fn is_null(&self, value: &T) -> bool {
        let _ = value;
        false
    }

    /// The bytes of `value`, if it has them already. Then [`serialize`](Self::serialize) is not
    /// called, and they are copied once, into the batch.
    fn borrow<'a>(&self, value: &'a T) -> Option<&'a [u8]> {
        let _ = value;
        None
    }
}

/// A serializer that is a function.
///
/// ```
/// # use kuring::serializer::{Serializer, from_fn};
/// let decimal = from_fn(|number: &u64, out: &mut Vec<u8>| {
///     out.extend_from_slice(number.to_string().as_bytes());
///     Ok(())
/// });
/// # fn is_one(_: impl Serializer<u64>) {}
/// # is_one(decimal);
/// ```
pub fn from_fn<T, F>(write: F) -> FromFn<F>
where
    T: ?Sized,
    F: Fn(&T, &mut Vec<u8>) -> Result<(), SerializeError> + Send + Sync,
{
    FromFn(write)
}

/// The serializer of [`from_fn`].
#[derive(Clone, Copy)]
pub struct FromFn<F>(F);

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}

impl<T, F> Serializer<T> for FromFn<F>
where
    T: ?Sized,
    F: Fn(&T, &mut Vec<u8>) -> Result<(), SerializeError> + Send + Sync,
{
    fn serialize(&self, _: Target<'_>, value: &T, out: &mut Vec<u8>) -> Result<(), SerializeError> {
        (self.0)(value, out)
    }
}
