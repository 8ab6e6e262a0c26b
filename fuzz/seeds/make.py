#!/usr/bin/env python3
"""Makes the seeds and the bases of ext4 and FAT anew, by the programs that make such files in life, and from tests/data,
which holds what other programs, firmware and guests have made.

Arguments choose groups: disks, efi, programs, tpm; all if there is none. Needs cryptsetup, sgdisk, sfdisk, mke2fs, debugfs,
mkfs.vfat, mtools, qemu-img, gzip, xz, zstd, sbsiglist and sbvarsign (sbsigntool), openssl and the package ovmf. What is here was
made on Debian 12; another version makes other bytes, which serve as well.
"""

import base64
import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "tests/data"
CERTIFICATES = DATA / "certificates"
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
        elif name == "dynamic":
            save("vhd", name, sparse(data, 4))  # with header, table and blocks
        else:
            start = data[:512] + bytes(len(data) - 1024) + data[-512:]
            save("vhd", name, sparse(start, 4))
    save("vhd", "empty", sparse(b""))
    for name, start in [("gzip", b"\x1f\x8b\x08\0"), ("zip", b"PK\x03\x04"), ("xz", b"\xfd7zXZ\0"), ("zstd", b"\x28\xb5\x2f\xfd")]:
        save("vhd", name, sparse(start + bytes(1020), 4))


def open_disk(folder, table):
    """Whole files: tables, some data, compressed and not."""
    raw = folder / "raw"
    content = bytearray(table[:65536] + bytes(300 * 1024 + 512))
    content[100_000:100_050] = b"some text that can be compressed " + bytes(17)
    raw.write_bytes(content)
    for name, form, options in [
        ("qcow2", "qcow2", ["-o", "cluster_size=4k"]),
        ("qcow2-version-2", "qcow2", ["-o", "compat=0.10,cluster_size=512"]),
        ("qcow2-deflate", "qcow2", ["-c", "-o", "cluster_size=4k"]),
        ("qcow2-zstd", "qcow2", ["-c", "-o", "cluster_size=4k,compression_type=zstd"]),
        ("vmdk", "vmdk", ["-o", "subformat=monolithicSparse"]),
        ("vmdk-stream", "vmdk", ["-o", "subformat=streamOptimized"]),
        ("vmdk-flat", "vmdk", ["-o", "subformat=monolithicFlat"]),
        ("vhdx", "vhdx", ["-o", "block_size=1M,log_size=1M"]),
        ("vhd", "vpc", ["-o", "subformat=dynamic"]),
    ]:
        path = folder / name
        run("qemu-img", "convert", "-f", "raw", "-O", form, *options, raw, path)
        save("open_disk", name, sparse(path.read_bytes(), 1))
    path = folder / "overlay"
    run("qemu-img", "create", "-f", "qcow2", "-b", "qcow2", "-F", "qcow2", path, cwd=folder)
    save("open_disk", "qcow2-overlay", sparse(path.read_bytes(), 1))
    run("qemu-img", "create", "-f", "qcow2", "-b", "raw", "-F", "raw", "-o", "cluster_size=4k", path, cwd=folder)
    save("open_disk", "qcow2-over-raw", sparse(path.read_bytes(), 1))
    footer = bytearray((folder / "vmdk-stream").read_bytes())
    at_end = bytearray(footer[:512])
    footer[56:64] = b"\xff" * 8  # the directory is named by the footer, as VMware has it
    save("open_disk", "vmdk-footer", sparse(bytes(footer + bytes(512) + at_end + bytes(512)), 1))


def packed(folder):
    """Streams and archives, each behind the byte that says which it is."""
    plain = bytearray(b"some text, and more of it; " * 40 + bytes(9000))
    plain[510:512] = b"\x55\xaa"
    path = folder / "disk.img"
    path.write_bytes(plain)

    def stream(*command):
        return subprocess.run([*command, path], check=True, capture_output=True).stdout

    def archive(name, method, data=plain):
        file = folder / "zip"
        with zipfile.ZipFile(file, "w") as z:
            z.writestr(zipfile.ZipInfo("about.txt"), "no image")
            member = zipfile.ZipInfo(name)
            member.compress_type = method
            with z.open(member, "w", force_zip64=True) as m:
                m.write(data)
        return file.read_bytes()

    gzip_, xz, zstd, zip_ = (bytes([kind]) for kind in range(4))
    mended = b"\x05"
    once = stream("gzip", "-nc")
    save("packed", "gzip", gzip_ + once)
    save("packed", "gzip-twice", gzip_ + once + once)
    save("packed", "xz", xz + stream("xz", "-c"))
    save("packed", "xz-filters", mended + stream("xz", "-c", "--x86", "--delta", "--lzma2=dict=64KiB"))
    save("packed", "xz-crc32", mended + stream("xz", "-c", "--check=crc32"))
    save("packed", "zstd", zstd + stream("zstd", "-qc"))
    save("packed", "zstd-checksum", zstd + stream("zstd", "-qc", "--check", "-19"))
    save("packed", "zip-stored", zip_ + archive("disk.img", zipfile.ZIP_STORED, plain[:2048]))
    save("packed", "zip-deflate", zip_ + archive("disk.img", zipfile.ZIP_DEFLATED))
    save("packed", "zip-deflate64", zip_ + (DATA / "packed/deflate64.zip").read_bytes())


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
    for name, options in [("qcow2-variables", "compat=1.1,cluster_size=512"),
                          ("qcow2-variables-version-2", "compat=0.10,cluster_size=512")]:
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", options, raw, image)
        save("open_disk", name, sparse(image.read_bytes()))

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


def program(name):
    data = (DATA / "vectors" / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


class Pe:
    """As much of a program as the seeds are cut from."""

    def __init__(self, data):
        self.data = data
        coff = struct.unpack_from("<I", data, 0x3C)[0] + 4
        sections, symbols, count, optional = struct.unpack_from("<H", data, coff + 2) + struct.unpack_from("<IIH", data, coff + 8)
        start = coff + 20
        fixed = {0x10B: 96, 0x20B: 112}[struct.unpack_from("<H", data, start)[0]]
        offset, size = struct.unpack_from("<II", data, start + fixed + 32)
        self.table = data[offset : offset + size]
        names = symbols + 18 * count
        self.sections = {}
        for number in range(sections):
            header = data[start + optional + 40 * number :][:40]
            name = header[:8].rstrip(b"\0")
            if name.startswith(b"/"):
                name = data[names + int(name[1:]) :].split(b"\0")[0]
            length, place = struct.unpack_from("<II", header, 16)
            self.sections.setdefault(name.decode(), data[place : place + length])


def short(section):
    """Without most of the zeros at its end."""
    return section.rstrip(b"\0").ljust(16, b"\0") + b"\0"


def built(sections):
    """A PE32+ program of these sections alone, which no linker at hand makes."""
    headers = 512
    table, data = b"", b""
    for name, content in sections.items():
        raw = content.ljust(-(-len(content) // 8) * 8, b"\0")
        table += struct.pack("<8sIIIIIIHHI", name, len(content), 0x1000 + len(data), len(raw), headers + len(data), 0, 0, 0, 0, 0x40000040)
        data += raw
    coff = struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, 112 + 16 * 8, 0x22)
    optional = struct.pack("<H58xII40xI", 0x20B, headers, 0, 16).ljust(112 + 16 * 8, b"\0")
    return (b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + coff + optional + table).ljust(headers, b"\0") + data


def programs(_):
    for name in ["kernel-db-a", "kernel-unsigned", "kernel-dual-a-vendor", "pe-gap", "pe-order", "pe-long-names", "pe-pe32",
                 "pe-few-directories", "pe-odd-length-unaligned-table", "pe-bytes-after-table", "pe-empty-section",
                 "pe-wincert-two", "pe-wincert-guid-type", "pe-wincert-truncated", "pe-grub-modules-bad", "shim-15.8-vendor-db"]:
        save("pe", name, sparse(program(f"pe/{name}.efi")))
    prefix = b"/EFI/ubuntu\0\0\0\0\0"
    mods = struct.pack("<IIQQ", 0x676D696D, 0, 24, 32 + len(prefix)) + struct.pack("<II", 3, 8 + len(prefix)) + prefix
    save("pe", "grub", sparse(built({b"mods": mods, b".sbat": b"sbat,1,a,b,1,c\ngrub,4,a,b,1,c\n"})))
    magic = b"#### LoaderInfo: systemd-stub 257.8-1 ####\0"
    save("pe", "kernel-inside", sparse(built({b".sdmagic": magic, b".linux": program("pe/pe-pe32.efi")}), 1))

    debian = Pe(program("pe/shim-debian-16.1.efi.gz"))
    for name, source in [
        ("rsa", "kernel-db-a.efi"), ("rsa-4096", "kernel-rsa4096.efi"), ("ec", "kernel-ec.efi"), ("chain", "kernel-chain.efi"),
        ("no-key-ids", "kernel-noski.efi"), ("unwrapped", "pe-wincert-unwrapped.efi"), ("sha1", "pe-wincert-sha1.efi"),
        ("debian-shim", "shim-debian-16.1.efi.gz"), ("pesign", "fwupd-debian-1.4.efi.signed.gz"),
    ]:
        table = Pe(program(f"pe/{source}")).table
        length = struct.unpack_from("<I", table)[0]
        save("pkcs7", name, b"\0" + table[8:length])
    for name in ["two", "zero-padding-4", "zero-padding-16", "guid-type", "revision-1"]:
        save("pkcs7", "table-" + name, b"\1" + Pe(program(f"pe/pe-wincert-{name}.efi")).table)
    for certificate in CERTIFICATES.glob("*.der"):
        save("pkcs7", "certificate-" + certificate.stem, b"\2" + certificate.read_bytes())

    for name, section in [("debian", ".sbat"), ("debian-level", ".sbatlevel"), ("debian-version", ".data.ident"),
                          ("debian-vendor", ".vendor_cert")]:
        save("sbat", name, short(debian.sections[section]))
    for name, source, section in [
        ("kernel", "kernel-db-a", ".sbat"), ("kernel-bad", "kernel-bad-sbat", ".sbat"), ("level-gap", "shim-level-gap", ".sbatlevel"),
        ("level-short", "shim-level-short", ".sbatlevel"), ("vendor-db", "shim-15.8-vendor-db", ".vendor_cert"),
        ("vendor-dbx", "shim-15.8-vendor-dbx", ".vendor_cert"), ("vendor-empty", "shim-15.8-vendor-empty", ".vendor_cert"),
    ]:
        save("sbat", name, short(Pe(program(f"pe/{source}.efi")).sections[section]))
    line = "shimx64.efi,redhat,\\EFI\\Linux\\a-5.14.efi ,UKI bootentry\n"
    save("loader_files", "boot-entries", line.encode("utf-16-le"))
    save("loader_files", "boot-entries-marked", ("\ufeff" + line + "grubx64.efi,other,,\r\n").encode("utf-16-le"))
    save("loader_files", "entry", b"title t\nlinux /k/linux\ninitrd /k/initrd\noptions console=ttyS0 quiet\narchitecture x64\n")
    save("loader_files", "built-in", "\\fbx64.efi\0\\\\grubx64.efi\0".encode("utf-16-le"))
    save("sbat", "quotes", b'sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim\n\nx,2,"a ""b"", c",d\r\n,e,f\n')
    predictions()


def predictions():
    cases = {case["name"]: case for case in json.loads((DATA / "vectors/cases.json").read_text())["cases"]}
    for name, options in [
        ("signer-db", 0), ("signer-dual-both", 0), ("signer-chain-root-in-db", 0), ("signer-ec", 0), ("db-hash-kernel", 0),
        ("dbx-cert-kernel", 8), ("shim-15.2-no-sbat", 1), ("shim-15.8-vendor-db", 0), ("shim-15.8-vendor-dbx", 0),
        ("shim-same-authority-as-kernel", 0x20), ("kernel-is-a-newer-shim", 1), ("forged-ms-15.4", 1), ("pe-wincert-two", 4),
        ("signer-stranger-pcr4", 0x80),
    ]:
        case = cases[name]
        configuration = json.loads((DATA / "vectors" / case["uefi_config"]).read_text())
        parts = [base64.b64decode(configuration.get(database) or "") for database in ["db", "dbx"]]
        shim, *kernels = (program(source) for path, source in sorted(case["esp"].items(), key=lambda one: "shimx64" not in one[0]))
        parts.append(shim)
        save("prediction", name, bytes([options]) + b"".join(struct.pack("<I", len(part)) + part for part in parts) + kernels[0])
        if name == "signer-db":
            # The kernel alone, and without Secure Boot.
            for more, options in [("direct", 0x10), ("off", 0x12)]:
                parts[2] = b""
                data = b"".join(struct.pack("<I", len(part)) + part for part in parts) + kernels[0]
                save("prediction", f"{name}-{more}", bytes([options]) + data)


def striped(body, stripes):
    """The anti-forensic split with SHA-256."""
    buffer, out = bytes(len(body)), b""
    for number in range(stripes - 1):
        stripe = hashlib.shake_128(bytes([number])).digest(len(body))
        out += stripe
        buffer = bytes(a ^ b for a, b in zip(buffer, stripe))
        blocks = [buffer[at : at + 32] for at in range(0, len(buffer), 32)]
        buffer = b"".join(hashlib.sha256(struct.pack(">I", at) + block).digest()[: len(block)] for at, block in enumerate(blocks))
    return out + bytes(a ^ b for a, b in zip(buffer, body))


def tpm(folder):
    for name in ["secure-boot-off-setup-mode", "direct-db-cert", "hash-in-db"]:
        save("event_log", name, (DATA / "firmware" / name / "eventlog.bin").read_bytes())

    for name, log in other_event_logs().items():
        save("event_log", name, log)

    # What the target compares a log with: one that is equal is nothing that mutation finds.
    chain = ",".join(str(DATA / f"vectors/pe/{name}.efi") for name in ["shim-std", "kernel-db-a"])
    run("cargo", "run", "--quiet", "--locked", "--manifest-path", HERE.parent.parent / "Cargo.toml", "--", "predict", "--chain", chain,
        "--uefi-config", DATA / "vectors/uefi/std.json", "--branch", "1", "--tcg-log", folder / "log")
    save("event_log", "predicted", (folder / "log").read_bytes())

    for name, version, stripes in [
        ("rsa-1", 2, 1), ("ecc-1", 2, 1), ("ecc-1", 2, 3), ("ecc-10", 2, 1), ("ecc-65", 2, 1), ("rsa-no-pcrs", 2, 1),
        ("ecc-short-signature", 2, 1), ("rewritten-v1", 1, 1),
    ]:
        body = striped((DATA / f"sealed/{name}.body").read_bytes(), stripes)
        header = b"USK$" + struct.pack(">IIHI", version, stripes, 0x000B, len(body))
        save("sealed_key", f"{name}-{stripes}", header + body)

    for name in ["ecc-pcr4-7-12", "rsa-pcr4-7-12", "ecc-no-pcr", "ecc-pin-pcr7", "ecc-pcr7-by-262", "ecc-legacy-transient-pcr7"]:
        token = json.loads((DATA / f"systemd-tokens/{name}.json").read_text())["token"]
        save("systemd_token", name, b"\0" + json.dumps(token).encode())
        blob = token["tpm2-blob"]
        blob = base64.b64decode(blob[0] if isinstance(blob, list) else blob)
        save("systemd_token", f"{name}-blob", b"\1" + blob)
        if name == "ecc-pcr4-7-12":
            (HERE.parent / "bases/systemd-blob").write_bytes(blob)
        if "tpm2_srk" in token:
            save("systemd_token", f"{name}-srk", b"\2" + base64.b64decode(token["tpm2_srk"]))

    for public in (DATA / "sealed").glob("soft-*.pub"):
        save("tpm_public", public.stem, public.read_bytes())
    for case in json.loads((DATA / "srk-template/cases.json").read_text())["cases"]:
        for member, suffix in [("srk_pub_tpmt", "tpmt"), ("unique_wire", "wire"), ("unique_tpm2_tools", "tools"),
                               ("template_file", "template")]:
            if case[member]:
                save("tpm_public", f"{case['name']}-{suffix}", bytes.fromhex(case[member]))
    key = folder / "key"
    for name, options in [("rsa", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]), ("ecc", ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"])]:
        run("openssl", "genpkey", "-quiet", "-algorithm", *options, "-out", key)
        for form in ["pem", "der"]:
            run("openssl", "pkey", "-in", key, "-pubout", "-outform", form, "-out", folder / "public")
            save("tpm_public", f"{name}-{form}", (folder / "public").read_bytes())


def disks(folder):
    table = gpt(folder)
    vhd(folder, table)
    open_disk(folder, table)
    packed(folder)
    probe()
    luks2(folder)
    luks2_metadata()
    ext4(folder)
    fat(folder)


def device_path(*nodes):
    path = b"".join(struct.pack("<BBH", kind, subtype, 4 + len(data)) + data for kind, subtype, data in nodes)
    return path + b"\x7f\xff\4\0"


def other_event_logs():
    """Logs of other kinds than those of the recorded boots: each type of event, registers in place of PCRs, TPM 1.2."""
    guid = bytes.fromhex("f8d1c555cd04b5468a20e56cbb3052d0")
    text = "\\a".encode("utf-16-le") + bytes(2)
    image = lambda path, behind=b"": bytes(24) + struct.pack("<Q", len(path)) + path + behind
    variable = lambda name, data: guid + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data
    place = struct.pack("<QQ", 0xFF130000, 4096)
    table = struct.pack("<Q", 2) + (guid + bytes(8)) * 2
    tag = lambda number, data: struct.pack("<II", number, len(data)) + data
    root = (2, 1, struct.pack("<II", 0x0A0341D0, 0))
    events = [
        (0, 3, b"StartupLocality\0\3"), (0xFFFFFFFF, 3, b"SP800-155 Event3"), (0, 1, b"ACPI DATA"), (0, 0x13, b"\2Fv" + place),
        (0, 7, b"Boot Guard\0"), (0, 8, text), (1, 9, b"microcode"), (1, 0xA, place), (1, 0xB, table), (5, 0xC, b"\x10\0\0\0"),
        (0, 0x11, b"GCE NonHostInfo\0\3"), (5, 0x80000006, b"EFI PART" + bytes(84) + struct.pack("<Q", 2)), (0, 0x80000008, place),
        (1, 0x80000009, table), (0, 0x8000000A, b"\2Fv" + place), (1, 0x8000000B, b"\1T" + table), (0, 0x80000010, b"HCRTM"),
        (2, 0x800000E1, b"SPDM"), (7, 0x800000E3, variable("devdb", b"\1")), (7, 0x800000E4, variable("devdb", b"\1")),
        (2, 0x8401, b"\1"), (9, 6, tag(0x8F3B22ED, b"command line")), (12, 6, tag(0x49DFFE0F, b"a\0")), (7, 0x80000001, variable("SecureBoot", b"")),
        (7, 4, b"\xff" * 4), (7, 0x800000E0, variable("MokListTrusted", b"\1")), (2, 0x80000004, image(device_path(root, (1, 1, b"\0\2"), (4, 8, bytes(20))))),
        (4, 0x80000003, image(device_path((4, 7, guid), (4, 6, guid)))), (4, 0x80000003, image(device_path((4, 4, text)), bytes(8))),
        (4, 0x80000003, image(b"", b"\0p&\0\0\x80&\0\x94")), (2, 0x80000003, image(device_path((4, 3, guid)))),
        (11, 0xD, ".linux\0".encode("utf-16-le")), (12, 0xD, "quiet\0".encode("utf-16-le")[:-1]), (4, 4, b"WBCL"), (4, 0x80000007, b"Calling"),
    ]

    def first(register, banks, vendor):
        data = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(banks))
        data += b"".join(struct.pack("<HH", *bank) for bank in banks) + bytes([len(vendor)]) + vendor
        return struct.pack("<II20xI", register, 3, len(data)) + data

    def agile(register, banks, vendor=b""):
        log = first(register, banks, vendor)
        for pcr, kind, data in events:
            log += struct.pack("<III", pcr, kind, len(banks))
            log += b"".join(struct.pack("<H", bank) + hashlib.sha512(data).digest()[:size] for bank, size in banks)
            log += struct.pack("<I", len(data)) + data
        return log

    old = b"".join(struct.pack("<II", pcr, kind) + hashlib.sha1(data).digest() + struct.pack("<I", len(data)) + data for pcr, kind, data in events)
    return {
        "every-type": agile(0, [(0xB, 32), (0xC, 48)]),
        "registers": agile(1, [(0xC, 48)]) + b"\xff" * 64,
        "td-shim": agile(0, [(0xC, 48)], b"td-shim"),
        "tpm-1.2": old,
    }


def main():
    groups = {"disks": disks, "efi": efi, "programs": programs, "tpm": tpm}
    with tempfile.TemporaryDirectory() as name:
        for group in sys.argv[1:] or groups:
            groups[group](Path(name))


if __name__ == "__main__":
    main()
