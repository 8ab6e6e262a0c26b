//! Where firmware took a program or a driver from, as `UEFI_IMAGE_LOAD_EVENT` tells.
//!
//! TCG PC Client Platform Firmware Profile 1.05, section 10.2.3:
//!
//! | offset | size | name |
//! | --- | --- | --- |
//! | 0 | 8 | address in memory |
//! | 8 | 8 | length in memory |
//! | 16 | 8 | address that it is linked for |
//! | 24 | 8 | length of the device path in bytes |
//! | 32 | … | device path |
//!
//! A loader that has the program in its memory logs no path, and some write bytes of no meaning behind the length 0, as
//! the logs of shim 15 show.

use super::text::plain;
use firmware::device_path::{self, AMI_SHELL, Node, QEMU_KERNEL_LOADER, STUB_PAYLOAD};

/// Bytes in front of the device path, its length included.
const FIXED_BYTES: usize = 32;

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file, by its path.
    File(String),
    /// The firmware itself, by a device path.
    Firmware(String),
    /// Read-only memory of a PCI device, by a device path.
    OptionRom(String),
    /// A file that QEMU gives to firmware, by its name.
    Qemu(String),
    /// The kernel inside of a unified kernel image, which its stub hands to firmware.
    Payload,
    /// Any other place, by its device path.
    Device(String),
    /// The memory of a loader.
    Memory,
}

impl Origin {
    /// What `UEFI_IMAGE_LOAD_EVENT` says.
    pub fn read(event: &[u8]) -> Self {
        let nodes = path(event).and_then(device_path::parse);
        let nodes = nodes.unwrap_or_default();
        let text = || plain(&device_path::text(&nodes));
        let is_firmware = |node: &Node| match node {
            Node::FirmwareFile(_) | Node::FirmwareVolume(_) => true,
            Node::Other(text) => text.starts_with("MemoryMapped"),
            _ => false,
        };
        let is_in_firmware = nodes.iter().any(is_firmware);
        let is_pci = nodes.iter().any(|node| matches!(node, Node::Pci { .. }));
        match (device_path::file(&nodes), nodes.as_slice()) {
            (Some(file), [Node::VendorMedia(QEMU_KERNEL_LOADER), ..]) => Self::Qemu(plain(&file)),
            (Some(file), _) => Self::File(plain(&file)),
            (None, []) => Self::Memory,
            (None, [.., Node::VendorMedia(STUB_PAYLOAD)]) => Self::Payload,
            (None, [.., Node::VendorMedia(AMI_SHELL)]) => {
                Self::Firmware(format!("{} (the built-in shell)", text()))
            }
            (None, _) if is_in_firmware => Self::Firmware(text()),
            (None, [.., Node::Offset(..)]) if is_pci => Self::OptionRom(text()),
            (None, _) => Self::Device(text()),
        }
    }

    /// The program as a sentence names it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Device(path) => path.clone(),
            Self::Firmware(path) => format!("{path} in the firmware"),
            Self::OptionRom(path) => format!("{path} in an option ROM"),
            Self::Qemu(name) => format!("{name} of QEMU's option -kernel"),
            Self::Payload => "the kernel inside of a unified kernel image".to_owned(),
            Self::Memory => "a program from memory that has no path".to_owned(),
        }
    }

    /// The same where it is called a program or a driver before.
    pub fn described(&self) -> String {
        match self {
            Self::Payload => "inside of a unified kernel image: its kernel".to_owned(),
            Self::Memory => "from memory, without a path".to_owned(),
            _ => self.name(),
        }
    }

    /// The last part of a file's path, in lower case.
    pub fn file_name(&self) -> Option<String> {
        match self {
            Self::File(path) => path.rsplit('\\').next().map(str::to_ascii_lowercase),
            _ => None,
        }
    }

    /// True for the path of shim's fallback loader: `fbx64.efi`, `fbaa64.efi`, and so on.
    pub fn is_fallback(&self) -> bool {
        let name = self.file_name().unwrap_or_default();
        name.strip_suffix(".efi")
            .is_some_and(|name| ["fbx64", "fbia32", "fbaa64", "fbarm", "fbriscv64"].contains(&name))
    }

    /// True for a path that shim is found under, by its own name or as the loader of a removable disk, and for
    /// what came from the network.
    pub fn may_be_shim(&self) -> bool {
        match self {
            Self::Device(path) => ["/IPv4", "/IPv6", "/Uri("]
                .iter()
                .any(|node| path.contains(node)),
            _ => self
                .file_name()
                .is_some_and(|name| name.starts_with("shim") || name.starts_with("boot")),
        }
    }
}

/// The device path, as long as the event says that it is.
fn path(event: &[u8]) -> Option<&[u8]> {
    let (fixed, path) = event.split_at_checked(FIXED_BYTES)?;
    let len = u64::from_le_bytes(*fixed.last_chunk()?);
    path.get(..usize::try_from(len).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn event(claimed: usize, path: &[u8]) -> Vec<u8> {
        [&[0; 24], &(claimed as u64).to_le_bytes()[..], path].concat()
    }

    fn of(path: &[u8]) -> Origin {
        Origin::read(&event(path.len(), path))
    }

    const FILE: [u8; 12] = [4, 4, 8, 0, b'\\', 0, b'a', 0, 0x7f, 0xff, 4, 0];

    fn node(kind: u8, subtype: u8, data: &[u8]) -> Vec<u8> {
        let len = u8::try_from(data.len() + 4).unwrap();
        [&[kind, subtype, len, 0], data].concat()
    }

    #[test]
    fn the_length_in_the_event_says_where_the_path_ends() {
        let file = Origin::File("\\a".to_owned());
        assert_eq!(of(&FILE), file);
        // RHEL's shim 15 logs eight more bytes than the length says; others count bytes behind the end.
        let padded = [&FILE[..], &[0; 8]].concat();
        assert_eq!(Origin::read(&event(FILE.len(), &padded)), file);
        assert_eq!(of(&padded), file);
        // shim 15 on the kernel that GRUB gives it.
        let garbage = [&[0][..], b"p&\0\0\x80&\0\x94"].concat();
        assert_eq!(Origin::read(&event(0, &garbage)), Origin::Memory);
        assert_eq!(Origin::read(&event(0, &FILE)), Origin::Memory);
        // What claims more than is there, or ends before its length, has no path that one can trust.
        assert_eq!(Origin::read(&event(13, &FILE)), Origin::Memory);
        assert_eq!(Origin::read(&[0; 31]), Origin::Memory);
        assert_eq!(Origin::read(&event(0, &[])), Origin::Memory);
    }

    #[test]
    fn places_without_a_file_are_told_apart() {
        let guid = |guid: Uuid| guid.to_bytes_le();
        let root = node(2, 1, &[0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0]);
        let offset = node(4, 8, &[0; 20]);
        let pci = node(1, 1, &[0, 2]);
        let volume = node(4, 7, &guid(STUB_PAYLOAD));
        let name = |path: &[Vec<u8>]| of(&path.concat()).name();
        assert_eq!(of(&node(4, 3, &guid(STUB_PAYLOAD))), Origin::Payload);
        let qemu = [node(4, 3, &guid(QEMU_KERNEL_LOADER)), FILE.to_vec()];
        assert_eq!(name(&qemu), "\\a of QEMU's option -kernel");
        assert_eq!(
            name(&[volume, node(4, 6, &guid(QEMU_KERNEL_LOADER))]),
            "Fv(55c5d1f8-04cd-46b5-8a20-e56cbb3052d0)/FvFile(1428f772-b64a-441e-b8c3-9ebdd7f893c7) in the firmware"
        );
        assert_eq!(
            name(&[root.clone(), pci.clone(), offset.clone()]),
            "PciRoot(0x0)/Pci(0x2,0x0)/Offset(0x0,0x0) in an option ROM"
        );
        assert_eq!(name(&[offset]), "Offset(0x0,0x0)");
        assert_eq!(
            name(&[root, pci, node(3, 12, &[0; 23])]),
            "PciRoot(0x0)/Pci(0x2,0x0)/IPv4"
        );
    }

    #[test]
    fn shims_are_known_by_their_files() {
        let file = |path: &str| Origin::File(path.to_owned());
        for path in [
            "\\EFI\\BOOT\\BOOTX64.EFI",
            "\\EFI\\fedora\\shimx64.efi",
            "\\EFI\\ubuntu\\shim.efi.signed",
        ] {
            assert!(file(path).may_be_shim(), "{path}");
        }
        for path in [
            "\\EFI\\systemd\\systemd-bootx64.efi",
            "\\EFI\\debian\\grubx64.efi",
        ] {
            assert!(!file(path).may_be_shim(), "{path}");
        }
        assert!(file("\\EFI\\BOOT\\fbx64.efi").is_fallback());
        assert!(!file("\\EFI\\BOOT\\fbx64.efi\\a").is_fallback());
    }
}
