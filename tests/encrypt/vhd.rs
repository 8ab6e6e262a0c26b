//! The VHD that comes out: qemu and Azure's rules accept it.

use std::path::Path;

use crate::conversion::Conversion;
use crate::oracle::Choice;
use crate::support::image::Shape;
use crate::support::workshop::NOW;
use crate::support::{command, disk, files, run};

/// A VHD of so many bytes of disk, as qemu sees it, is what lies before its footer.
#[track_caller]
pub fn is_accepted_by_qemu(image: &Path) {
    let disk_bytes = files::open(image).1 - 512;
    let mut info = command("qemu-img");
    let info = run(info.args(["info", "--output=json", "-f", "vpc"]).arg(image));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], disk_bytes);
    let name = image.display();
    let mut compare = command("qemu-img");
    compare.args(["compare", "--image-opts"]);
    compare.arg(format!("driver=vpc,file.filename={name}"));
    compare.arg(format!("driver=raw,size={disk_bytes},file.filename={name}"));
    assert!(run(&mut compare).contains("Images are identical."));
}

fn footer_of(choice: Choice, shape: Shape) -> (Vec<u8>, u64) {
    let converted = Conversion::new(shape, choice).run();
    let disk_bytes = files::open(&converted.image).1 - 512;
    // The raw view, by cutting the footer off.
    let raw = converted.workshop.path("raw");
    files::copy_file(&converted.image, &raw);
    files::open_to_write(&raw).set_len(disk_bytes).unwrap();
    assert_eq!(
        disk::problems(&raw, converted.judged.table.sector_bytes),
        ""
    );
    (files::read(&converted.image, disk_bytes, 512), disk_bytes)
}

#[test]
fn the_footer_is_what_qemu_and_azure_expect() {
    if !crate::can_judge() {
        return;
    }
    let vhd = Choice {
        to_vhd: true,
        ..Choice::default()
    };
    let mut identifiers = Vec::new();
    for (shape, from_vhd) in [(Shape::Stock, true), (Shape::Demo, false)] {
        let (footer, disk_bytes) = footer_of(Choice { from_vhd, ..vhd }, shape);
        assert_eq!(disk_bytes % (1 << 20), 0);
        assert_eq!(&footer[..16], b"conectix\0\0\0\x02\0\x01\0\0");
        assert_eq!(footer[16..24], [0xff; 8]);
        let seconds = u32::try_from(NOW - 946_684_800).unwrap(); // since 2000
        assert_eq!(footer[24..28], seconds.to_be_bytes());
        assert!([b"win ", b"qem2"].contains(&footer[28..32].try_into().unwrap()));
        assert_eq!(&footer[36..40], b"Wi2k");
        for at in [40, 48] {
            assert_eq!(footer[at..at + 8], disk_bytes.to_be_bytes());
        }
        assert_eq!(footer[60..64], 2_u32.to_be_bytes());
        let sum: u32 = (0..512)
            .filter(|at| !(64..68).contains(at))
            .map(|at| u32::from(footer[at]))
            .sum();
        assert_eq!(footer[64..68], (!sum).to_be_bytes());
        assert!(footer[84..].iter().all(|byte| *byte == 0));
        identifiers.push(footer[68..84].to_vec());
    }
    assert_ne!(
        identifiers[0], identifiers[1],
        "every output has an identifier of its own"
    );
}
