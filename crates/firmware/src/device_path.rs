//! Device paths: where firmware took a program from.
//!
//! UEFI 2.10, section 10.3 (nodes) and 10.6.1 (their text). A node is its type, its subtype, its length with these four
//! bytes (little-endian) and its data; the path ends at the node *End Entire Device Path* (0x7f, 0xff), whatever stands
//! behind it. A node that is not spelled out below is shown as `Path(type,subtype,data)`, as the specification has it.
//!
//! A path comes from a guest's log: its texts are not fit for a terminal as they stand.

use std::fmt;

use uuid::{Uuid, uuid};

use super::utf16;

/// What systemd's stub puts into the path of the kernel that it hands to firmware.
pub const STUB_PAYLOAD: Uuid = uuid!("55c5d1f8-04cd-46b5-8a20-e56cbb3052d0");
/// The files that QEMU gives to firmware with `-kernel`, as edk2 calls the place.
pub const QEMU_KERNEL_LOADER: Uuid = uuid!("1428f772-b64a-441e-b8c3-9ebdd7f893c7");

/// The shell in the firmware of AMI, as the boot entries of machines with it show.
pub const AMI_SHELL: Uuid = uuid!("5023b95c-db26-429b-a648-bd47664c8012");

/// `PNP0A03` and `PNP0A08`, as ACPI packs them: roots of PCI and of PCI Express.
const PCI_ROOTS: [u32; 2] = [0x0a03_41d0, 0x0a08_41d0];

/// A node of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file, or a part of its path.
    File(String),
    /// A file in a firmware volume, by its name.
    FirmwareFile(Uuid),
    /// A firmware volume.
    FirmwareVolume(Uuid),
    /// A vendor's own medium.
    VendorMedia(Uuid),
    /// A part of what the nodes before lead to, by its first and last byte: an option ROM, where that is a PCI device.
    Offset(u64, u64),
    /// A function of a PCI device.
    Pci {
        /// Number of the device.
        device: u8,
        /// Number of the function.
        function: u8,
    },
    /// Any other node, by its text.
    Other(String),
}

/// Reads a path up to its end; `None` for one whose nodes do not fit into `bytes`.
pub fn parse(bytes: &[u8]) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    let mut rest = bytes;
    while let [kind, subtype, low, high, behind @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).checked_sub(4)?;
        let (data, behind) = behind.split_at_checked(len)?;
        if (*kind, *subtype) == (0x7f, 0xff) {
            return Some(nodes);
        }
        nodes.push(node(*kind, *subtype, data));
        rest = behind;
    }
    // Some firmware leaves the last node out.
    rest.is_empty().then_some(nodes)
}

/// The path of a file: its nodes' texts, with one backslash between them.
pub fn file(nodes: &[Node]) -> Option<String> {
    let parts = nodes.iter().filter_map(|node| match node {
        Node::File(part) => Some(part.as_str()),
        _ => None,
    });
    let joined = parts.fold(String::new(), |mut path, part| {
        let (ends, begins) = (path.ends_with('\\'), part.starts_with('\\'));
        if !path.is_empty() && !ends && !begins {
            path.push('\\');
        }
        path.push_str(if ends {
            part.trim_start_matches('\\')
        } else {
            part
        });
        path
    });
    Some(joined).filter(|path| !path.is_empty())
}

/// The text of a path, its nodes separated by slashes.
pub fn text(nodes: &[Node]) -> String {
    let nodes: Vec<_> = nodes.iter().map(Node::to_string).collect();
    nodes.join("/")
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Other(path) => formatter.write_str(path),
            Self::FirmwareFile(name) => write!(formatter, "FvFile({name})"),
            Self::FirmwareVolume(name) => write!(formatter, "Fv({name})"),
            Self::VendorMedia(name) => write!(formatter, "VenMedia({name})"),
            Self::Offset(first, last) => write!(formatter, "Offset({first:#x},{last:#x})"),
            Self::Pci { device, function } => write!(formatter, "Pci({device:#x},{function:#x})"),
        }
    }
}

/// Little-endian numbers at places of a node's data; zero where they are not.
struct NodeData<'a>(&'a [u8]);

impl NodeData<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let field = self.0.get(at..).and_then(<[u8]>::first_chunk);
        field.copied().unwrap_or([0; N])
    }

    fn byte(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.bytes(at))
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    fn long(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn quad(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    fn guid(&self, at: usize) -> Uuid {
        Uuid::from_bytes_le(self.bytes(at))
    }
}

fn node(kind: u8, subtype: u8, data: &[u8]) -> Node {
    let field = NodeData(data);
    let other = match (kind, subtype, data.len()) {
        (1, 1, 2) => {
            return Node::Pci {
                device: field.byte(1),
                function: field.byte(0),
            };
        }
        (4, 3, 16..) => return Node::VendorMedia(field.guid(0)),
        (4, 4, _) => return Node::File(utf16::until_nul(data)),
        (4, 6, 16) => return Node::FirmwareFile(field.guid(0)),
        (4, 7, 16) => return Node::FirmwareVolume(field.guid(0)),
        (4, 8, 20) => return Node::Offset(field.quad(4), field.quad(12)),
        (1, 3, 20) => {
            let (kind, first, last) = (field.long(0), field.quad(4), field.quad(12));
            format!("MemoryMapped({kind:#x},{first:#x},{last:#x})")
        }
        (1, 4, 16..) => format!("VenHw({})", field.guid(0)),
        (2, 1, 8) if PCI_ROOTS.contains(&field.long(0)) => format!("PciRoot({:#x})", field.long(4)),
        (2, 1, 8) => format!("Acpi({:#010x},{:#x})", field.long(0), field.long(4)),
        (3, 2, 4) => format!("Scsi({:#x},{:#x})", field.word(0), field.word(2)),
        (3, 5, 2) => format!("USB({:#x},{:#x})", field.byte(0), field.byte(1)),
        (3, 10, 16..) => format!("VenMsg({})", field.guid(0)),
        (3, 11, 33) => format!(
            "MAC({},{:#x})",
            hex::encode(field.bytes::<6>(0)),
            field.byte(32)
        ),
        (3, 12, 15..) => "IPv4".to_owned(),
        (3, 13, 35..) => "IPv6".to_owned(),
        (3, 18, 6) => {
            let (port, multiplier, unit) = (field.word(0), field.word(2), field.word(4));
            format!("Sata({port:#x},{multiplier:#x},{unit:#x})")
        }
        (3, 23, 12) => format!("NVMe({:#x})", field.long(0)),
        (3, 24, _) => format!("Uri({})", String::from_utf8_lossy(data)),
        (4, 1, 38) => partition(&field),
        (4, 2, 20) => format!("CDROM({:#x})", field.long(0)),
        _ => format!("Path({kind},{subtype},{})", hex::encode(data)),
    };
    Node::Other(other)
}

/// A partition: its number, and what it is known by.
fn partition(field: &NodeData<'_>) -> String {
    let number = field.long(0);
    match field.byte(37) {
        2 => format!("HD({number},GPT,{})", field.guid(20)),
        1 => format!("HD({number},MBR,{:#010x})", field.long(20)),
        _ => format!("HD({number})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: [u8; 4] = [0x7f, 0xff, 4, 0];

    fn bytes(kind: u8, subtype: u8, data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(data.len() + 4).unwrap().to_le_bytes();
        [&[kind, subtype, len[0], len[1]], data].concat()
    }

    fn name(path: &str) -> Vec<u8> {
        let units = path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        bytes(4, 4, &units.collect::<Vec<_>>())
    }

    fn shown(nodes: &[Vec<u8>]) -> String {
        text(&parse(&[nodes.concat(), END.to_vec()].concat()).unwrap())
    }

    /// Texts as `efibootmgr -v` and `ls` in edk2's shell show such paths.
    #[test]
    fn a_path_is_spelled_as_the_specification_spells_it() {
        let root = bytes(2, 1, &[0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0]);
        let disk = [
            root.clone(),
            bytes(1, 1, &[0, 3]),
            bytes(3, 2, &[1, 0, 0, 0]),
            bytes(
                4,
                1,
                &[
                    &[15, 0, 0, 0],
                    &[0; 16][..],
                    &STUB_PAYLOAD.to_bytes_le(),
                    &[2, 2],
                ]
                .concat(),
            ),
            name("\\EFI\\BOOT\\BOOTX64.EFI"),
        ];
        assert_eq!(
            shown(&disk),
            "PciRoot(0x0)/Pci(0x3,0x0)/Scsi(0x1,0x0)/HD(15,GPT,55c5d1f8-04cd-46b5-8a20-e56cbb3052d0)/\\EFI\\BOOT\\BOOTX64.EFI"
        );
        let guid = QEMU_KERNEL_LOADER.to_bytes_le();
        let firmware = [bytes(4, 7, &guid), bytes(4, 6, &guid)];
        assert_eq!(
            shown(&firmware),
            "Fv(1428f772-b64a-441e-b8c3-9ebdd7f893c7)/FvFile(1428f772-b64a-441e-b8c3-9ebdd7f893c7)"
        );
        let rom = [
            &[0; 4],
            &0xa000_u64.to_le_bytes()[..],
            &0xafff_u64.to_le_bytes(),
        ]
        .concat();
        assert_eq!(
            shown(&[root, bytes(4, 8, &rom)]),
            "PciRoot(0x0)/Offset(0xa000,0xafff)"
        );
        assert_eq!(shown(&[bytes(9, 8, &[1, 2])]), "Path(9,8,0102)");
        // A node that is too short for its type has no other text either.
        assert_eq!(shown(&[bytes(4, 6, &[1])]), "Path(4,6,01)");
    }

    #[test]
    fn what_stands_behind_the_end_is_no_part_of_the_path() {
        let file = [name("\\a"), END.to_vec(), vec![0; 8]].concat();
        assert_eq!(parse(&file), Some(vec![Node::File("\\a".to_owned())]));
        assert_eq!(
            parse(&name("\\a")),
            Some(vec![Node::File("\\a".to_owned())])
        );
        assert_eq!(parse(&[]), Some(Vec::new()));
    }

    #[test]
    fn nodes_that_do_not_fit_are_no_path() {
        for wrong in [
            &[4, 4, 3, 0][..],
            &[4, 4, 9, 0, 0, 0],
            &[4, 4, 255, 255],
            &[4],
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
            assert_eq!(parse(&[&name("\\a"), wrong].concat()), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_parts_of_a_files_path_are_joined_by_one_backslash() {
        let joined = |parts: &[&str]| {
            let nodes: Vec<_> = parts
                .iter()
                .map(|part| Node::File((*part).to_owned()))
                .collect();
            file(&nodes)
        };
        let expected = Some("\\EFI\\a.efi".to_owned());
        for parts in [
            ["\\EFI", "a.efi"],
            ["\\EFI\\", "a.efi"],
            ["\\EFI", "\\a.efi"],
            ["\\EFI\\", "\\a.efi"],
        ] {
            assert_eq!(joined(&parts), expected);
        }
        assert_eq!(joined(&[]), None);
    }
}
