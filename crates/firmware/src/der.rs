//! DER (X.690), read as tags, lengths and contents that stay the bytes they were.
//!
//! Signatures and certificates are hashed as they came, so this reader hands out slices of its input and
//! never encodes anything anew. It takes lengths that are not minimal, as firmware does, which is why a
//! strict DER decoder would not do; it refuses indefinite lengths, tags above 30 and anything that
//! reaches beyond its input.

use std::ops::Range;

use super::{Error, Result};

/// ASN.1 tags that occur here, as the identifier octet that stands in the bytes.
pub mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OBJECT_IDENTIFIER: u8 = 0x06;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    /// Context-specific, primitive: an implicitly tagged string.
    pub const CONTEXT_0_PRIMITIVE: u8 = 0x80;
    pub const CONTEXT_1_PRIMITIVE: u8 = 0x81;
    pub const CONTEXT_2_PRIMITIVE: u8 = 0x82;
    pub const CONTEXT_0: u8 = 0xa0;
    pub const CONTEXT_1: u8 = 0xa1;
    pub const CONTEXT_2: u8 = 0xa2;
    pub const CONTEXT_3: u8 = 0xa3;
}

/// One value: its tag, its content, and both together as they stood in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// The identifier octet.
    pub tag: u8,
    /// What the length counts.
    pub content: &'a [u8],
    /// Tag, length and content.
    pub raw: &'a [u8],
    /// Where the content starts, counted from the start of the outermost input.
    offset: usize,
}

impl<'a> Value<'a> {
    /// A reader for what is inside.
    pub fn reader(&self) -> Reader<'a> {
        Reader {
            rest: self.content,
            offset: self.offset,
        }
    }

    /// Where the content lies in the outermost input.
    pub fn content_range(&self) -> Range<usize> {
        self.offset..self.offset.saturating_add(self.content.len())
    }

    /// Where the whole value lies in the outermost input.
    pub fn range(&self) -> Range<usize> {
        let Range { end, .. } = self.content_range();
        end.saturating_sub(self.raw.len())..end
    }
}

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            offset: 0,
        }
    }

    /// True where nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The error of a value that is malformed or missing here.
    pub fn error(&self, what: &'static str) -> Error {
        Error::Asn1 {
            what,
            offset: self.offset,
        }
    }

    /// True where the next value has this tag.
    pub fn begins_with(&self, tag: u8) -> bool {
        self.rest.first() == Some(&tag)
    }

    /// Fails where something is left.
    pub fn end(&self, what: &'static str) -> Result<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    /// The next value, whatever its tag.
    pub fn any(&mut self, what: &'static str) -> Result<Value<'a>> {
        let (&tag, rest) = self.rest.split_first().ok_or_else(|| self.error(what))?;
        let (&first, mut rest) = rest.split_first().ok_or_else(|| self.error(what))?;
        if tag & 0x1f == 0x1f {
            return Err(self.error(what)); // a tag of several bytes; none occurs here
        }
        let mut len = usize::from(first & 0x7f);
        if first & 0x80 != 0 {
            if len == 0 || len > 8 {
                return Err(self.error(what)); // indefinite, or no length that memory could hold
            }
            let (bytes, behind) = rest.split_at_checked(len).ok_or_else(|| self.error(what))?;
            let value = bytes
                .iter()
                .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
            len = usize::try_from(value).map_err(|_| self.error(what))?;
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(len).ok_or_else(|| self.error(what))?;
        let header = self.rest.len().saturating_sub(rest.len());
        let whole = header.saturating_add(len);
        let raw = self.rest.get(..whole).ok_or_else(|| self.error(what))?;
        let offset = self.offset.saturating_add(header);
        self.rest = behind;
        self.offset = self.offset.saturating_add(whole);
        Ok(Value {
            tag,
            content,
            raw,
            offset,
        })
    }

    /// The next value, which must have this tag.
    pub fn value(&mut self, tag: u8, what: &'static str) -> Result<Value<'a>> {
        if self.begins_with(tag) {
            self.any(what)
        } else {
            Err(self.error(what))
        }
    }

    /// A reader for the inside of the next value, which must be a SEQUENCE.
    pub fn sequence(&mut self, what: &'static str) -> Result<Reader<'a>> {
        Ok(self.value(tag::SEQUENCE, what)?.reader())
    }

    /// The one value inside of the next one, which must have this tag: a type that is tagged explicitly.
    pub fn explicit(&mut self, tag: u8, what: &'static str) -> Result<Value<'a>> {
        let mut inside = self.value(tag, what)?.reader();
        let value = inside.any(what)?;
        inside.end(what)?;
        Ok(value)
    }

    /// The next value if it has this tag.
    pub fn optional(&mut self, tag: u8, what: &'static str) -> Result<Option<Value<'a>>> {
        if self.begins_with(tag) {
            self.any(what).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The content of the next value, an INTEGER, and whether that is its shortest form (X.690, section 8.3.2).
    pub fn integer(&mut self, what: &'static str) -> Result<(&'a [u8], bool)> {
        let content = self.value(tag::INTEGER, what)?.content;
        Ok((content, is_shortest(content)))
    }

    /// The content of the next value, an object identifier.
    pub fn oid(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let malformed = self.error(what);
        let content = self.value(tag::OBJECT_IDENTIFIER, what)?.content;
        if is_oid(content) {
            Ok(content)
        } else {
            Err(malformed)
        }
    }
}

/// True for the content of an OBJECT IDENTIFIER: whole numbers of base 128 without leading zeros, at least one (X.690,
/// section 8.19).
pub fn is_oid(content: &[u8]) -> bool {
    let mut begins_number = true;
    for byte in content {
        if begins_number && *byte == 0x80 {
            return false;
        }
        begins_number = byte & 0x80 == 0;
    }
    !content.is_empty() && begins_number
}

/// True for the content of an INTEGER in its shortest form: one octet, or no first nine bits that are all the same.
pub fn is_shortest(content: &[u8]) -> bool {
    match content {
        [] => false,
        [_] => true,
        [first, second, ..] => match first {
            0x00 => *second >= 0x80,
            0xff => *second < 0x80,
            _ => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_bytes_and_their_order() {
        let bytes = [0x30, 0x05, 0x02, 0x01, 0x07, 0x04, 0x00, 0xff];
        let mut outer = Reader::new(&bytes);
        let sequence = outer.value(tag::SEQUENCE, "a").unwrap();
        assert_eq!(sequence.raw, &bytes[..7]);
        let mut inner = sequence.reader();
        assert_eq!(inner.value(tag::INTEGER, "b").unwrap().content, [7]);
        assert_eq!(inner.optional(tag::INTEGER, "c").unwrap(), None);
        assert_eq!(
            inner.value(tag::OCTET_STRING, "d").unwrap().content,
            [0_u8; 0]
        );
        assert!(inner.is_empty());
        assert!(!outer.is_empty());
    }

    #[test]
    fn a_length_need_not_be_minimal() {
        let mut reader = Reader::new(&[0x04, 0x83, 0x00, 0x00, 0x01, 0xaa]);
        let value = reader.any("a").unwrap();
        assert_eq!((value.content, value.raw.len()), ([0xaa].as_slice(), 6));
    }

    #[test]
    fn an_integer_is_in_its_shortest_form_or_not() {
        let read = |content: &[u8]| {
            let len = u8::try_from(content.len()).unwrap();
            let value = [&[tag::INTEGER, len], content].concat();
            Reader::new(&value).integer("number").unwrap().1
        };
        for shortest in [
            &[0][..],
            &[0x7f],
            &[0x80],
            &[0, 0x80],
            &[1, 0],
            &[0xff, 0x7f],
        ] {
            assert!(read(shortest), "{shortest:x?}");
        }
        for longer in [&[][..], &[0, 0], &[0, 0x7f], &[0, 0, 0x80], &[0xff, 0x80]] {
            assert!(!read(longer), "{longer:x?}");
        }
    }

    #[test]
    fn an_object_identifier_is_made_of_whole_numbers() {
        let read = |content: &[u8]| {
            let len = u8::try_from(content.len()).unwrap();
            let value = [&[tag::OBJECT_IDENTIFIER, len], content].concat();
            Reader::new(&value).oid("name").map(<[u8]>::to_vec)
        };
        assert_eq!(read(b"\x2a\x86\x48").unwrap(), b"\x2a\x86\x48");
        for bad in [&b""[..], b"\x2a\x86", b"\x2a\x80\x48", b"\x80\x2a"] {
            assert!(read(bad).is_err(), "{bad:x?}");
        }
    }

    #[test]
    fn what_reaches_beyond_the_input_is_refused_with_its_place() {
        for bytes in [
            &[0x30][..],
            &[0x30, 0x80, 0x00, 0x00], // indefinite
            &[0x30, 0x02, 0x00],       // one byte short
            &[0x30, 0x82, 0x01],       // a length cut short
            &[0x1f, 0x81, 0x00],       // a long tag
            &[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // 2^64 - 1
            &[0x30, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let wrapped = [&[0x30, u8::try_from(bytes.len()).unwrap()], bytes].concat();
            let mut inside = Reader::new(&wrapped).sequence("outer").unwrap();
            let error = inside.any("inner").unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Asn1 {
                        what: "inner",
                        offset: 2
                    }
                ),
                "{bytes:x?}: {error:?}"
            );
        }
    }
}
