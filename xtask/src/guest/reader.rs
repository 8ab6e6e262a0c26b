//! Who opens the root volume in the initrd, and what the initrd and the command line need for it.
//!
//! The command line is part of the kernel image, hence of PCR 4, and the image is made before `encrypt` gives the
//! volume its UUID. So each of them finds the root by something that is known before.

use std::path::Path;

use anyhow::Result;

use super::disk::{self, RootType};
use super::initrd::Entry;

/// This file, which is part of what a cached guest depends on.
pub const SOURCE: &str = include_str!("reader.rs");

/// A program of the initrd that gets the key from the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// What Ubuntu's initramfs has: reads the sealed key from the EFI system partition, and finds the volume by
    /// its LUKS label.
    SnapBootstrap,
    /// systemd-cryptsetup, with a line of crypttab that names the partition.
    SystemdByPartition,
    /// systemd-cryptsetup, with a partition that systemd finds by its type alone.
    SystemdByType,
}

/// Opens the root as Ubuntu's initramfs does. That it shows what it says on the console is ours.
const SNAP_BOOTSTRAP_SERVICE: &str = "\
[Unit]
Description=Open the root volume as Ubuntu's initramfs does
DefaultDependencies=no
After=systemd-udevd.service systemd-udev-trigger.service tpm2.target dracut-initqueue.service
Before=sysroot.mount initrd-root-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/snap-bootstrap initramfs-mounts
StandardOutput=journal+console
StandardError=journal+console
# Under `quiet` it says nothing else of what it opened.
Environment=SNAPD_DEBUG=1
";

/// snap-bootstrap mounts the root where Ubuntu's initramfs looks for it.
const SYSROOT_MOUNT: &str = "\
[Unit]
DefaultDependencies=no
Requires=snap-bootstrap.service
After=snap-bootstrap.service
Before=initrd-root-fs.target

[Mount]
What=/run/mnt/data
Where=/sysroot
Type=none
Options=bind
";

/// The reasons that systemd-cryptsetup gives go to the journal alone; here they show on the console as well, even
/// under `quiet`.
const REASONS: (&str, &str) = (
    "etc/systemd/system/systemd-cryptsetup@.service.d/console.conf",
    "[Service]\nEnvironment=SYSTEMD_LOG_TARGET=console\nStandardError=journal+console\n",
);

impl Reader {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::SnapBootstrap,
        Self::SystemdByPartition,
        Self::SystemdByType,
    ];

    /// A word for file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::SnapBootstrap => "snap-bootstrap",
            Self::SystemdByPartition => "systemd-by-partition",
            Self::SystemdByType => "systemd-by-type",
        }
    }

    /// What the initrd has beside what dracut put there. `boot` holds the guest's own parts.
    pub fn initrd(self, boot: &Path, snap_bootstrap: &Path) -> Result<Vec<Entry>> {
        match self {
            Self::SnapBootstrap => Ok(vec![
                Entry::program("usr/bin/snap-bootstrap", snap_bootstrap)?,
                Entry::program("usr/bin/systemd-mount", &boot.join("systemd-mount"))?,
                Entry::text(
                    "etc/systemd/system/snap-bootstrap.service",
                    SNAP_BOOTSTRAP_SERVICE,
                ),
                Entry::text("etc/systemd/system/sysroot.mount", SYSROOT_MOUNT),
                Entry::link(
                    "etc/systemd/system/initrd-root-fs.target.requires/sysroot.mount",
                    "../sysroot.mount",
                ),
                // dracut gives up without a root on the command line.
                Entry::text(
                    "var/lib/dracut/hooks/cmdline/99-snap-bootstrap.sh",
                    "root=/run/mnt/data\nrootok=1\n",
                ),
            ]),
            Self::SystemdByPartition => Ok(vec![
                Entry::text(REASONS.0, REASONS.1),
                Entry::text(
                    "etc/crypttab",
                    &format!(
                        "cloudimg-rootfs PARTUUID={} - tpm2-device=auto,headless=yes,x-initrd.attach\n",
                        disk::unique_guid(1)
                    ),
                ),
            ]),
            Self::SystemdByType => Ok(vec![Entry::text(REASONS.0, REASONS.1)]),
        }
    }

    /// What it needs on the command line.
    pub fn command_line(self) -> &'static str {
        match self {
            Self::SnapBootstrap => "snapd_recovery_mode=cloudimg-rootfs systemd.gpt_auto=no",
            Self::SystemdByPartition => "root=LABEL=cloudimg-rootfs ro",
            Self::SystemdByType => "root=gpt-auto ro",
        }
    }

    /// The type of the root's partition.
    pub fn root_type(self) -> RootType {
        match self {
            Self::SnapBootstrap | Self::SystemdByPartition => RootType::LinuxData,
            Self::SystemdByType => RootType::SystemdRoot,
        }
    }
}
