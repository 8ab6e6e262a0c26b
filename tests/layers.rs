//! Arrows between the rooms of the library point down only.
//!
//! [`ROOMS`] is the architecture's table: which room may name which. This test reads every path that
//! starts at the crate's root (`crate::ROOM`, a chain of `super::` that climbs that far, the library's
//! name in `src/bin`), inline or in a `use` with groups, and fails on an arrow that the table has not.
//! It reads tokens, so comments and strings do not count. What would hide an arrow from it (the root
//! under another name, a glob of the root, a macro exported to the root) is an error as well.
//!
//! Rooms that are not built yet stand in the table already, so that they start with their arrows.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the ground up, each with what it may name: a room, or one item of a room.
/// A room names only rooms above its own line. `bin` is `src/bin`; `lib.rs` names nothing.
const ROOMS: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("storage", &[]),
    ("image", &["storage"]),
    ("gpt", &["storage"]),
    ("filesystem", &["storage"]),
    ("luks2", &["storage", "secret", "filesystem::OnlyLuks2"]),
    ("efi", &["storage"]),
    ("tpm", &["secret"]),
    ("measure", &["efi", "tpm"]),
    ("keyobject", &["secret", "tpm", "measure", "luks2::Token"]),
    (
        "provision",
        &[
            "secret",
            "storage",
            "image",
            "gpt",
            "filesystem",
            "luks2",
            "efi",
            "tpm",
            "measure",
            "keyobject",
        ],
    ),
    ("cli", &["provision"]),
    ("bin", &["cli"]),
];

/// The library's name, as programs write it.
const LIBRARY: &str = "encrypt_cloud_image";

// ---------------------------------------------------------------------------------------------------
// Tokens

/// An identifier (`r#` taken off), `::`, or one other character; with its line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// The tokens of Rust source, without comments, and with every string and character as `""`.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let (mut index, mut line) = (0, 1);
    while index < chars.len() {
        let start = index;
        let mut text = String::new();
        if at(index) == '/' && at(index + 1) == '/' {
            while index < chars.len() && at(index) != '\n' {
                index += 1;
            }
        } else if at(index) == '/' && at(index + 1) == '*' {
            index = end_of_block_comment(&chars, index);
        } else if let Some(end) = end_of_raw_string(&chars, index) {
            index = end;
            text.push_str("\"\"");
        } else if at(index) == '"'
            || at(index) == '\'' && (at(index + 1) == '\\' || at(index + 2) == '\'')
        {
            index = end_of_quotes(&chars, index); // not at the quote of a lifetime
            text.push_str("\"\"");
        } else if is_word(at(index)) {
            while is_word(at(index)) {
                text.push(at(index));
                index += 1;
            }
            if text == "r" && at(index) == '#' && is_word(at(index + 1)) {
                index += 1;
                continue; // r#name is the identifier name
            }
        } else if at(index) == ':' && at(index + 1) == ':' {
            index += 2;
            text.push_str("::");
        } else {
            if !at(index).is_whitespace() {
                text.push(at(index));
            }
            index += 1;
        }
        if !text.is_empty() {
            found.push(Token { text, line });
        }
        line += chars
            .iter()
            .take(index)
            .skip(start)
            .filter(|c| **c == '\n')
            .count();
    }
    found
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut index, mut depth) = (start, 0);
    while index < chars.len() {
        match (chars[index], chars.get(index + 1)) {
            ('/', Some('*')) => (index, depth) = (index + 2, depth + 1),
            ('*', Some('/')) => (index, depth) = (index + 2, depth - 1),
            _ => index += 1,
        }
        if depth == 0 {
            break;
        }
    }
    index
}

/// The end of `r"..."`, `r#"..."#`, `br"..."`, `cr"..."`, if one starts here.
fn end_of_raw_string(chars: &[char], start: usize) -> Option<usize> {
    let prefix = usize::from(matches!(chars[start], 'b' | 'c'));
    let preceded = start.checked_sub(1).map(|before| chars[before]);
    if preceded.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    if chars.get(start + prefix) != Some(&'r') {
        return None;
    }
    let quote = start + prefix + 1;
    let hashes = chars[quote..].iter().take_while(|c| **c == '#').count();
    if chars.get(quote + hashes) != Some(&'"') {
        return None;
    }
    let mut end = quote + hashes + 1;
    while end < chars.len() {
        let closing = chars[end + 1..]
            .iter()
            .take(hashes)
            .filter(|c| **c == '#')
            .count();
        end += 1;
        if chars[end - 1] == '"' && closing == hashes {
            return Some(end + hashes);
        }
    }
    Some(end)
}

/// The end of a string or character, escapes skipped.
fn end_of_quotes(chars: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < chars.len() && chars[index] != chars[start] {
        index += if chars[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

// ---------------------------------------------------------------------------------------------------
// Paths

/// A path as written, from its head (`crate`, `super`, `self`, the library's name) to its end.
struct WrittenPath {
    segments: Vec<String>,
    line: usize,
    /// How many inline modules (`mod tests { ... }`) of this file it stands in.
    inline_depth: usize,
}

/// Every path in `tokens` that starts with one of `heads`; a group gives one path for each of its leaves.
fn paths(tokens: &[Token], heads: &[&str]) -> Vec<WrittenPath> {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut braces = 0_usize;
    let mut inline_modules: Vec<usize> = Vec::new(); // the brace depth at which each opened
    let mut index = 0;
    while index < tokens.len() {
        match text(index) {
            "{" => {
                let opens_module = index > 1 && text(index - 2) == "mod";
                if opens_module {
                    inline_modules.push(braces);
                }
                braces += 1;
            }
            "}" => {
                braces = braces.saturating_sub(1);
                if inline_modules.last() == Some(&braces) {
                    inline_modules.pop();
                }
            }
            head if heads.contains(&head) && !continues_a_path(tokens, index) => {
                let mut leaves = Vec::new();
                let end = path_tree(tokens, index, &[], &mut leaves);
                found.extend(leaves.into_iter().map(|(segments, line)| WrittenPath {
                    segments,
                    line,
                    inline_depth: inline_modules.len(),
                }));
                index = end;
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    found
}

/// True at `b` in `a::b`; not at `b` in `::b`, which starts at the crates' names.
fn continues_a_path(tokens: &[Token], index: usize) -> bool {
    let before = |count: usize| {
        index
            .checked_sub(count)
            .map_or("", |i| tokens[i].text.as_str())
    };
    let ends_a_segment = |text: &str| {
        text == ">" || text.chars().all(|c| c.is_alphanumeric() || c == '_') && !text.is_empty()
    };
    // `use ::name` has a keyword before the colons, which is no segment.
    before(1) == "::" && ends_a_segment(before(2)) && before(2) != "use"
}

/// Reads one path from `index` on below `prefix`, groups included, and returns the index behind it.
fn path_tree(
    tokens: &[Token],
    index: usize,
    prefix: &[String],
    leaves: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let mut segments = prefix.to_vec();
    let mut index = index;
    let line = tokens[index].line;
    loop {
        if text(index) == "{" {
            index += 1;
            while index < tokens.len() && text(index) != "}" {
                index = match text(index) {
                    "," => index + 1,
                    _ => path_tree(tokens, index, &segments, leaves),
                };
            }
            return index + 1;
        }
        segments.push(text(index).to_owned());
        index += 1;
        let goes_on = text(index) == "::"
            && text(index + 1).starts_with(|c: char| c.is_alphabetic() || "_*{".contains(c));
        if !goes_on {
            break;
        }
        index += 1;
    }
    if text(index) == "as" {
        segments.push("as".to_owned());
        index += 2;
    }
    leaves.push((segments, line));
    index
}

// ---------------------------------------------------------------------------------------------------
// The rule

/// The room that a file below `src` belongs to, and how many modules below the root it stands.
/// `lib.rs` is its own room, on no line of the table.
fn room_and_depth(file: &Path) -> (String, usize) {
    let names: Vec<_> = file
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let (last, folders) = names.split_last().unwrap();
    match folders.first() {
        None => (
            last.trim_end_matches(".rs").to_owned(),
            usize::from(last != "lib.rs"),
        ),
        Some(room) => (room.clone(), folders.len() + usize::from(last != "mod.rs")),
    }
}

/// What is wrong with `source`, the text of `file` (relative to `src`): a line each.
fn violations(file: &Path, source: &str) -> Vec<String> {
    let (room, depth) = room_and_depth(file);
    let tokens = tokens(source);
    let mut wrong = Vec::new();
    let mut report = |line: usize, text: String| {
        wrong.push(format!("src/{}:{line}: {text}", file.display()));
    };

    if room == "lib" {
        for pair in tokens.windows(2) {
            let declares = pair[0].text == "mod" && pair[1].text != "tests";
            if declares && !ROOMS.iter().any(|(name, _)| *name == pair[1].text) {
                report(
                    pair[1].line,
                    format!("the room `{}` is not in the table", pair[1].text),
                );
            }
            if pair[0].text == "use" {
                report(
                    pair[0].line,
                    "`lib.rs` declares the rooms, nothing else".to_owned(),
                );
            }
        }
        return wrong;
    }

    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        report(1, format!("the room `{room}` is not in the table"));
        return wrong;
    };
    // In a program `crate` and `super` are the program itself.
    let heads: &[&str] = if room == "bin" {
        &[LIBRARY]
    } else {
        &["crate", "super", "self", LIBRARY]
    };
    for path in paths(&tokens, heads) {
        let mut below_root = match path.segments[0].as_str() {
            "crate" | LIBRARY => 0,
            _ => depth + path.inline_depth,
        };
        let mut rest = path.segments.as_slice();
        while let [first, tail @ ..] = rest {
            match first.as_str() {
                "super" => below_root = below_root.saturating_sub(1),
                "crate" | "self" | LIBRARY => {}
                _ => break,
            }
            rest = tail;
        }
        if below_root > 0 {
            continue; // within the room
        }
        let [target, items @ ..] = rest else {
            let visibility = path.segments == ["crate"] || path.segments == ["super"];
            if !visibility && path.segments != ["self"] {
                report(
                    path.line,
                    "the crate's root as a whole hides arrows".to_owned(),
                );
            }
            continue;
        };
        if target == "as" || target == "*" {
            report(
                path.line,
                "the crate's root as a whole hides arrows".to_owned(),
            );
        } else if !ROOMS.iter().any(|(name, _)| name == target) {
            report(
                path.line,
                format!("`{target}` at the crate's root is no room of the table"),
            );
        } else if *target != room && !is_allowed(allowed, target, items) {
            report(
                path.line,
                format!("the arrow {room} -> {target} is not in the table"),
            );
        }
    }
    wrong
}

fn is_allowed(allowed: &[&str], target: &str, items: &[String]) -> bool {
    allowed.iter().any(|entry| match entry.split_once("::") {
        None => *entry == target,
        Some((room, item)) => room == target && items.first().is_some_and(|first| first == item),
    })
}

/// All Rust files below `folder`, in order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
        .into_iter()
        .flat_map(|path| {
            if path.is_dir() {
                rust_files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

// ---------------------------------------------------------------------------------------------------

#[test]
fn every_arrow_of_the_source_is_in_the_table() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&source);
    assert!(
        files.iter().any(|file| file.ends_with("lib.rs")),
        "no source found at all"
    );
    let wrong: Vec<_> = files
        .iter()
        .flat_map(|file| {
            violations(
                file.strip_prefix(&source).unwrap(),
                &fs::read_to_string(file).unwrap(),
            )
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{}\nThe table stands in tests/layers.rs and in docs/architecture.md.",
        wrong.join("\n")
    );
}

#[test]
fn arrows_of_the_table_point_down() {
    for (line, (room, targets)) in ROOMS.iter().enumerate() {
        for target in *targets {
            let target = target.split("::").next().unwrap();
            assert!(
                ROOMS[..line].iter().any(|(below, _)| *below == target),
                "{room} -> {target}: the target stands below in the table, or nowhere"
            );
        }
    }
}

/// The faults that are found in `source` as the file `file`, without place.
fn faults(file: &str, source: &str) -> Vec<String> {
    violations(Path::new(file), source)
        .into_iter()
        .map(|line| line.splitn(3, ':').nth(2).unwrap().trim().to_owned())
        .collect()
}

#[test]
fn planted_arrows_are_found_however_they_are_written() {
    let up = ["the arrow storage -> luks2 is not in the table"].as_slice();
    let cases: &[(&str, &str, &[&str])] = &[
        ("storage/mod.rs", "use crate::luks2;", up),
        (
            "storage/mod.rs",
            "fn f() -> crate::luks2::Header { todo!() }",
            up,
        ),
        (
            "storage/mod.rs",
            "fn f(h: &dyn Fn(crate::luks2::Header)) {}",
            up,
        ),
        (
            "storage/mod.rs",
            "use crate::{storage::Slice, luks2::{self, header::Header as H}};",
            &[up[0], up[0]],
        ),
        (
            "storage/mod.rs",
            "use crate::{\n    storage::{\n        Slice,\n    },\n    luks2,\n};",
            up,
        ),
        (
            "storage/mod.rs",
            "use crate :: /* here */ luks2\n:: Header;",
            up,
        ),
        ("storage/mod.rs", "use crate::r#luks2::Header;", up),
        ("storage/mod.rs", "pub(in crate::luks2) fn f() {}", up),
        (
            "storage/mod.rs",
            "macro_rules! m { () => { $crate::luks2::f() } }",
            up,
        ),
        ("storage/mod.rs", "use super::luks2::Header;", up),
        ("storage/slice.rs", "use super::super::luks2::Header;", up),
        (
            "storage/slice.rs",
            "use super::{Storage, super::luks2::Header};",
            up,
        ),
        ("storage/slice.rs", "use self::super::super::luks2;", up),
        (
            "storage/slice.rs",
            "mod tests { use super::super::super::luks2; }",
            up,
        ),
        (
            "storage/slice.rs",
            "mod tests { fn f() {} } use super::super::luks2;",
            up,
        ),
        (
            "storage/slice.rs",
            "fn f(c: char) { if c == '\"' { crate::luks2::f() } }",
            up,
        ),
        (
            "storage/slice.rs",
            "fn f<'a>(a: &'a str) { crate::luks2::f(a, b'\\'', r#\"\"\"#) }",
            up,
        ),
        (
            "storage/slice.rs",
            "fn f() { g::<crate::luks2::Header>() }",
            up,
        ),
        ("storage/slice.rs", "use ::encrypt_cloud_image::luks2;", up),
        (
            "luks2/header.rs",
            "use crate::{gpt, storage, secret};",
            &["the arrow luks2 -> gpt is not in the table"],
        ),
        (
            "keyobject/systemd.rs",
            "use crate::luks2::{Header, Token};",
            &["the arrow keyobject -> luks2 is not in the table"],
        ),
        (
            "cli/mod.rs",
            "use crate::storage::ReadAt;",
            &["the arrow cli -> storage is not in the table"],
        ),
        (
            "bin/a.rs",
            "use encrypt_cloud_image::{cli, provision};",
            &["the arrow bin -> provision is not in the table"],
        ),
        (
            "bin/a.rs",
            "fn main() { ::encrypt_cloud_image::provision::f() }",
            &["the arrow bin -> provision is not in the table"],
        ),
    ];
    for (file, source, expected) in cases {
        assert_eq!(faults(file, source), *expected, "{file}: {source}");
    }
}

#[test]
fn what_would_hide_an_arrow_is_found() {
    let whole = ["the crate's root as a whole hides arrows"].as_slice();
    let cases: &[(&str, &str, &[&str])] = &[
        ("storage/mod.rs", "use crate as root;", whole),
        ("storage/mod.rs", "use crate::{self as root};", whole),
        ("storage/mod.rs", "use crate::*;", whole),
        ("storage/mod.rs", "use super::*;", whole),
        ("bin/a.rs", "use encrypt_cloud_image as library;", whole),
        (
            "storage/mod.rs",
            "use crate::forward;",
            &["`forward` at the crate's root is no room of the table"],
        ),
        (
            "helpers/mod.rs",
            "",
            &["the room `helpers` is not in the table"],
        ),
        (
            "helpers.rs",
            "",
            &["the room `helpers` is not in the table"],
        ),
        (
            "lib.rs",
            "pub mod storage; mod helpers;",
            &["the room `helpers` is not in the table"],
        ),
        (
            "lib.rs",
            "pub use storage::Slice;",
            &["`lib.rs` declares the rooms, nothing else"],
        ),
    ];
    for (file, source, expected) in cases {
        assert_eq!(faults(file, source), *expected, "{file}: {source}");
    }
}

#[test]
fn lines_that_are_right_pass() {
    let cases = [
        (
            "storage/mod.rs",
            "// use crate::luks2;\n/* crate::luks2 /* nested */ crate::luks2 */",
        ),
        (
            "storage/mod.rs",
            "const S: &str = \"crate::luks2 \\\" crate::luks2\";",
        ),
        (
            "storage/mod.rs",
            "const S: &str = r#\"\" crate::luks2 \"#; const B: &[u8] = br\"crate::luks2\";",
        ),
        (
            "storage/mod.rs",
            "//! crate::luks2\npub(crate) fn f(self) {} pub(super) mod slice;",
        ),
        (
            "storage/slice.rs",
            "use super::{Error, file::FileStorage}; use self::super::memory;",
        ),
        (
            "storage/slice.rs",
            "mod tests { use super::*; use super::super::luks2_like; }",
        ),
        (
            "storage/slice.rs",
            "fn f(&self) { self.crate_name(); other::self_test(); Self::g() }",
        ),
        (
            "luks2/keyslot.rs",
            "use crate::{secret::{Entropy, SecretBytes}, storage::*, luks2::Header};",
        ),
        ("luks2/keyslot.rs", "fn f() { other::crate_::gpt() } // gpt"),
        (
            "keyobject/systemd.rs",
            "use crate::{luks2::Token, tpm::Name};",
        ),
        (
            "provision/encrypt.rs",
            "use crate::{gpt, filesystem::ext4, image, luks2, storage};",
        ),
        ("cli/encrypt.rs", "use crate::provision::encrypt;"),
        (
            "bin/a.rs",
            "mod b; use crate::b; fn main() { encrypt_cloud_image::cli::main() }",
        ),
        ("bin/a/main.rs", "mod b { fn f() { super::super::g() } }"),
        (
            "lib.rs",
            "//! [`storage`]\n#![deny(missing_docs)] pub mod storage; pub mod cli;",
        ),
    ];
    for (file, source) in cases {
        assert_eq!(
            faults(file, source),
            Vec::<String>::new(),
            "{file}: {source}"
        );
    }
}

#[test]
fn a_fault_names_file_and_line() {
    assert_eq!(
        violations(
            Path::new("gpt/header.rs"),
            "//! Header.\n\nuse crate::{\n    storage,\n    image,\n};"
        ),
        ["src/gpt/header.rs:5: the arrow gpt -> image is not in the table"]
    );
}
