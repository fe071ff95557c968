//! The serializers that every Kafka client has, byte for byte.
//!
//! Source: the classes of `org.apache.kafka.common.serialization` that the table in
//! `serializer.rs` names.
#![forbid(unsafe_code)]

use super::{RecordHeaders, SerializeError, Serializer, Target};

/// Bytes as they are: `[u8]`, `Vec<u8>`, `[u8; N]`, and what else can be seen as bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl<T: AsRef<[u8]> + ?Sized> Serializer<T> for Bytes {
    fn serialize(&self, _: Target<'_>, value: &T, out: &mut Vec<u8>) -> Result<(), SerializeError> {
        out.extend_from_slice(value.as_ref());
        Ok(())
    }

    fn borrow<'a>(&self, value: &'a T) -> Option<&'a [u8]> {
        Some(value.as_ref())
    }
}

/// Text as UTF-8: `str`, `String`, and what else can be seen as text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl<T: AsRef<str> + ?Sized> Serializer<T> for Text {
    fn serialize(&self, _: Target<'_>, value: &T, out: &mut Vec<u8>) -> Result<(), SerializeError> {
        out.extend_from_slice(value.as_ref().as_bytes());
        Ok(())
    }

    fn borrow<'a>(&self, value: &'a T) -> Option<&'a [u8]> {
        Some(value.as_ref().as_bytes())
    }
}

/// A serializer of numbers: its name, the type that it takes, and its bytes.
macro_rules! numbers {
    ($($(#[$attribute:meta])* $name:ident: $type:ty = |$value:ident| $bytes:expr;)*) => { $(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Serializer<$type> for $name {
            fn serialize(
                &self,
                _: Target<'_>,
                value: &$type,
                out: &mut Vec<u8>,
            ) -> Result<(), SerializeError> {
                let $value = *value;
                out.extend_from_slice(&$bytes);
                Ok(())
            }
        }
    )* };
}

/// The one that stands for all of them: `Double.doubleToLongBits`.
const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

numbers! {
    /// An `i16` as 2 bytes, big endian.
    Short: i16 = |value| value.to_be_bytes();
    /// An `i32` as 4 bytes, big endian.
    Integer: i32 = |value| value.to_be_bytes();
    /// An `i64` as 8 bytes, big endian.
    Long: i64 = |value| value.to_be_bytes();
    /// An `f32` as the 4 bytes of its bits, big endian. A NaN keeps its bits, as in Java.
    Float: f32 = |value| value.to_bits().to_be_bytes();
    /// An `f64` as the 8 bytes of its bits, big endian. Every NaN is the same one, as in Java.
    Double: f64 = |value| {
        if value.is_nan() { CANONICAL_NAN } else { value.to_bits() }.to_be_bytes()
    };
    /// A `bool` as one byte, 1 or 0.
    Boolean: bool = |value| [u8::from(value)];
    /// A UUID as text: 36 characters, lower case, with hyphens. Takes its 16 bytes in network order
    /// (`uuid::Uuid::as_bytes`), or as a `u128` (`uuid::Uuid::as_u128`).
    Uuid: [u8; 16] = |value| text_of(value);
}

impl Serializer<u128> for Uuid {
    fn serialize(
        &self,
        _: Target<'_>,
        value: &u128,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        out.extend_from_slice(&text_of(value.to_be_bytes()));
        Ok(())
    }
}

fn text_of(uuid: [u8; 16]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    // 8-4-4-4-12 digits: the places that are not hyphens.
    let places = (0..36).filter(|place| ![8, 13, 18, 23].contains(place));
    let digits = uuid.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (place, digit) in places.zip(digits) {
        text[place] = DIGITS[usize::from(digit)];
    }
    text
}

/// Null, whatever the value is: for topics whose records have no keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Void;

impl<T: ?Sized> Serializer<T> for Void {
    fn serialize(&self, _: Target<'_>, _: &T, _: &mut Vec<u8>) -> Result<(), SerializeError> {
        Ok(())
    }

    fn is_null(&self, _: &T) -> bool {
        true
    }
}

/// Null for `None`, and the inner serializer's bytes for `Some`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nullable<S>(
    /// The serializer of what is there.
    pub S,
);

impl<T, S: Serializer<T>> Serializer<Option<T>> for Nullable<S> {
    fn serialize(
        &self,
        target: Target<'_>,
        value: &Option<T>,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        value.as_ref().map_or(Ok(()), |value| self.0.serialize(target, value, out))
    }

    fn serialize_with_headers(
        &self,
        target: Target<'_>,
        headers: &mut RecordHeaders<'_>,
        value: &Option<T>,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        let Some(value) = value else { return Ok(()) };
        self.0.serialize_with_headers(target, headers, value, out)
    }

    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }

    fn borrow<'a>(&self, value: &'a Option<T>) -> Option<&'a [u8]> {
        self.0.borrow(value.as_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Field;
    use super::*;

    fn bytes<T: ?Sized>(serializer: impl Serializer<T>, value: &T) -> Option<Vec<u8>> {
        if serializer.is_null(value) {
            return None;
        }
        let mut out = Vec::new();
        serializer.serialize(Target::new("t", Field::Value), value, &mut out).unwrap();
        if let Some(borrowed) = serializer.borrow(value) {
            assert_eq!(borrowed, out, "lent and written bytes are the same");
        }
        Some(out)
    }

    #[test]
    fn numbers_are_big_endian_as_java_writes_them() {
        assert_eq!(bytes(Short, &-2).unwrap(), [0xff, 0xfe]);
        assert_eq!(bytes(Integer, &i32::MIN).unwrap(), [0x80, 0, 0, 0]);
        assert_eq!(bytes(Integer, &0x0102_0304).unwrap(), [1, 2, 3, 4]);
        assert_eq!(bytes(Long, &1).unwrap(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes(Float, &1.5).unwrap(), [0x3f, 0xc0, 0, 0]);
        assert_eq!(bytes(Double, &-2.0).unwrap(), [0xc0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((bytes(Boolean, &true), bytes(Boolean, &false)), (Some(vec![1]), Some(vec![0])));
    }

    #[test]
    fn a_double_has_one_nan_and_a_float_keeps_its_own() {
        let odd = f64::from_bits(0xfff8_0000_0000_0001);
        assert_eq!(bytes(Double, &odd).unwrap(), [0x7f, 0xf8, 0, 0, 0, 0, 0, 0]);
        let odd = f32::from_bits(0x7fc0_0001);
        assert_eq!(bytes(Float, &odd).unwrap(), [0x7f, 0xc0, 0, 1]);
    }

    #[test]
    fn a_uuid_is_written_as_its_text() {
        let number = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978_u128;
        let text = b"01234567-89ab-cdef-0f1e-2d3c4b5a6978";
        assert_eq!(bytes(Uuid, &number).unwrap(), text);
        assert_eq!(bytes(Uuid, &number.to_be_bytes()).unwrap(), text);
    }

    #[test]
    fn text_and_bytes_are_lent_whatever_holds_them() {
        assert_eq!(bytes::<str>(Text, "größe").unwrap(), "größe".as_bytes());
        assert_eq!(bytes(Text, &String::from("a")).unwrap(), b"a");
        assert_eq!(bytes::<[u8]>(Bytes, &[0, 255]).unwrap(), [0, 255]);
        assert_eq!(bytes(Bytes, &vec![7]).unwrap(), [7]);
        assert_eq!(bytes(Bytes, &[1, 2, 3]).unwrap(), [1, 2, 3]);
        assert_eq!(bytes::<str>(Bytes, "").unwrap(), b"");
    }

    #[test]
    fn none_is_null_and_some_is_not() {
        assert_eq!(bytes(Nullable(Long), &None), None);
        assert_eq!(bytes(Nullable(Short), &Some(1)).unwrap(), [0, 1]);
        assert_eq!(bytes(Nullable(Text), &Some("")).unwrap(), b"");
        assert_eq!(bytes(Nullable(Nullable(Text)), &Some(None::<String>)), None);
        assert_eq!(bytes(Void, &7), None);
    }
}
