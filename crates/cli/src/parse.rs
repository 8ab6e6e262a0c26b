//! What the parser cannot be told about the reference's grammar.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::Arguments;

/// The arguments without long options whose value is empty: `--output=` counts as not given, so that
/// scripts can write `--output="$FILE"` for a variable that may be empty.
pub fn arguments(given: impl Iterator<Item = OsString>) -> Arguments {
    let mut options_end = false;
    given
        .filter(|argument| {
            options_end |= argument == "--";
            options_end || !has_empty_value(argument)
        })
        .collect()
}

fn has_empty_value(argument: &OsStr) -> bool {
    let bytes = argument.as_bytes();
    bytes.starts_with(b"--")
        && bytes.ends_with(b"=")
        && bytes[2..bytes.len() - 1]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// The path of an image. `-` stands for a stream elsewhere, and would be a file of that name here.
pub fn image_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path.as_os_str() == "-" {
            return Err(
                "images are files, read and written at many places at once; \
                        ./- is a file of that name",
            );
        }
        Ok(path)
    })
}

/// The path of a small file, or of a directory, that is written. `-` is standard output where a text of its own goes there
/// (`--report`, `--out`), and would be a file of that name here.
pub fn file_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path.as_os_str() == "-" {
            return Err("this does not go to standard output; ./- is a file of that name");
        }
        Ok(path)
    })
}

/// The handle of an object that persists in a TPM, in the form of tpm2-tools or as a decimal number.
pub fn persistent_handle(text: &str) -> Result<u32, String> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let handle = match hexadecimal {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match handle {
        Ok(handle) if handle >> 24 == 0x81 => Ok(handle),
        _ => Err("handles of objects that persist reach from 0x81000000 to 0x81ffffff".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_counts_as_not_given_before_the_end_of_options() {
        let given = ["prog", "--output=", "--name=x", "a=", "--", "--output="];
        let kept = arguments(given.iter().map(OsString::from));
        assert_eq!(kept, ["prog", "--name=x", "a=", "--", "--output="]);
    }

    #[test]
    fn a_handle_is_one_of_an_object_that_persists() {
        for text in ["0x81000001", "0X81000001", "2164260865"] {
            assert_eq!(persistent_handle(text), Ok(0x8100_0001));
        }
        assert_eq!(persistent_handle("0x81ffffff"), Ok(0x81ff_ffff));
        for text in ["0x80ffffff", "0x82000000", "81000001", "", "0x", "-1", "x"] {
            assert_eq!(
                persistent_handle(text).unwrap_err(),
                "handles of objects that persist reach from 0x81000000 to 0x81ffffff"
            );
        }
    }
}
