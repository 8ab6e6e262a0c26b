//! The GUIDs that Secure Boot is made of, and what to call them.
//!
//! UEFI 2.10, sections 3.3 (global variables) and 32.4 (signature database); edk2 for its stores and for
//! `SecureBootEnable`; shim for its own. On disk all of them stand in EFI's mixed-endian form, which
//! `Uuid::from_bytes_le` reads.

use uuid::{Uuid, uuid};

/// `EFI_GLOBAL_VARIABLE`: the namespace of PK, KEK, `SecureBoot`.
pub const GLOBAL_VARIABLE: Uuid = uuid!("8be4df61-93ca-11d2-aa0d-00e098032b8c");
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: the namespace of db, dbx.
pub const IMAGE_SECURITY_DATABASE: Uuid = uuid!("d719b2cb-3d3a-4596-a3bc-dad00e67656f");
/// The namespace of shim's variables, and the owner that shim and efitools give to what is theirs.
pub const SHIM_LOCK: Uuid = uuid!("605dab50-e046-4300-abb6-3dd810dd8b23");
/// edk2's namespace of `SecureBootEnable`, the switch in its setup menu.
pub const SECURE_BOOT_ENABLE: Uuid = uuid!("f0a30bc7-af08-4556-99c4-001009c93a44");
/// The owner of what Microsoft puts into a database; Azure gives it to every entry.
pub const MICROSOFT: Uuid = uuid!("77fa9abd-0359-4d32-bd60-28f4e78f784b");
/// The owner of every certificate on the machines of Google Compute Engine, Microsoft's among them.
pub const GOOGLE: Uuid = uuid!("d281fad2-8d88-47a4-9792-5baa47bb1b89");
/// The owner that edk2's `EnrollDefaultKeys` gives to a distribution's own keys.
pub const ENROLL_DEFAULT_KEYS: Uuid = uuid!("a0baa8a3-041d-48a8-bc87-c36d121b5e3d");

/// A name for the owner of an entry; `None` for one that nobody knows.
pub fn owner_name(owner: Uuid) -> Option<&'static str> {
    Some(match owner {
        MICROSOFT => "Microsoft",
        GOOGLE => "Google Compute Engine",
        ENROLL_DEFAULT_KEYS => "edk2 EnrollDefaultKeys",
        GLOBAL_VARIABLE => "EFI global variable",
        SHIM_LOCK => "shim or efitools",
        _ => return None,
    })
}
