//! A link between pages names a file that is there, and a heading that the file has.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn links_between_pages_lead_somewhere() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut dead = Vec::new();
    for page in pages(top) {
        let text = fs::read_to_string(&page).unwrap();
        for target in targets(&text) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let found = match fs::read_to_string(&file) {
                Ok(text) => heading.is_empty() || anchors(&text).any(|anchor| anchor == heading),
                Err(_) => file.is_dir(),
            };
            if !found {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

/// Every page of the project.
pub fn pages(top: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in [top.to_owned(), top.join("docs"), top.join("docs/reference")] {
        for entry in fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "md") {
                pages.push(file);
            }
        }
    }
    pages.sort();
    assert!(pages.len() >= 8, "{pages:?}");
    pages
}

/// Where the links of a page lead that stay within the project.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://"))
}

/// The anchors that a page's headings get: lower case, spaces as dashes, other marks left out.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter_map(|character| match character {
                ' ' => Some('-'),
                '-' | '_' => Some(character),
                other => other.is_alphanumeric().then_some(other),
            });
            kept.collect()
        })
}
