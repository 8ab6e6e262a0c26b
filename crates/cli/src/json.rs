//! Documents for programs: JSON, indented, with a newline at the end.

use serde::Serialize;

/// The text of a document, which has members with names, texts, numbers and lists alone.
#[expect(
    clippy::expect_used,
    reason = "an error in the program: what a document is made of, JSON can say"
)]
pub fn text(document: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(document).expect("BUG: a document that is no JSON");
    text.push('\n');
    text
}
