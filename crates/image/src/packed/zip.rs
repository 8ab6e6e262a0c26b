//! The image in a ZIP archive: its first member, in the order of the central directory, whose name ends in `.img` or
//! `.vhd`, as the reference has it.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zip::CompressionMethod;
use zip::ZipReadOptions;
use zip::read::Config;
use zip::result::ZipError;
use zip::unstable::read::ZipIterable;

use super::sink::Sink;
use super::{Failure, Input, PackedDefect};

/// Unpacks the image.
pub(super) fn unpack(
    reader: BufReader<&mut Input<'_>>,
    sink: &mut Sink<'_>,
) -> Result<(), Failure> {
    let position = Cell::new(0);
    let reader = Watched {
        reader,
        position: &position,
    };
    // Members are looked at one by one: an archive may have millions of them.
    let mut archive = ZipIterable::try_new(reader, Config::default()).map_err(failure)?;
    let members = archive.files().map_err(failure)?;
    let mut found = None;
    for member in members.by_ref() {
        let member = member.map_err(failure)?;
        let name = member.name_raw();
        if name.ends_with(b".img") || name.ends_with(b".vhd") {
            found = Some(member);
            break;
        }
    }
    let member = found.ok_or(Failure::Defect(PackedDefect::NoMember))?;
    if member.encrypted() {
        return Err(Failure::Defect(PackedDefect::Encrypted));
    }
    match member.compression() {
        CompressionMethod::Stored | CompressionMethod::Deflated | CompressionMethod::Deflate64 => {}
        other => {
            let method = zip_method(other);
            return Err(Failure::Defect(PackedDefect::Method(method)));
        }
    }
    let mut plain = member
        .with_reader(members.reader_mut(), ZipReadOptions::new())
        .map_err(failure)?;
    sink.take(&mut plain, |_| position.get())
        .map_err(|failure| match failure {
            // The words of the crate for its checksum.
            Failure::Read(error) if error.to_string().contains("checksum") => {
                Failure::Defect(PackedDefect::Checksum)
            }
            failure => failure,
        })
}

/// The number of a method in the format.
#[expect(
    deprecated,
    reason = "the only way to the number of a method that is not built in"
)]
fn zip_method(method: CompressionMethod) -> u16 {
    method.to_u16()
}

fn failure(error: ZipError) -> Failure {
    match error {
        ZipError::Io(error) => Failure::Read(error),
        ZipError::InvalidPassword => Failure::Defect(PackedDefect::Encrypted),
        ZipError::CompressionMethodNotSupported(method) => {
            Failure::Defect(PackedDefect::Method(method))
        }
        _ => Failure::Defect(PackedDefect::Damaged),
    }
}

/// A reader that tells how far it was read while others hold it.
struct Watched<'a, 'i, 'f> {
    reader: BufReader<&'i mut Input<'f>>,
    position: &'a Cell<u64>,
}

impl Read for Watched<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position.set(super::position(&self.reader));
        Ok(count)
    }
}

impl Seek for Watched<'_, '_, '_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}
