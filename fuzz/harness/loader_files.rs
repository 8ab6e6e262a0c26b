//! What loaders read beside programs, and the name that is built into a shim: the same bytes are each of them.

use firmware::{LoaderEntry, fallback, shim};

pub fn run(input: &[u8]) -> bool {
    let entries = fallback::boot_entries(input);
    for entry in &entries {
        assert!(!entry.program.is_empty());
        for field in [&entry.program, &entry.label, &entry.options] {
            assert!(!field.contains([',', '\r', '\n', '\0']));
        }
        if let Some(second) = fallback::second_program(&entry.options) {
            assert!(entry.options.starts_with(second) && !second.contains(' '));
        }
        // What is written as it was read is read as it was.
        let line = format!("{},{},{}\n", entry.program, entry.label, entry.options);
        let line: Vec<u8> = line.encode_utf16().flat_map(u16::to_le_bytes).collect();
        if !entry.program.starts_with('\u{feff}') {
            assert_eq!(fallback::boot_entries(&line), std::slice::from_ref(entry));
        }
    }
    let entry = LoaderEntry::parse(input);
    if let Some(entry) = &entry {
        assert!(!entry.program.is_empty() && !entry.program.contains('\n'));
        assert_ne!(entry.options.as_deref(), Some(""));
    }
    let built_in = shim::built_in_loader(input);
    if let Some(name) = &built_in {
        assert!(name.to_ascii_lowercase().ends_with(".efi") && !name.contains('\\'));
    }
    !entries.is_empty() || entry.is_some() || built_in.is_some()
}
