//! The programs that are signed: a PE file around the machine code of `witness.c`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::pki::{Hash, Workshop};
use crate::process;

const SOURCE: &str = include_str!("witness.c");

/// In the file and in memory at once, so that no program moves what it starts.
const ALIGNMENT: usize = 0x1000;
/// Headers of a PE32+ file with two sections fit.
const HEADERS: usize = 0x200;
/// Where the headers' parts begin: the signature "PE", and behind it the optional header.
const PE: usize = 0x40;
const OPTIONAL: usize = PE + 24;
const CHECKSUM: usize = OPTIONAL + 64;
const CERTIFICATE_TABLE: usize = OPTIONAL + 112 + 4 * 8;
const SECTIONS: usize = OPTIONAL + 112 + 16 * 8;

/// What a program does when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Returns at once, with an error.
    Passes,
    /// Tells what the TPM has seen, and switches the machine off.
    Tells,
}

/// Machine code of a program.
pub fn code(role: Role, folder: &Path) -> Result<Vec<u8>> {
    let (source, code) = (folder.join("witness.c"), folder.join("witness.bin"));
    fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
    let mut compile = process::program("cc");
    compile.args(["-Os", "-Wall", "-ffreestanding", "-nostdlib", "-static-pie"]);
    compile.args(["-fpie", "-fno-toplevel-reorder", "-fno-stack-protector"]);
    compile.args(["-fno-asynchronous-unwind-tables", "-fcf-protection=none"]);
    // Interrupts of firmware use the stack below; vector registers would want it aligned.
    compile.args(["-mno-red-zone", "-mno-sse"]);
    compile.arg("-Wl,--oformat=binary,-Ttext=0,-e,entry,--build-id=none,--no-dynamic-linker");
    if role == Role::Tells {
        compile.arg("-DLAST");
    }
    process::quiet_output(compile.arg(&source).arg("-o").arg(&code))?;
    fs::read(&code).context("the compiler made no machine code")
}

/// A program of this code, without a signature; `label` makes it another one than all others.
pub fn program(code: &[u8], label: &str) -> Vec<u8> {
    let label = label.replace(',', " and");
    let sbat = format!("sbat,1,SBAT Version,sbat,1,none\nwitness,1,Test,{label},1,none\n");
    let sections = [
        (".text", code, 0x6000_0020_u32),
        (".sbat", sbat.as_bytes(), 0x4000_0040),
    ];
    let mut file = vec![0; HEADERS];
    let mut header = Vec::new();
    for (name, content, flags) in sections {
        let at = file.len();
        let memory = (header.len() / 40 + 1) * 2 * ALIGNMENT - ALIGNMENT;
        file.extend(content);
        file.resize(file.len().next_multiple_of(HEADERS), 0);
        let mut entry = name.as_bytes().to_vec();
        entry.resize(8, 0);
        for number in [content.len(), memory, file.len() - at, at, 0, 0, 0] {
            entry.extend(word(number));
        }
        entry.extend(flags.to_le_bytes());
        header.extend(entry);
    }
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &word(PE));
    put(PE, b"PE\0\0\x64\x86\x02\0"); // x86-64, two sections
    // An optional header of 240 bytes; executable, no symbols, large addresses.
    put(PE + 20, &[0xf0, 0, 0x2e, 0]);
    put(OPTIONAL, &[0x0b, 2]);
    put(OPTIONAL + 16, &word(ALIGNMENT)); // entry point
    put(OPTIONAL + 20, &word(ALIGNMENT)); // base of code
    put(OPTIONAL + 32, &word(ALIGNMENT));
    put(OPTIONAL + 36, &word(HEADERS));
    put(OPTIONAL + 56, &word(5 * ALIGNMENT)); // size in memory
    put(OPTIONAL + 60, &word(HEADERS));
    put(OPTIONAL + 68, &[10, 0, 0, 1]); // an EFI application; made for memory that is writable or executable
    put(OPTIONAL + 108, &[16]);
    put(SECTIONS, &header);
    file
}

/// What signatures of a program without any are over.
pub fn digest(workshop: &Workshop, hash: Hash, program: &[u8]) -> Result<Vec<u8>> {
    let parts = [
        &program[..CHECKSUM],
        &program[CHECKSUM + 4..CERTIFICATE_TABLE],
        &program[CERTIFICATE_TABLE + 8..],
    ];
    workshop.digest(hash, &parts.concat())
}

/// The program with this certificate table.
pub fn with_table(program: &[u8], table: &[u8]) -> Vec<u8> {
    let mut file = program.to_vec();
    let place = [word(file.len()), word(table.len())].concat();
    file[CERTIFICATE_TABLE..CERTIFICATE_TABLE + 8].copy_from_slice(&place);
    file.extend(table);
    file
}

fn word(number: usize) -> [u8; 4] {
    u32::try_from(number)
        .expect("BUG: a small program")
        .to_le_bytes()
}
