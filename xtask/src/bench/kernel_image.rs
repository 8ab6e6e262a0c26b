//! A program as long as a unified kernel image is, of which only the length matters: it never starts.

/// What shim wants of a program that it loads.
const SBAT: &[u8] =
    b"sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n\
                      bench,1,bench,bench,1,none\n";
const HEADERS_BYTES: usize = 512;
const ALIGNMENT: usize = 512;
const DOS_BYTES: usize = 0x40;
const DIRECTORIES: usize = 16;

/// A PE32+ program of about `len_bytes` bytes, nearly all of them in its section `.linux`.
pub fn kernel_image(len_bytes: usize) -> Vec<u8> {
    let mut kernel = vec![0; len_bytes];
    // Any bytes that do not repeat; a cheap generator is enough.
    let mut state = 0x9e37_79b9_u32;
    for byte in &mut kernel {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = state.to_le_bytes()[0];
    }
    let sections = [(*b".sbat\0\0\0", SBAT), (*b".linux\0\0", &kernel)];
    let mut table = Vec::new();
    let mut content = Vec::new();
    for (name, data) in sections {
        let padded = data.len().next_multiple_of(ALIGNMENT);
        let start = HEADERS_BYTES + content.len();
        table.extend(name);
        // Size and place in memory, then in the file.
        let address = 0x1000 + content.len().next_multiple_of(0x1000);
        table.extend([data.len(), address, padded, start].map(long).concat());
        table.extend([0; 12]);
        table.extend(0x4000_0040_u32.to_le_bytes()); // initialised data, readable
        content.extend(data);
        content.resize(content.len().next_multiple_of(ALIGNMENT), 0);
    }

    let optional_bytes = 112 + DIRECTORIES * 8;
    let mut program = b"MZ".to_vec();
    program.resize(0x3c, 0);
    program.extend(long(DOS_BYTES));
    program.extend(b"PE\0\0");
    program.extend([0x8664, 2].map(word).concat()); // x86-64, two sections
    program.extend([0; 12]);
    program.extend([optional_bytes, 0x22].map(word).concat());
    let optional = program.len();
    program.extend(word(0x20b));
    program.resize(optional + 32, 0);
    program.extend([0x1000, ALIGNMENT].map(long).concat()); // alignment in memory and in the file
    program.resize(optional + 56, 0);
    let image_bytes = 0x2000 + content.len().next_multiple_of(0x1000);
    program.extend([image_bytes, HEADERS_BYTES].map(long).concat());
    program.resize(optional + 68, 0);
    program.extend(word(10)); // an EFI application
    program.resize(optional + 108, 0);
    program.extend(long(DIRECTORIES));
    program.resize(optional + optional_bytes, 0);
    program.extend(table);
    program.resize(HEADERS_BYTES, 0);
    program.extend(content);
    program
}

fn long(number: usize) -> [u8; 4] {
    u32::try_from(number)
        .expect("BUG: a program has less than 4 GiB")
        .to_le_bytes()
}

fn word(number: usize) -> [u8; 2] {
    u16::try_from(number)
        .expect("BUG: a header's field is short")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_the_length_that_was_asked_for() {
        let program = kernel_image(100_000);
        assert_eq!(program.len(), HEADERS_BYTES + 512 + 100_352);
        assert_eq!(program[HEADERS_BYTES..][..SBAT.len()], *SBAT);
    }
}
