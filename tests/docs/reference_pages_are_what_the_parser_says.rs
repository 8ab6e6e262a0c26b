//! A change of the command line that leaves the reference pages behind is noticed here.

use std::fs;
use std::path::Path;

use crate::markdown;

#[test]
fn reference_pages_are_what_the_parser_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    let mut stale = Vec::new();
    for command in encrypt_cloud_image::commands() {
        let name = format!("{}.md", command.get_name());
        let page = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        if markdown::merge(&page, command).as_ref() != Ok(&page) {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "docs/reference has stale pages: {stale:?}; run: cargo xtask docs"
    );
}
