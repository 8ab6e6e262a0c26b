//! The command lines, as data for the parser.
//!
//! Long options are spelled as in the reference; ours follow the same grammar. An option given twice:
//! the last one wins. An empty value (`--output=`) counts as not given.

use std::path::PathBuf;

use clap::builder::styling::Styles;
use clap::{Args, Parser, ValueEnum};
use uuid::Uuid;

use super::parse;
use crate::provision::{self, Datasources};

const STYLES: Styles = Styles::styled();

/// What every program says of how it ends.
const EXIT_STATUS: &str =
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage. Warnings do not change it.";

/// Encrypt cloud images and bind them to one guest's vTPM
///
/// `encrypt` turns a plain image into one whose root partition is a LUKS2 container; its key lies in clear
/// in the container's header, so that encrypted images can be kept in a pool. `deploy` binds such an image
/// to one guest. Everything happens in files, as an ordinary user.
#[derive(Debug, Parser)]
#[command(name = "encrypt-cloud-image", version, styles = STYLES, args_override_self = true)]
#[command(propagate_version = true, max_term_width = 100)]
pub struct EncryptCloudImage {
    /// Tell more about what is done
    ///
    /// The whole plan as `--dry-run` shows it, and what the steps took, on standard error.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    Encrypt(Encrypt),
    Deploy(Box<Deploy>),
    Predict(Predict),
}

/// Encrypt the root partition of a plain cloud image
///
/// SOURCE is a raw disk image or a VHD with a GPT, an ext4 root partition and an EFI system
/// partition. It is read once; the output appears under its name only when it is complete. Until `deploy`
/// has run, the key is in the image: keep it as you keep plain images.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub struct Encrypt {
    /// Image to encrypt
    #[arg(value_parser = parse::image_path())]
    pub source: PathBuf,

    /// Write the encrypted image here instead of replacing SOURCE
    ///
    /// Without this option SOURCE is converted into an unnamed file beside it, which replaces it when it
    /// is complete.
    #[arg(short, long, value_name = "FILE", value_parser = parse::image_path())]
    pub output: Option<PathBuf>,

    /// Replace the output file if there is one
    ///
    /// The old file stays as it is until the new one is complete. A symbolic link stays, and the file that
    /// it leads to is replaced.
    #[arg(long, requires = "output")]
    pub overwrite: bool,

    /// Format of the output; default: by its extension, else that of the source
    ///
    /// The extensions .img and .raw stand for raw, .vhd for vhd. The disk in a VHD becomes a multiple of
    /// 1 MiB.
    #[arg(long, value_name = "FORMAT")]
    pub output_format: Option<Format>,

    /// Show what would be done, and write nothing
    ///
    /// The source is read and checked as in a real run. Too little room for the output is a warning.
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub guest: Guest,

    #[command(flatten)]
    pub layout: LayoutOptions,

    #[command(flatten)]
    pub partitions: Partitions,

    /// Threads that read, encrypt and write; default: one for each processor
    ///
    /// The output does not depend on their number, but for its random keys.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Advanced")]
    pub threads: Option<u16>,

    /// What becomes of blocks that the filesystem does not use
    ///
    /// `encrypt` writes them as encrypted zeros, so that nobody can tell used blocks from free ones.
    #[arg(
        long,
        value_name = "WAY",
        default_value = "encrypt",
        help_heading = "Advanced"
    )]
    pub free_space: FreeSpace,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Changes inside of the image")]
pub struct Guest {
    /// Whose habits the image has
    ///
    /// `ubuntu` labels the container for Ubuntu's initramfs, masks a service that would change the guest's dbx, and
    /// gives cloud-init a key to grow the root with. `generic` does none of that: for guests whose initrd systemd runs,
    /// which `deploy --key-object systemd-tpm2` binds. `auto` goes by /etc/os-release in the image.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub profile: Profile,

    /// Replace EFI/ubuntu/grubx64.efi on the EFI system partition
    ///
    /// FILE is what shim loads, usually a unified kernel image. It is checked to be a PE file that fits.
    #[arg(long, value_name = "FILE")]
    pub kernel_efi: Option<PathBuf>,

    /// Restrict cloud-init to these datasources, separated by commas
    ///
    /// A guest believes what its datasource says, users and keys included. An image without cloud-init is
    /// refused.
    #[arg(long, value_name = "LIST")]
    pub override_datasources: Option<Datasources>,

    /// Grow the root partition now, and switch growing off in the guest
    ///
    /// The partition then reaches to the end of the disk, or to the next partition. Without this option
    /// cloud-init grows it at the first boot: under the profile `ubuntu` with a key of its own in keyslot 10
    /// that it removes afterwards.
    #[arg(long)]
    pub grow_root: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Layout")]
pub struct LayoutOptions {
    /// Where the 16 MiB for the LUKS2 header come from
    ///
    /// `auto` takes what the partition has, else free space behind it, else makes the disk larger.
    /// `shrink` needs the program resize2fs, and writes the plain filesystem into an unnamed temporary.
    #[arg(long, value_name = "WAY", default_value = "auto")]
    pub make_room: MakeRoom,

    /// Sector size of the LUKS2 container in bytes
    ///
    /// `auto` is that of the disk. 4096 on a disk of 512-byte sectors needs --grow-root: a guest that
    /// grows its partition by itself could not open it any more.
    #[arg(long, value_name = "BYTES", default_value = "auto")]
    pub sector_size: SectorSize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Choice of partitions")]
pub struct Partitions {
    /// Unique GUID of the root partition, where it cannot be told by its type
    ///
    /// Both partitions are named, or none. `sgdisk -i NUMBER` shows a partition's unique GUID.
    #[arg(long, value_name = "GUID", requires = "efi_partition_uuid")]
    pub root_partition_uuid: Option<Uuid>,

    /// Unique GUID of the EFI system partition
    #[arg(
        long,
        value_name = "GUID",
        alias = "esp-partition-uuid",
        requires = "root_partition_uuid"
    )]
    pub efi_partition_uuid: Option<Uuid>,
}

/// Bind an encrypted image to one guest's vTPM
///
/// Seals the disk key to the guest's SRK and to the PCR values that its boot will have, puts the sealed key on
/// the EFI system partition or into the LUKS2 header, and removes the clear key from that. SOURCE is changed in place in an
/// order that survives a crash, or a copy of it with --output. Images deployed from copies of one encrypted
/// image share its volume key: whoever kept that image opens them all.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("policy").required(true).multiple(true).args([
    "add_efi_boot_manager_profile", "add_efi_secure_boot_profile", "add_ubuntu_kernel_profile", "no_pcr_policy",
]))]
pub struct Deploy {
    /// Encrypted image to deploy
    #[arg(value_parser = parse::image_path())]
    pub source: PathBuf,

    /// Deploy a copy that is written here, and leave SOURCE as it is
    ///
    /// The copy shares its blocks with SOURCE where the file system can, and is sparse elsewhere. It has never
    /// held the clear key.
    #[arg(short, long, value_name = "FILE", value_parser = parse::image_path(), help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Replace the output file if there is one
    #[arg(long, requires = "output", help_heading = "Output")]
    pub overwrite: bool,

    /// Show what would be done, and write nothing
    #[arg(long, conflicts_with = "print", help_heading = "Output")]
    pub dry_run: bool,

    /// Write what was done as JSON, to - for standard output
    ///
    /// Its form is docs/schemas/deploy-report-1.json. No secret is in it. The whole image is read for its digests.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    #[command(flatten)]
    pub key_object: KeyObjectOptions,

    #[command(flatten)]
    pub srk: SrkOptions,

    #[command(flatten)]
    pub firmware: Firmware,

    #[command(flatten)]
    pub profiles: Profiles,

    /// Seal to the vTPM alone, in whatever state it is
    ///
    /// Everything that runs on the guest can then ask for the key.
    #[arg(long, help_heading = "PCRs", conflicts_with_all = [
        "add_efi_boot_manager_profile", "add_efi_secure_boot_profile", "add_ubuntu_kernel_profile", "firmware",
        "bind_pcr11", "bind_pcr15",
    ])]
    pub no_pcr_policy: bool,

    #[command(flatten)]
    pub recovery: RecoveryOptions,

    #[command(flatten)]
    pub partitions: Partitions,

    #[command(flatten)]
    pub rules: Rules,
}

/// The storage root key of the guest's vTPM.
#[derive(Debug, Args)]
#[command(next_help_heading = "SRK")]
pub struct SrkOptions {
    /// Public area of the guest's SRK
    ///
    /// As `tpm2_readpublic -o` writes it (`TPM2B_PUBLIC`), or `TPMT_PUBLIC`; a public key in PEM or DER only
    /// together with --standard-srk-template.
    #[arg(long, value_name = "FILE")]
    pub srk_pub: PathBuf,

    /// The guest makes its SRK by the standard template
    ///
    /// No template is written, and one that lies there is removed. A plain `tpm2_createprimary` makes another
    /// SRK.
    #[arg(long, conflicts_with = "srk_template_unique_data")]
    pub standard_srk_template: bool,

    /// Unique data that the guest's SRK was made with
    ///
    /// As the TPM marshals it, or as `tpm2_createprimary -u` takes it.
    #[arg(long, value_name = "FILE")]
    pub srk_template_unique_data: Option<PathBuf>,

    /// How systemd's reader gets at the SRK; only with --key-object systemd-tpm2
    ///
    /// `derived`: it makes the key again by its legacy template, as `tpm2_createprimary -C o` with `-G ecc` or without
    /// does; nothing has to lie in the TPM. `persistent`: the guest must have the key at --srk-handle before its root
    /// is opened. `auto` derives where the public area allows it and no unique data are given.
    #[arg(long, value_name = "MODE")]
    pub srk_mode: Option<SrkMode>,

    /// Where the SRK lies in the guest's TPM; default: 0x81000001
    #[arg(long, value_name = "HANDLE", value_parser = parse::persistent_handle)]
    pub srk_handle: Option<u32>,
}

/// Who reads the key in the guest, and what was measured until then.
#[derive(Debug, Args)]
#[command(next_help_heading = "Key object")]
pub struct KeyObjectOptions {
    /// What carries the key to the guest
    ///
    /// systemd 255 or later opens `systemd-tpm2` in the guest's initrd, or the one of RHEL 9.4 or later. PCR 12 then
    /// has no epoch: it is zero.
    #[arg(long, value_name = "KIND", default_value = "secboot")]
    pub key_object: KeyObject,

    /// Whether the initrd has systemd-pcrosseparator, of systemd 261
    ///
    /// It extends PCR 4, 7 and 12 before the root is opened. `both` seals each way to boot twice; `auto` is `no` where
    /// every systemd-stub on the EFI system partition is older, else `both`.
    #[arg(long, value_name = "CHOICE")]
    pub os_separator: Option<OsSeparator>,

    /// PCR 11: the sections of the unified kernel image, until its initrd begins
    ///
    /// The running system cannot unseal then. Every new kernel image needs a new deploy, also one with the same
    /// signature. Refused where a kernel on the EFI system partition is no unified kernel image.
    #[arg(long, help_heading = "PCRs")]
    pub bind_pcr11: bool,

    /// PCR 15: that no volume was opened yet
    ///
    /// It closes only where the guest measures its volume keys: a root that is found by its partition type is
    /// measured, one of /etc/crypttab or the kernel's command line needs the option `tpm2-measure-pcr=yes`.
    #[arg(long, help_heading = "PCRs")]
    pub bind_pcr15: bool,

    /// Take PCR 12 as zero although files lie there that systemd-stub measures
    ///
    /// Addons and credentials below loader, and directories named after a kernel image with `.extra.d`.
    #[arg(long, help_heading = "Advanced")]
    pub allow_extra_measurements: bool,
}

impl KeyObjectOptions {
    /// The first of the options that only systemd's reader has, where it is not the one that was asked for.
    pub fn out_of_place(&self) -> Option<&'static str> {
        let given = [
            (self.os_separator.is_some(), "--os-separator"),
            (self.bind_pcr11, "--bind-pcr11"),
            (self.bind_pcr15, "--bind-pcr15"),
            (self.allow_extra_measurements, "--allow-extra-measurements"),
        ];
        self.only_for_systemd(&given)
    }

    /// The first option that is given, where the key object is not systemd's.
    pub fn only_for_systemd(&self, given: &[(bool, &'static str)]) -> Option<&'static str> {
        if self.key_object == KeyObject::SystemdTpm2 {
            return None;
        }
        given
            .iter()
            .find(|(is_given, _)| *is_given)
            .map(|(_, option)| *option)
    }

    /// Who reads the key.
    pub fn reader(&self) -> provision::predict::Reader {
        match self.key_object {
            KeyObject::Secboot => provision::predict::Reader::SnapBootstrap,
            KeyObject::SystemdTpm2 => provision::predict::Reader::Systemd {
                separator: self.os_separator.unwrap_or(OsSeparator::Auto).into(),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyObject {
    /// A file on the EFI system partition, for Ubuntu's initramfs
    Secboot,
    /// Tokens in the LUKS2 header, for systemd-cryptsetup
    #[value(name = "systemd-tpm2")]
    SystemdTpm2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SrkMode {
    /// Derived where it can be
    Auto,
    /// It lies in the TPM
    Persistent,
    /// It is made again
    Derived,
}

impl From<SrkMode> for provision::deploy::SrkMode {
    fn from(mode: SrkMode) -> Self {
        match mode {
            SrkMode::Auto => Self::Auto,
            SrkMode::Persistent => Self::Persistent,
            SrkMode::Derived => Self::Derived,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OsSeparator {
    /// As the versions of systemd-stub tell
    Auto,
    /// It does not run
    No,
    /// It runs
    Yes,
    /// Either way
    Both,
}

impl From<OsSeparator> for provision::predict::Separator {
    fn from(separator: OsSeparator) -> Self {
        match separator {
            OsSeparator::Auto => Self::Auto,
            OsSeparator::No => Self::No,
            OsSeparator::Yes => Self::Yes,
            OsSeparator::Both => Self::Both,
        }
    }
}

/// Where the recovery key comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recovery key")]
#[command(group = clap::ArgGroup::new("recovery").args(["recovery_key_file", "recovery_key_text", "recovery_key_out"]))]
pub struct RecoveryOptions {
    /// Let the 16 bytes in this file open the disk, too
    #[arg(long, value_name = "FILE")]
    pub recovery_key_file: Option<PathBuf>,

    /// Let the key with these digits open the disk, too
    ///
    /// Other users of this machine may see arguments; a file is safer.
    #[arg(long, value_name = "DIGITS")]
    pub recovery_key_text: Option<RecoveryText>,

    /// Make a recovery key, and write its 16 bytes to this new file
    #[arg(long, value_name = "FILE")]
    pub recovery_key_out: Option<PathBuf>,

    /// Print the digits of the new recovery key to standard output
    #[arg(long, requires = "recovery_key_out")]
    pub print: bool,
}

/// Digits of a recovery key, which no message shows.
#[derive(Clone)]
pub struct RecoveryText(pub zeroize::Zeroizing<String>);

impl std::fmt::Debug for RecoveryText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryText")
    }
}

impl std::str::FromStr for RecoveryText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(zeroize::Zeroizing::new(text.to_owned())))
    }
}

/// Predict the PCR values of a guest before its first boot
///
/// Prints the events that a guest measures when it boots, and the values of its PCR 4, 7 and 12 that they
/// lead to: one branch for each kernel. Give what the guest boots (IMAGE, --esp or --chain) and what its
/// firmware holds. `deploy` seals to the same values. Taken as absent are a machine owner key, an `SbatLevel` newer than
/// shim's own, option ROMs, and a command line from outside of the kernel image: --explain finds them in a guest's log.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("boot files").required(true).args(["image", "esp", "chain"]))]
pub struct Predict {
    /// Image whose EFI system partition has the boot files, plain or encrypted
    pub image: Option<PathBuf>,

    /// Directory with the files of an EFI system partition, in place of an image
    #[arg(long, value_name = "DIR", help_heading = "Boot files")]
    pub esp: Option<PathBuf>,

    /// Programs that are loaded one after the other, in place of those found
    ///
    /// One program alone is what firmware starts by itself, a unified kernel image for instance; two are
    /// shim and what it loads. Can be given several times, for several ways to boot.
    #[arg(long, value_name = "FILE[,FILE...]", action = clap::ArgAction::Append, help_heading = "Boot files")]
    pub chain: Vec<Chain>,

    /// Unique GUID of the EFI system partition, where it cannot be told by its type
    #[arg(
        long,
        value_name = "GUID",
        alias = "esp-partition-uuid",
        requires = "image",
        help_heading = "Boot files"
    )]
    pub efi_partition_uuid: Option<Uuid>,

    #[command(flatten)]
    pub key_object: KeyObjectOptions,

    #[command(flatten)]
    pub firmware: Firmware,

    #[command(flatten)]
    pub profiles: Profiles,

    /// Print one JSON document (docs/schemas/predict-1.json) and nothing else
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Compare with a guest's event log, and tell where it differs and why
    ///
    /// LOG is the guest's `/sys/kernel/security/tpm0/binary_bios_measurements`. The branch that fits best is
    /// shown event by event, with the likely cause of each difference; exit status 0 where the guest measured
    /// what was predicted, 1 where it did not. What the running system extends is in no such log.
    #[arg(long, value_name = "LOG", help_heading = "Output")]
    pub explain: Option<PathBuf>,

    /// Write a branch as a TCG2 event log, as `tpm2_eventlog` reads it
    ///
    /// The epoch of PCR 12, which no guest logs, stands in it as `EV_IPL`.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub tcg_log: Option<PathBuf>,

    /// Which branch --tcg-log writes, by its number in the table
    #[arg(long, value_name = "N", requires = "tcg_log", help_heading = "Output")]
    pub branch: Option<usize>,

    /// Bank of the values
    ///
    /// Keys are sealed to SHA-256; the other bank is for readers of its PCRs.
    #[arg(
        long,
        value_name = "BANK",
        default_value = "sha256",
        help_heading = "Advanced"
    )]
    pub bank: Bank,

    #[command(flatten)]
    pub rules: Rules,
}

/// What describes a guest's firmware.
#[derive(Debug, Args)]
#[command(next_help_heading = "Firmware")]
#[command(group = clap::ArgGroup::new("firmware").args(["uefi_config", "ovmf_vars", "az_disk_profile", "efivars"]))]
pub struct Firmware {
    /// The guest's variables, as create-uefi-config writes them
    #[arg(long, value_name = "FILE")]
    pub uefi_config: Option<PathBuf>,

    /// Variable store of edk2's firmware, raw or qcow2: `OVMF_VARS*.fd`
    #[arg(long, value_name = "FILE")]
    pub ovmf_vars: Option<PathBuf>,

    /// Azure's description of a disk or an image version, in JSON
    #[arg(long, value_name = "FILE")]
    pub az_disk_profile: Option<PathBuf>,

    /// This machine's variables, or a copy of the directory efivars
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = provision::uefi_config::EFIVARFS)]
    pub efivars: Option<PathBuf>,

    /// Firmware that does not measure the call of the boot option
    ///
    /// For sources that do not tell; --uefi-config does.
    #[arg(long)]
    pub omits_ready_to_boot_signal: bool,
}

/// The PCRs that are asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "PCRs")]
pub struct Profiles {
    /// PCR 4: the programs that are booted
    #[arg(long)]
    pub add_efi_boot_manager_profile: bool,

    /// PCR 7: the Secure Boot databases, and what authorised the programs
    #[arg(long)]
    pub add_efi_secure_boot_profile: bool,

    /// PCR 12: that Ubuntu's initial ramdisk has not finished
    ///
    /// For --key-object systemd-tpm2: that nothing was handed to systemd-stub but what is in the kernel image.
    #[arg(long)]
    pub add_ubuntu_kernel_profile: bool,
}

impl Profiles {
    /// True where one of them is given.
    pub fn any(&self) -> bool {
        self.add_efi_boot_manager_profile
            || self.add_efi_secure_boot_profile
            || self.add_ubuntu_kernel_profile
    }

    /// The same as a value, with the PCRs that only systemd's reader has; none of the flags is none of the PCRs.
    pub fn profile(&self, key_object: &KeyObjectOptions) -> provision::predict::Profile {
        provision::predict::Profile {
            sections: key_object.bind_pcr11,
            volume_key: key_object.bind_pcr15,
            boot_manager: self.add_efi_boot_manager_profile,
            secure_boot: self.add_efi_secure_boot_profile,
            kernel: self.add_ubuntu_kernel_profile,
        }
    }
}

/// Which rules a prediction follows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Advanced")]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub struct Rules {
    /// Whether Secure Boot is on in the guest
    #[arg(long, value_name = "STATE", default_value = "on")]
    pub secure_boot: SecureBoot,

    /// Answer as another program does where this one differs
    #[arg(long, value_name = "PROGRAM")]
    pub compat: Option<Compat>,

    /// Predict boot files whose signatures do not verify
    ///
    /// A guest under Secure Boot refuses to start them. Names of certificates then decide what is measured.
    #[arg(long)]
    pub no_verify_signatures: bool,

    /// Predict boot files that dbx or shim's own list forbids
    #[arg(long)]
    pub ignore_dbx: bool,

    /// Predict boot files that shim refuses for their section .sbat
    #[arg(long)]
    pub ignore_sbat: bool,

    /// Predict a shim without a kernel
    #[arg(long)]
    pub allow_no_kernel: bool,
}

impl Rules {
    /// The same as a value.
    pub fn rules(&self) -> provision::predict::Rules {
        let base = match self.compat {
            Some(Compat::Reference) => provision::predict::Rules::reference(),
            None => provision::predict::Rules::firmware(),
        };
        provision::predict::Rules {
            secure_boot: self.secure_boot == SecureBoot::On,
            verify_signatures: base.verify_signatures && !self.no_verify_signatures,
            obey_dbx: base.obey_dbx && !self.ignore_dbx,
            obey_sbat: base.obey_sbat && !self.ignore_sbat,
            allow_no_kernel: base.allow_no_kernel || self.allow_no_kernel,
            ..base
        }
    }
}

/// Programs, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(pub Vec<PathBuf>);

impl std::str::FromStr for Chain {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let paths: Vec<_> = text.split(',').map(PathBuf::from).collect();
        if paths.iter().any(|path| path.as_os_str().is_empty()) {
            return Err("a file's name is missing");
        }
        Ok(Self(paths))
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Bank {
    /// What keys are sealed to
    Sha256,
    /// For readers of the other bank
    Sha384,
}

impl From<Bank> for provision::predict::Bank {
    fn from(bank: Bank) -> Self {
        match bank {
            Bank::Sha256 => Self::Sha256,
            Bank::Sha384 => Self::Sha384,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Profile {
    /// What /etc/os-release in the image tells
    Auto,
    /// Ubuntu's, and that of an image without os-release
    Ubuntu,
    /// Those of others
    Generic,
}

impl From<Profile> for provision::ProfileChoice {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Auto => Self::Auto,
            Profile::Ubuntu => Self::Ubuntu,
            Profile::Generic => Self::Generic,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// The disk's bytes and nothing else
    Raw,
    /// Fixed VHD, as Azure takes it
    Vhd,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum MakeRoom {
    /// As it is, else grow, else extend
    Auto,
    /// Make the disk 16 MiB larger
    Extend,
    /// Take free space behind the partition
    Grow,
    /// Shrink the filesystem with resize2fs
    Shrink,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SectorSize {
    /// That of the disk
    Auto,
    /// Always possible
    #[value(name = "512")]
    Bytes512,
    /// For whole 4 KiB blocks
    #[value(name = "4096")]
    Bytes4096,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum FreeSpace {
    /// Write them as encrypted zeros
    Encrypt,
}

impl From<Format> for provision::DiskFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Raw => Self::Raw,
            Format::Vhd => Self::FixedVhd,
        }
    }
}

impl From<MakeRoom> for provision::MakeRoom {
    fn from(make_room: MakeRoom) -> Self {
        match make_room {
            MakeRoom::Auto => Self::Auto,
            MakeRoom::Extend => Self::Extend,
            MakeRoom::Grow => Self::Grow,
            MakeRoom::Shrink => Self::Shrink,
        }
    }
}

impl From<SectorSize> for provision::SectorSizeChoice {
    fn from(sector_size: SectorSize) -> Self {
        match sector_size {
            SectorSize::Auto => Self::Auto,
            SectorSize::Bytes512 => Self::Fixed(provision::SectorSize::S512),
            SectorSize::Bytes4096 => Self::Fixed(provision::SectorSize::S4096),
        }
    }
}

/// Write down what a guest's firmware has in PK, KEK, db and dbx
///
/// The file is what `deploy` and `predict` take as --uefi-config. It must describe the guest that the image
/// is for: PCR 7 hashes the four variables byte for byte. Give one source; what it holds is printed, and what
/// will bite. AWS's uefi-data is not read in this version; run --efivars inside of an instance instead.
#[derive(Debug, Parser)]
#[command(name = "create-uefi-config", version, styles = STYLES, args_override_self = true)]
#[command(max_term_width = 100, after_long_help = EXIT_STATUS)]
#[command(override_usage = "create-uefi-config --out FILE \
                      <--in DIR | --ovmf-vars FILE | --efivars [DIR] | --az-disk-profile FILE> [OPTIONS]")]
pub struct CreateUefiConfig {
    #[command(flatten)]
    pub source: UefiSource,

    /// Write the configuration here; a file that is there is replaced
    #[arg(short, long = "out", value_name = "FILE", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Firmware that does not measure the call of the boot option
    ///
    /// It leaves "Calling EFI Application from Boot Option" out, the first event of PCR 4. edk2 and Azure
    /// do measure it.
    #[arg(long, help_heading = "Output")]
    pub omits_ready_to_boot_signal: bool,

    /// Write the four contents to files PK, KEK, db and dbx, too
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub save_databases: Option<PathBuf>,

    /// Whether Secure Boot is on in the guest
    ///
    /// `off` takes a source that says so, or that holds no variable at all, which is refused otherwise.
    #[arg(
        long,
        value_name = "STATE",
        default_value = "on",
        help_heading = "Advanced"
    )]
    pub secure_boot: SecureBoot,

    /// Owner of certificates whose file does not tell one
    ///
    /// PCR 7 measures the owner. It is taken from names like db-GUID-NAME.pem; certificates that Microsoft
    /// publishes have Microsoft's.
    #[arg(long, value_name = "GUID", help_heading = "Advanced")]
    pub certificate_owner: Option<Uuid>,

    /// Answer as another program does where this one differs
    #[arg(long, value_name = "PROGRAM", help_heading = "Advanced")]
    pub compat: Option<Compat>,

    #[arg(hide = true)]
    pub surplus: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct UefiSource {
    /// Directory of PK.esl, KEK-*.esl, db-*.esl and dbx-*.esl
    ///
    /// The files of a variable are put together in the order of the bytes of their names. Certificates
    /// (.pem, .crt, .cer, .der) and signed updates (.auth) of the same names are read as well.
    #[arg(short, long = "in", value_name = "DIR", action = clap::ArgAction::Append)]
    pub input: Vec<PathBuf>,

    /// Variable store of edk2's firmware, raw or qcow2: `OVMF_VARS*.fd`
    ///
    /// The guest must be shut down. A store of `AAVMF` (Arm) is read as well, and an image of code and
    /// variables together.
    #[arg(long, value_name = "FILE")]
    pub ovmf_vars: Option<PathBuf>,

    /// This machine's variables, or a copy of the directory efivars
    ///
    /// Without DIR the variables of the machine that this program runs on are read.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = provision::uefi_config::EFIVARFS)]
    pub efivars: Option<PathBuf>,

    /// Azure's description of a disk or an image version, in JSON
    ///
    /// Of a disk: `signatureMode` Replace. Of an image version of a compute gallery: the template
    /// `NoSignatureTemplate`. Others build upon signatures whose bytes only the service has.
    #[arg(long, value_name = "FILE")]
    pub az_disk_profile: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SecureBoot {
    /// The firmware starts signed programs only
    On,
    /// The firmware starts everything
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compat {
    /// Canonical's encrypt-cloud-image 1.0.1
    Reference,
}

/// Print a recovery key as the digits that are typed at a guest's prompt
///
/// FILE holds the 16 raw bytes of the key. The output is eight groups of five digits.
#[derive(Debug, Parser)]
#[command(name = "print-recovery-key", version, styles = STYLES)]
#[command(max_term_width = 100, after_long_help = EXIT_STATUS)]
pub struct PrintRecoveryKey {
    /// Key file, or - for standard input
    pub file: PathBuf,
}
