//! A deploy reads and writes what it needs, whatever the size of the image.

use crate::encrypted::{Encrypted, FLAGS, ready};
use crate::support::programs;
use crate::support::trace::Trace;
use crate::support::workshop::stderr;

#[test]
fn bytes_read_do_not_grow_with_the_image() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let boot_files: usize = encrypted.esp().files().values().map(Vec::len).sum();
    let options = [
        "-s",
        "0",
        "-e",
        "trace=read,pread64,readv,preadv,mmap,pwrite64",
    ];
    let arguments = [&["deploy"], &FLAGS[..], &["disk.img"]].concat();
    let program = encrypted.workshop.program();
    let (trace, output) = Trace::of(&encrypted.workshop, &options, &program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let reads = trace.reads(&encrypted.image);
    let read: u64 = reads.iter().map(|range| range.end - range.start).sum();
    let written: u64 = trace
        .calls()
        .filter(|call| call.name == "pwrite64" && call.arguments.contains("/disk.img>"))
        .map(|call| call.result.parse::<u64>().unwrap())
        .sum();
    // Boot files, header copies, a keyslot, the allocation table: some of them more than once.
    let most = 2 * boot_files as u64 + (12 << 20);
    assert!(read < most, "{read} bytes read, {boot_files} of boot files");
    assert!(written < 2 << 20, "{written} bytes written");
    assert!(reads.len() < 40_000, "{} reads", reads.len());
    println!(
        "{read} bytes in {} reads, {written} bytes written",
        reads.len()
    );
}
