#!/usr/bin/python3
"""Unseal a sealed key file with tpm2-tools alone, as a guest's initramfs does it.

    unseal.py FILE

TPM2TOOLS_TCTI names the TPM; its SRK is at 0x81000001. Each command is shown on standard error before it
runs; the disk key goes to standard output in hexadecimal. Whatever the TPM refuses ends it with 1.

This reads the file (key data of version 2, as snapcore/secboot writes it for an external storage key) without
any code of ours, so that tests have a second opinion on it.
"""

import hashlib
import os
import shlex
import struct
import subprocess
import sys
import tempfile

SRK = "0x81000001"
# What a PCR policy of this library without a counter is authorized for.
POLICY_REF = hashlib.sha256(b"AUTH-PCR-POLICY" + bytes.fromhex("40000007")).digest()


class Cursor:
    """Big-endian fields, one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        if self.at + length > len(self.data):
            sys.exit(f"error: the file ends within a field at {self.at}")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, length):
        return int.from_bytes(self.take(length), "big")

    def sized(self):
        return self.take(self.number(2))


def sized(data):
    return struct.pack(">H", len(data)) + data


def diffused(block):
    """The hash of LUKS's anti-forensic splitter."""
    pieces = [block[i : i + 32] for i in range(0, len(block), 32)]
    return b"".join(
        hashlib.sha256(struct.pack(">I", i) + piece).digest()[: len(piece)]
        for i, piece in enumerate(pieces)
    )


def merged(stripes, count):
    length = len(stripes) // count
    block = bytes(length)
    for i in range(count):
        if i:
            block = diffused(block)
        stripe = stripes[i * length : (i + 1) * length]
        block = bytes(a ^ b for a, b in zip(block, stripe))
    return block


class Sealed:
    """The fields of a file."""

    def __init__(self, data):
        outer = Cursor(data)
        if outer.take(4) != b"USK$" or outer.number(4) != 2:
            sys.exit("error: not a sealed key file of version 2")
        count, _hash = outer.number(4), outer.number(2)
        body = Cursor(merged(outer.take(outer.number(4)), count))
        self.private = body.sized()
        self.public = self.public_area(body)
        body.number(1)
        self.seed = body.sized()
        self.policy_key = self.public_area(body)
        body.number(4)  # counter
        body.sized()
        self.pcrs = self.selection(body)
        self.nodes = [
            (body.number(4), [body.sized() for _ in range(body.number(4))])
            for _ in range(body.number(4))
        ]
        body.number(8)  # sequence
        self.approved = body.sized()
        start = body.at
        body.take(4)  # ECDSA, SHA-256
        body.sized(), body.sized()
        self.signature = body.data[start : body.at]

    @staticmethod
    def public_area(body):
        """A sealed object or an ECC key, whose length is not written in front."""
        start = body.at
        kind = body.number(2)
        body.take(6)  # name algorithm, attributes
        body.sized()  # policy
        if kind == 0x0008:
            body.take(2)
            body.sized()
        else:
            body.take(10)
            body.sized(), body.sized()
        return body.data[start : body.at]

    @staticmethod
    def selection(body):
        pcrs = []
        for _ in range(body.number(4)):
            body.number(2)  # SHA-256
            bitmap = body.take(body.number(1))
            pcrs += [n for n in range(8 * len(bitmap)) if bitmap[n // 8] >> n % 8 & 1]
        return pcrs

    def path(self, leaf):
        """The digests of the node that holds the leaf, and of those above it up to the root."""
        # A leaf that is in no node: the TPM is to refuse it, so the first node will do.
        leaves = self.nodes[0][0] or 1
        found = (i for i in range(leaves) if leaf in self.nodes[i][1])
        index = next(found, 0)
        while True:
            next_node, digests = self.nodes[index]
            yield digests * 2 if len(digests) == 1 else digests
            if next_node == 0:
                return
            index += next_node


def tool(*words):
    print("$", shlex.join(words), file=sys.stderr)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stderr)
        sys.exit(f"error: {words[0]} failed")
    if words[0] in ("tpm2_import", "tpm2_load", "tpm2_loadexternal", "tpm2_verifysignature"):
        # A TPM without a resource manager has three slots.
        subprocess.run(["tpm2_flushcontext", "-t"], check=True)
    return done.stdout


def unseal(sealed):
    files = {
        "dup": sized(sealed.private),
        "pub": sized(sealed.public),
        "seed": sized(sealed.seed),
        "authpub": sized(sealed.policy_key),
        "approved": sealed.approved,
        "ref": POLICY_REF,
        "tbs": hashlib.sha256(sealed.approved + POLICY_REF).digest(),
        "sig": sealed.signature,
    }
    for name, data in files.items():
        with open(name, "wb") as file:
            file.write(data)
    tool("tpm2_import", "-C", SRK, "-i", "dup", "-u", "pub", "-s", "seed", "-r", "priv")
    tool("tpm2_load", "-C", SRK, "-u", "pub", "-r", "priv", "-c", "obj.ctx")
    tool("tpm2_loadexternal", "-C", "o", "-u", "authpub", "-c", "auth.ctx", "-n", "name")
    tool("tpm2_verifysignature", "-c", "auth.ctx", "-d", "tbs", "-s", "sig", "-t", "ticket")
    tool("tpm2_startauthsession", "--policy-session", "-S", "s")
    selection = "sha256:" + ",".join(map(str, sealed.pcrs))
    tool("tpm2_policypcr", "-S", "s", "-l", selection, "-L", "leaf")
    with open("leaf", "rb") as file:
        leaf = file.read()
    for level, digests in enumerate(sealed.path(leaf)):
        names = []
        for i, digest in enumerate(digests):
            names.append(f"d{level}.{i}")
            with open(names[-1], "wb") as file:
                file.write(digest)
        tool("tpm2_policyor", "-S", "s", "-l", "sha256:" + ",".join(names))
    tool("tpm2_policyauthorize", "-S", "s", "-i", "approved", "-q", "ref", "-n", "name", "-t", "ticket")
    tool("tpm2_policyauthvalue", "-S", "s")
    return tool("tpm2_unseal", "-c", "obj.ctx", "-p", "session:s")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        sealed = Sealed(file.read())
    with tempfile.TemporaryDirectory(prefix="unseal-") as folder:
        os.chdir(folder)
        try:
            payload = Cursor(unseal(sealed))
        finally:
            # A session of a policy that failed stays in the TPM.
            subprocess.run(["tpm2_flushcontext", "-l"], stdout=subprocess.DEVNULL)
    print(payload.sized().hex())


if __name__ == "__main__":
    main()
