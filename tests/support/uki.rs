//! Unified kernel images without code: headers and the sections that one wants.

const ALIGNMENT: u32 = 512;
const OPTIONAL_BYTES: u16 = 240;

/// A section: name (8 bytes at most), content, and how many zeros follow in memory that the file does not hold.
pub type Section<'a> = (&'a str, &'a [u8], u32);

/// What `.sdmagic` says for a version of systemd-stub.
pub fn magic(version: &str) -> Vec<u8> {
    format!("#### LoaderInfo: systemd-stub {version} ####\0").into_bytes()
}

/// The image: PE32+ for x86-64, unsigned.
pub fn image(sections: &[Section<'_>]) -> Vec<u8> {
    let count = u16::try_from(sections.len()).unwrap();
    let mut headers = vec![0; 0x40];
    headers[..2].copy_from_slice(b"MZ");
    headers[0x3c..].copy_from_slice(&0x40_u32.to_le_bytes());
    headers.extend(b"PE\0\0");
    headers.extend([0x64, 0x86]);
    headers.extend(count.to_le_bytes());
    headers.extend([0; 12]); // time, symbols
    headers.extend(OPTIONAL_BYTES.to_le_bytes());
    headers.extend([0x22, 0]); // executable, large addresses
    let headers_bytes = (headers.len() + usize::from(OPTIONAL_BYTES) + 40 * sections.len())
        .next_multiple_of(ALIGNMENT as usize);
    let mut optional = vec![0; usize::from(OPTIONAL_BYTES)];
    optional[..2].copy_from_slice(&0x20b_u16.to_le_bytes());
    let mut put = |at: usize, value: u32| {
        optional[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    put(32, 0x1000); // section alignment
    put(36, ALIGNMENT);
    put(60, u32::try_from(headers_bytes).unwrap());
    put(68, 10); // EFI application
    put(108, 16); // directories
    headers.extend(optional);
    let mut data = Vec::new();
    let mut address = 0x1000_u32;
    for (name, content, zeros) in sections {
        let content_bytes = u32::try_from(content.len()).unwrap();
        let virtual_bytes = content_bytes + zeros;
        // Padding of the file lies behind the content where nothing more is in memory.
        let raw_bytes = if *zeros == 0 {
            content_bytes.next_multiple_of(ALIGNMENT)
        } else {
            content_bytes
        };
        let start = u32::try_from(headers_bytes + data.len()).unwrap();
        let mut field = [0; 8];
        field[..name.len()].copy_from_slice(name.as_bytes());
        headers.extend(field);
        for value in [virtual_bytes, address, raw_bytes, start] {
            headers.extend(value.to_le_bytes());
        }
        headers.extend([0; 12]);
        headers.extend(0x4000_0040_u32.to_le_bytes());
        data.extend_from_slice(content);
        // What a reader must not hash with the section.
        data.resize(data.len().next_multiple_of(ALIGNMENT as usize), 0xee);
        address += virtual_bytes.next_multiple_of(0x1000);
    }
    headers.resize(headers_bytes, 0);
    headers.extend(data);
    headers
}
