#!/usr/bin/env python3
"""Makes the seeds and the bases of ext4 and FAT anew, by the programs that make such files in life.

Needs cryptsetup, sgdisk, sfdisk, mke2fs, debugfs, mkfs.vfat, mtools, qemu-img, sbsiglist and sbvarsign (sbsigntool),
openssl and the package ovmf. What is here was made on Debian 12; another version makes other bytes, which serve as well.
"""

import base64
import json
import os
import struct
import subprocess
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
CERTIFICATES = HERE.parent.parent / "tests/data/certificates"
NIL = "00112233-4455-4677-8899-aabbccddeeff"


def run(*command, text=None, **more):
    subprocess.run(command, check=True, input=text, text=True, stdout=subprocess.DEVNULL, **more)


def sparse(data, options=0, unit=32, erased=b"\0", length=None):
    """The form that harness/sparse.rs reads: pieces of what is not erased."""
    out = bytearray(struct.pack("<BQ", options, len(data) if length is None else length))
    blank = erased * unit
    start = None
    for at in range(0, len(data) + unit, unit):
        piece = data[at : at + unit]
        is_data = bool(piece) and piece != blank[: len(piece)]
        if is_data and start is None:
            start = at
        if start is not None and (not is_data or at - start >= 4096):
            run_bytes = data[start:at].rstrip(erased)
            out += struct.pack("<IH", start, len(run_bytes)) + run_bytes
            start = at if is_data else None
    return bytes(out)


def save(target, name, data):
    (HERE / target).mkdir(exist_ok=True)
    (HERE / target / name).write_bytes(data)


def disk(folder, length):
    path = folder / "disk"
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.truncate(length)
    return path


def gpt(folder):
    path = disk(folder, 512 * 1024)
    run("sgdisk", f"--disk-guid={NIL}", "--new=14:40:63", "--typecode=14:ef02", "--new=15:64:127", "--typecode=15:ef00",
        "--new=1:128:0", "--change-name=1:root", *(f"--partition-guid={n}:{NIL}" for n in (1, 14, 15)), path)
    usual = path.read_bytes()
    save("gpt", "sgdisk", sparse(usual, 3))
    save("gpt", "sgdisk-appended", sparse(usual + bytes(4096), 1))
    save("gpt", "sgdisk-short", sparse(usual[: -40 * 512], 1))
    broken = bytearray(usual)
    broken[512 + 16] ^= 1
    save("gpt", "sgdisk-bad-primary", sparse(bytes(broken), 0))
    broken = bytearray(usual)
    broken[-512 + 16] ^= 1
    save("gpt", "sgdisk-bad-backup", sparse(bytes(broken), 0))
    run("sgdisk", "--hybrid=1:EE", path)
    save("gpt", "sgdisk-hybrid", sparse(path.read_bytes(), 1))
    path = disk(folder, 512 * 1024)
    run("sfdisk", path, text=f"label: gpt\nlabel-id: {NIL}\ntable-length: 8\nfirst-lba: 34\nstart=64, size=100, uuid={NIL}\n")
    save("gpt", "sfdisk-short-table", sparse(path.read_bytes(), 1))
    path = disk(folder, 64 * 1024)
    run("sfdisk", path, text="label: dos\nlabel-id: 0x12345678\nstart=10, size=100\n")
    save("gpt", "sfdisk-mbr", sparse(path.read_bytes(), 0))
    return usual


def vhd(folder, table):
    raw = folder / "raw"
    raw.write_bytes(table)
    save("vhd", "raw", sparse(table, 0))
    for name, form, options in [
        ("fixed", "vpc", "subformat=fixed,force_size=on"),
        ("fixed-by-geometry", "vpc", "subformat=fixed"),
        ("dynamic", "vpc", "subformat=dynamic"),
        ("vhdx", "vhdx", "subformat=dynamic"),
        ("qcow2", "qcow2", "compat=1.1"),
        ("vmdk", "vmdk", "subformat=monolithicSparse"),
        ("vdi", "vdi", "static=off"),
    ]:
        path = folder / name
        run("qemu-img", "convert", "-f", "raw", "-O", form, "-o", options, raw, path)
        with open(path, "rb") as file:
            data = file.read()
        if name.startswith("fixed"):
            save("vhd", name, sparse(data, 1))
        else:
            start = data[:512] + bytes(len(data) - 1024) + data[-512:]
            save("vhd", name, sparse(start, 4))
    save("vhd", "empty", sparse(b""))
    for name, start in [("gzip", b"\x1f\x8b\x08\0"), ("zip", b"PK\x03\x04"), ("xz", b"\xfd7zXZ\0"), ("zstd", b"\x28\xb5\x2f\xfd")]:
        save("vhd", name, sparse(start + bytes(1020), 4))


def probe():
    for name, offset, magic in [
        ("luks1", 0, b"LUKS\xba\xbe\0\1"), ("luks2", 0, b"LUKS\xba\xbe\0\2"), ("secondary", 0x4000, b"SKUL\xba\xbe"),
        ("xfs", 0, b"XFSB"), ("squashfs", 0, b"hsqs"), ("ext", 0x438, b"\x53\xef"), ("btrfs", 0x10040, b"_BHRfS_M"),
        ("erofs", 0x400, b"\xe2\xe1\xf5\xe0"), ("lvm", 0x218, b"LVM2 001"),
    ]:
        piece = struct.pack("<BQIH", 0, offset + len(magic), offset, len(magic)) + magic
        save("probe", name, piece)


def luks2(folder):
    key = folder / "key"
    key.write_bytes(b"test only")
    path = folder / "luks"
    for name, options in [
        ("pbkdf2", ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--label=label"]),
        ("argon2id", ["--pbkdf=argon2id", "--pbkdf-force-iterations=4", "--pbkdf-memory=32", "--pbkdf-parallel=1",
                      "--sector-size=4096"]),
        ("sha512", ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--hash=sha512", "--key-size=256"]),
    ]:
        path.unlink(missing_ok=True)
        with open(path, "wb") as file:
            file.truncate(2 << 20)
        run("cryptsetup", "luksFormat", "--type=luks2", "--batch-mode", "--disable-locks", "--luks2-metadata-size=16k",
            "--luks2-keyslots-size=516096", "--offset=2048", f"--uuid={NIL}", *options, path, key)
        if name == "pbkdf2":
            run("cryptsetup", "luksAddKey", "--disable-locks", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000",
                f"--key-file={key}", path, key, "--new-key-slot=10")
            token = '{"type":"ubuntu-fde-unsealed-key"' if False else '{"type":"test","keyslots":["0"],"note":"x"}'
            run("cryptsetup", "token", "import", "--disable-locks", "--token-id=0", path, text=token)
        data = path.read_bytes()
        text = data[4096:16384].rstrip(b"\0")
        save("luks2_metadata", name, text)
        # The primary alone, its copy is made by the harness; then both as they are.
        save("luks2_header", name, sparse(data[:16384], 0b1111, length=len(data)))
        if name == "sha512":
            save("luks2_header", name + "-both", sparse(data[:32768], 0b0011, length=len(data)))
            save("luks2_header", name + "-secondary", sparse(bytes(16384) + data[16384:32768], 0, length=len(data)))


# The clear key's token and the reencryption's requirement, which cryptsetup alone does not write offline.
def luks2_metadata():
    text = (HERE / "luks2_metadata/pbkdf2").read_text()
    value = json.loads(text)
    value["tokens"]["1"] = {"type": "ubuntu-fde-clear", "keyslots": ["0"], "key": base64.b64encode(bytes(16)).decode()}
    value["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}
    value["unknown"] = [1, -2.5e3, None, True, {"\u00e9\n": []}]
    save("luks2_metadata", "edited", json.dumps(value).encode())


def ext4(folder):
    root = folder / "root"
    (root / "etc/inline").mkdir(parents=True)
    (root / "full").mkdir()
    (root / "etc/file").write_bytes(b"file\n" * 700)
    (root / "etc/hole").write_bytes(b"")
    os.truncate(root / "etc/hole", 200_000)
    with open(root / "etc/hole", "r+b") as file:
        file.seek(150_000)
        file.write(b"behind a hole")
    (root / "etc/small").write_bytes(b"in the inode")
    (root / "etc/inline/x").write_bytes(b"")
    os.link(root / "etc/small", root / "etc/hard")
    os.symlink("/etc/small", root / "etc/link")
    os.symlink("a" * 100, root / "etc/long")
    os.symlink("../etc/loop", root / "etc/loop")
    os.symlink("/etc", root / "loop")
    for number in range(30):
        (root / f"full/a-name-of-some-length-{number:04}").write_bytes(b"")
    for path in [root, *root.rglob("*")]:
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    environment = dict(os.environ, E2FSPROGS_FAKE_TIME="1600000000")
    (HERE.parent / "bases").mkdir(exist_ok=True)
    for name, options in [
        ("ext4", ["-t", "ext4", "-O", "^has_journal,^resize_inode"]),
        ("ext4-inline", ["-t", "ext4", "-O", "^has_journal,^metadata_csum,inline_data,^resize_inode", "-I", "256"]),
        ("ext2", ["-t", "ext2", "-O", "^resize_inode"]),
        ("ext4-bigalloc", ["-t", "ext4", "-O", "^has_journal,^metadata_csum,bigalloc,^resize_inode", "-C", "4096"]),
    ]:
        path = disk(folder, 512 * 1024)
        run("mke2fs", "-q", "-F", "-b", "1024", "-N", "64", "-U", NIL, "-E", f"hash_seed={NIL},root_owner=0:0", "-d", root,
            *options, path, env=environment)
        label = folder / "label"
        label.write_bytes(b"system_u:object_r:etc_t:s0\0")
        run("debugfs", "-w", "-R", f"ea_set -f {label} /etc security.selinux", path, env=environment, stderr=subprocess.DEVNULL)
        (HERE.parent / "bases" / name).write_bytes(sparse(path.read_bytes()))

    def change(*pieces):
        return b"".join(struct.pack("<IH", at, len(value)) + value for at, value in pieces)

    for number, name in enumerate(["ext4", "ext4-inline", "ext2", "ext4-bigalloc"]):
        save("ext4", name, struct.pack("<BQ", number, 0) + change((1024 + 0x78, b"label")))
        save("ext4", name + "-large", struct.pack("<BQ", number, 0) + change((1024 + 0x04, struct.pack("<I", 1 << 20))))
    save("ext4", "not-clean", struct.pack("<BQ", 0, 0) + change((1024 + 0x3A, b"\0\0")))
    save("ext4", "bad-checksum", struct.pack("<BQ", 4, 0) + change((1024 + 0x78, b"label")))


def fat(folder):
    environment = dict(os.environ, SOURCE_DATE_EPOCH="1600000000", TZ="UTC", MTOOLS_SKIP_CHECK="1")
    file = folder / "file"
    for number, (name, options, length) in enumerate([
        ("fat12", ["-F", "12"], 256 << 10),
        ("fat16", ["-F", "16", "-s", "1"], 2200 << 10),
        ("fat32", ["-F", "32", "-s", "1"], 34 << 20),
        ("fat12-large-sectors", ["-F", "12", "-S", "4096"], 512 << 10),
    ]):
        path = disk(folder, length)
        run("mkfs.vfat", "--invariant", "-n", "UEFI", "-i", "01234567", *options, path)
        run("mmd", "-i", path, "::/EFI", "::/EFI/ubuntu", "::/EFI/BOOT", env=environment)
        for place, content in [
            ("EFI/BOOT/BOOTX64.EFI", b"shim" * 300),
            ("EFI/ubuntu/grubx64.efi", b"grub" * 1200),
            ("EFI/ubuntu/a file with a long name.cfg", b"configfile\n"),
        ]:
            file.write_bytes(content)
            run("mcopy", "-i", path, file, f"::/{place}", env=environment)
        data = path.read_bytes()
        (HERE.parent / "bases" / name).write_bytes(sparse(data))
        # Where things lie, so that the fuzzer need not find them.
        sector, reserved = struct.unpack_from("<H", data, 11)[0], struct.unpack_from("<H", data, 14)[0]
        pieces = [("label", 0x2B, b"label"), ("table", reserved * sector, data[reserved * sector:][:64])]
        pieces += [(entry, data.index(short), data[data.index(short):][:32]) for entry, short in [
            ("directory", b"EFI        "), ("file", b"GRUBX64 EFI"), ("long", b"AFILEW~1CFG"), ("dot", b".          "),
        ]]
        for step, (what, at, value) in enumerate(pieces):
            save("fat", f"{name}-{what}", struct.pack("<BQIH", number | step << 3, 0, at, len(value)) + value)
    save("fat", "fat32-read-only", struct.pack("<BQ", 6, 0))
    save("fat", "fat12-cut", struct.pack("<BQ", 0, 100_000))


def efi(folder):
    owner = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
    hashes = folder / "hash"
    hashes.write_bytes(bytes(range(32)))
    list_x509, list_hash = folder / "x509.esl", folder / "hash.esl"
    certificate = CERTIFICATES / "debian-secure-boot-ca.der"
    run("sbsiglist", f"--owner={owner}", "--type=x509", f"--output={list_x509}", certificate)
    run("sbsiglist", f"--owner={owner}", "--type=sha256", f"--output={list_hash}", hashes)
    save("signature_list", "x509", list_x509.read_bytes())
    save("signature_list", "sha256", list_hash.read_bytes())
    save("signature_list", "both", list_hash.read_bytes() + list_x509.read_bytes())
    save("signature_list", "efivarfs", struct.pack("<I", 7) + list_hash.read_bytes())

    key, signer = folder / "signer.key", folder / "signer.pem"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", signer, "-subj", "/CN=test only",
        stderr=subprocess.DEVNULL)
    signed = folder / "db.auth"
    run("sbvarsign", "--key", key, "--cert", signer, "--output", signed, "db", list_hash)
    save("authenticated_variable", "sbvarsign", signed.read_bytes())

    store = Path("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd").read_bytes()
    blank = Path("/usr/share/OVMF/OVMF_VARS_4M.fd").read_bytes()
    end = len(store[: store.index(b"\xff" * 4096)])
    trimmed = store[:end] + b"\xff" * 64
    save("variable_store", "ovmf-blank", sparse(blank[:256], 1, length=len(blank)))
    save("variable_store", "ovmf", sparse(trimmed, 1, length=len(store)))

    # Clusters of the smallest size, the start of the store at its own place.
    raw, image = folder / "vars.raw", folder / "vars.qcow2"
    raw.write_bytes(blank[:4096])
    for name, options in [("version-3", "compat=1.1,cluster_size=512"), ("version-2", "compat=0.10,cluster_size=512")]:
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", options, raw, image)
        save("qcow2", name, sparse(image.read_bytes()))

    text = base64.b64encode(list_hash.read_bytes()).decode()
    members = {"PK": text, "KEK": text, "db": text, "dbx": None, "omitsReadyToBootEvent": False}
    save("uefi_config", "text", (json.dumps(members, indent=2) + "\n").encode())
    members["db"], members["unknown"] = list(list_hash.read_bytes()), {"x": [1]}
    save("uefi_config", "numbers", json.dumps(members).encode())

    der = base64.b64encode(certificate.read_bytes()).decode()
    digest = base64.b64encode(bytes(range(32))).decode()
    signatures = {
        "PK": {"type": "x509", "value": [der]},
        "KEK": [{"type": "x509", "value": [der]}],
        "db": [{"type": "sha256", "value": [digest]}],
        "dbx": [{"type": "sha256", "value": [digest, digest]}],
    }
    disk_profile = {"properties": {"uefiSettings": {"signatureMode": "Replace", "signatures": signatures}}}
    save("azure", "disk", json.dumps(disk_profile).encode())
    version = {"properties": {"securityProfile": {"uefiSettings": {
        "signatureTemplateNames": ["NoSignatureTemplate"], "additionalSignatures": {
            "pk": {"type": "x509", "value": [der]}, "kek": [], "db": signatures["db"], "dbx": []}}}}}
    save("azure", "version", json.dumps(version).encode())
    template = {"resources": [dict(version, type="Microsoft.Compute/galleries/images/versions")]}
    save("azure", "template", json.dumps(template).encode())


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = gpt(folder)
        vhd(folder, table)
        probe()
        luks2(folder)
        luks2_metadata()
        ext4(folder)
        fat(folder)
        efi(folder)


main()
