//! DER, as much of it as certificates and signatures are made of.

pub const BOOLEAN_TRUE: &[u8] = &[0x01, 1, 0xff];
pub const NULL: &[u8] = &[0x05, 0];

pub mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OBJECT_IDENTIFIER: u8 = 0x06;
    pub const UTF8_STRING: u8 = 0x0c;
    pub const PRINTABLE_STRING: u8 = 0x13;
    pub const UTC_TIME: u8 = 0x17;
    pub const BMP_STRING: u8 = 0x1e;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    pub const CONTEXT_0: u8 = 0xa0;
    pub const CONTEXT_3: u8 = 0xa3;
    pub const CONTEXT_0_PRIMITIVE: u8 = 0x80;
    pub const CONTEXT_2: u8 = 0xa2;
}

/// One value.
pub fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut der = vec![tag];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 0x80 => der.push(short),
        (Ok(long), _) => der.extend([0x81, long]),
        (_, Ok(longer)) => {
            der.push(0x82);
            der.extend(longer.to_be_bytes());
        }
        _ => panic!("BUG: no part of a certificate is that long"),
    }
    der.extend(content);
    der
}

/// A value of other values.
pub fn values(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    value(tag, &parts.concat())
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    values(tag::SEQUENCE, parts)
}

/// A small number.
pub fn integer(number: u8) -> Vec<u8> {
    value(tag::INTEGER, &[number])
}

/// An object identifier by its content octets.
pub fn oid(content: &[u8]) -> Vec<u8> {
    value(tag::OBJECT_IDENTIFIER, content)
}

/// An algorithm without parameters but NULL.
pub fn algorithm(content: &[u8]) -> Vec<u8> {
    sequence(&[&oid(content), NULL])
}

/// The content of a value that is shorter than 64 KiB.
pub fn content(der: &[u8]) -> &[u8] {
    let header = match der[1] {
        0x81 => 3,
        0x82 => 4,
        _ => 2,
    };
    &der[header..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, header) in [
            (0, "0400"),
            (127, "047f"),
            (128, "048180"),
            (255, "0481ff"),
            (256, "04820100"),
        ] {
            let der = value(tag::OCTET_STRING, &vec![7; length]);
            assert_eq!(crate::process::hex(&der[..der.len() - length]), header);
            assert_eq!(content(&der).len(), length);
        }
    }
}
