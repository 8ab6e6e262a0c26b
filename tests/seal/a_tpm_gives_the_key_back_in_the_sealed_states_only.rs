//! Files of ours on a software TPM, with tpm2-tools alone.

use std::fs;
use std::path::Path;

use base::secret::SecretBytes;
use tpm::{Bank, SrkFile, StorageParent, UniqueData, composite};

use crate::support::tpm::{PROGRAMS, Tpm};
use crate::support::{exits, programs, run, scratch};
use crate::{key, profile, sealed};

/// Digests that a boot extends into its PCRs: one a PCR and branch.
fn digest(pcr: u32, branch: u8) -> [u8; 32] {
    let mut digest = [branch; 32];
    digest[0] = u8::try_from(pcr).unwrap();
    digest
}

/// The composite of the PCRs after one extend each.
fn composite_of(pcrs: &[u8], branch: u8) -> Vec<u8> {
    let values: Vec<Vec<u8>> = pcrs
        .iter()
        .map(|pcr| Bank::Sha256.extend(&Bank::Sha256.zero(), &digest(u32::from(*pcr), branch)))
        .collect();
    composite(values.iter().map(Vec::as_slice))
}

fn boot(tpm: &Tpm, pcrs: &[u8], branch: u8) {
    for pcr in pcrs {
        let pcr = u32::from(*pcr);
        tpm.extend(pcr, &hex::encode(digest(pcr, branch)));
    }
}

fn srk(file: &Path) -> StorageParent {
    match SrkFile::read(&fs::read(file).unwrap()).unwrap() {
        SrkFile::PublicArea(parent) => parent,
        SrkFile::KeyAlone(_) => panic!("a public area"),
    }
}

/// Asserts that the TPM refuses the file, at a `PolicyOR` for other PCR values.
#[track_caller]
fn refused(tpm: &Tpm, file: &Path, at: &str) {
    let said = tpm.unseal(file).unwrap_err();
    assert!(said.contains(&format!("error: {at} failed")), "{said}");
}

const PCRS: [u8; 3] = [4, 7, 12];

fn attempt(arguments: &[&str], branches: u8) {
    let folder = scratch();
    let folder = folder.path();
    let original = folder.join("tpm");
    let public = folder.join("srk.pub");
    let tpm = Tpm::start(&original);
    tpm.make_srk(arguments, &public);
    tpm.stop();

    let composites: Vec<_> = (0..branches)
        .map(|branch| composite_of(&PCRS, branch))
        .collect();
    let key: SecretBytes = key(16);
    let file = folder.join("sealed-key");
    fs::write(
        &file,
        sealed(&srk(&public), &profile(&PCRS, &composites), &key),
    )
    .unwrap();

    let mut copies = 0;
    let mut fresh = || {
        copies += 1;
        Tpm::start_copy(&original, &folder.join(format!("copy{copies}")))
    };
    for branch in [0, branches - 1] {
        let tpm = fresh();
        boot(&tpm, &PCRS, branch);
        assert_eq!(tpm.unseal(&file).unwrap(), key.expose(), "branch {branch}");
    }
    refused(&fresh(), &file, "tpm2_policyor"); // PCRs at reset
    for pcr in PCRS {
        let tpm = fresh();
        boot(&tpm, &PCRS, 0);
        tpm.extend(u32::from(pcr), &hex::encode([9; 32]));
        refused(&tpm, &file, "tpm2_policyor");
    }
    // Another TPM, in the very same state.
    let other = Tpm::start(&folder.join("other"));
    other.make_srk(arguments, &folder.join("other.pub"));
    boot(&other, &PCRS, 0);
    refused(&other, &file, "tpm2_import");
}

#[test]
fn an_rsa_key_and_one_branch() {
    if programs(&PROGRAMS) {
        attempt(&["-G", "rsa2048"], 1);
    }
}

#[test]
fn an_ecc_key_and_ten_branches() {
    if programs(&PROGRAMS) {
        attempt(&["-G", "ecc"], 10);
    }
}

#[test]
fn an_rsa_key_with_aes_256_and_nine_branches() {
    if programs(&PROGRAMS) {
        attempt(&["-G", "rsa2048:aes256cfb"], 9);
    }
}

#[test]
fn the_template_makes_the_same_storage_root_key_in_the_tpm() {
    if !programs(&PROGRAMS) {
        return;
    }
    let folder = scratch();
    let folder = folder.path();
    let tpm = Tpm::start(&folder.join("tpm"));
    let unique = folder.join("unique");
    // As tpm2-tools take it: the length is little-endian.
    fs::write(&unique, [&[0, 1][..], &[0x5a; 256]].concat()).unwrap();
    let mut of_ecc = vec![0; 260];
    (of_ecc[0], of_ecc[130]) = (32, 32);
    of_ecc[2..34].fill(0x5b);
    of_ecc[132..164].fill(0x5c);
    let ecc_unique = folder.join("ecc-unique");
    fs::write(&ecc_unique, of_ecc).unwrap();
    for (algorithm, unique) in [
        ("rsa2048", None),
        ("ecc", None),
        ("rsa2048", Some(&unique)),
        ("ecc", Some(&ecc_unique)),
    ] {
        let made = folder.join("made.pub");
        let context = folder.join("made.ctx");
        let mut create = tpm.tool("tpm2_createprimary");
        create.args(["-G", algorithm, "-c"]).arg(&context);
        if let Some(unique) = unique {
            create.arg("-u").arg(unique);
        }
        run(&mut create);
        run(tpm
            .tool("tpm2_readpublic")
            .arg("-c")
            .arg(&context)
            .arg("-o")
            .arg(&made));
        tpm.flush_objects();
        let parent = srk(&made);
        let unique = unique.map_or_else(
            || UniqueData::none(parent.kind()),
            |file| {
                UniqueData::read(&fs::read(file).unwrap(), parent.kind())
                    .unwrap()
                    .0
            },
        );
        let template = folder.join("template");
        fs::write(&template, parent.template(&unique).unwrap()).unwrap();
        assert_eq!(primary_name(&tpm, &template), parent.name().to_string());
        tpm.flush_objects();
    }
}

/// The name of the primary key that the TPM makes from a template (`TPM2_CreatePrimary`, as bytes).
fn primary_name(tpm: &Tpm, template: &Path) -> String {
    let script = "\
import struct, sys, socket
area = open(sys.argv[2], 'rb').read()
password = struct.pack('>IIHBH', 9, 0x40000009, 0, 0, 0)
sensitive = struct.pack('>HHH', 4, 0, 0)
body = struct.pack('>I', 0x40000001) + password + sensitive + area + struct.pack('>HI', 0, 0)
command = struct.pack('>HII', 0x8002, 10 + len(body), 0x131) + body
tpm = socket.socket(socket.AF_UNIX)
tpm.connect(sys.argv[1])
while True:
    tpm.sendall(command)
    answer = tpm.recv(4096)
    code = struct.unpack('>I', answer[6:10])[0]
    if code != 0x922:
        break
assert code == 0, hex(code)
at = 10 + 4 + 4
def sized():
    global at
    length = struct.unpack('>H', answer[at:at + 2])[0]
    at += 2 + length
    return answer[at - length:at]
public, creation, creation_hash = sized(), sized(), sized()
at += 6  # tag and hierarchy of the ticket
sized()
print(sized().hex())
";
    let mut python = tpm.tool("python3");
    python.args(["-c", script]).arg(tpm.socket()).arg(template);
    let output = exits(&mut python, 0);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
