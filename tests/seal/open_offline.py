#!/usr/bin/python3
"""Open a sealed key file with the private half of its storage parent, and derive all of it again.

    open_offline.py FILE PARENTS.json PARENT COMPOSITE...

PARENTS.json holds the private numbers of software parents; COMPOSITE... are digests over the PCR values of
the branches, in their order. Prints the disk key in hexadecimal. Whatever does not fit ends it with 1.

This is TPM 2.0 Library, part 1, written once more with the package cryptography; it shares no code with ours.
"""

import hashlib
import hmac
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.dont_write_bytecode = True

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from unseal import POLICY_REF, Cursor, Sealed


def h(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def check(claim, what):
    if not claim:
        sys.exit(f"error: {what}")


def number(text):
    return int(text, 16)


def seed_of(parent, secret, public):
    if parent["type"] == "rsa":
        p, q = number(parent["private"]["p"]), number(parent["private"]["q"])
        e = 65537
        d = pow(e, -1, (p - 1) * (q - 1))
        key = rsa.RSAPrivateNumbers(
            p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q)
        ).private_key()
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"DUPLICATE\0")
        return key.decrypt(secret, oaep)
    point = Cursor(secret)
    x, y = point.sized(), point.sized()
    check(len(x) == 32 and len(y) == 32, "the ephemeral point is not padded")
    key = ec.derive_private_key(number(parent["private"]["d"]), ec.SECP256R1())
    other = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    shared = key.exchange(ec.ECDH(), other.public_key())
    own_x = key.public_key().public_numbers().x.to_bytes(32, "big")
    return h(bytes([0, 0, 0, 1]), shared, b"DUPLICATE\0", x, own_x)


def kdf_a(key, label, context, bits):
    data = bytes([0, 0, 0, 1]) + label + b"\0" + context + bits.to_bytes(4, "big")
    return hmac.new(key, data, hashlib.sha256).digest()[: bits // 8]


def payload_of(sealed, parent):
    name = bytes.fromhex("000b") + h(sealed.public)
    seed = seed_of(parent, sealed.seed, parent["public"])
    outer = Cursor(sealed.private)
    mac = outer.sized()
    encrypted = sealed.private[outer.at :]
    mac_key = kdf_a(seed, b"INTEGRITY", b"", 256)
    check(hmac.new(mac_key, encrypted + name, hashlib.sha256).digest() == mac, "the HMAC is wrong")
    key = kdf_a(seed, b"STORAGE", name, parent["aes_bits"])
    decryptor = Cipher(algorithms.AES(key), modes.CFB(bytes(16))).decryptor()
    sensitive = Cursor(decryptor.update(encrypted) + decryptor.finalize())
    check(sensitive.number(2) == len(encrypted) - 2, "the sensitive area has another length")
    check(sensitive.number(2) == 0x0008, "the sensitive area is of another type")
    check(sensitive.sized().strip(b"\0") == b"", "there is an authorisation value")
    seed_value, payload = sensitive.sized(), sensitive.sized()
    check(sealed.public.endswith(h(seed_value, payload)), "unique is another digest")
    return payload


def policy_or(digests):
    digests = digests * 2 if len(digests) == 1 else digests
    return h(bytes(32), bytes.fromhex("00000171"), *digests)


def tree(leaves):
    """The nodes over these leaves: (next, digests), and the digest of the root."""
    levels, digests = [], leaves
    while True:
        groups = [digests[i : i + 8] for i in range(0, len(digests), 8)]
        levels.append(groups)
        digests = [policy_or(group) for group in groups]
        if len(groups) == 1:
            break
    nodes, start = [], 0
    for level, groups in enumerate(levels):
        above = start + len(groups)
        for place, group in enumerate(groups):
            last = level + 1 == len(levels)
            nodes.append((0 if last else above + place // 8 - (start + place), group))
        start = above
    return nodes, digests[0]


def check_policy(sealed, composites, scalar):
    bitmap = sum(1 << pcr for pcr in sealed.pcrs).to_bytes(3, "little")
    selection = bytes.fromhex("00000001000b03") + bitmap if sealed.pcrs else bytes(4)
    leaves = []
    for composite in composites:
        leaf = h(bytes(32), bytes.fromhex("0000017f"), selection, composite)
        if leaf not in leaves:
            leaves.append(leaf)
    nodes, approved = tree(leaves)
    check(sealed.nodes == nodes, "the tree is another one")
    check(sealed.approved == approved, "another policy is approved")
    key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    point = key.public_key().public_numbers()
    x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
    area = bytes.fromhex("0023000b00040060000000100018000b00030010")
    sized = [len(n).to_bytes(2, "big") + n for n in (x, y)]
    stripped = [len(m).to_bytes(2, "big") + m for n in (x, y) for m in [n.lstrip(b"\0")]]
    check(sealed.policy_key in (area + b"".join(sized), area + b"".join(stripped)), "another policy key")
    name = bytes.fromhex("000b") + h(sealed.policy_key)
    after = h(h(bytes(32), bytes.fromhex("0000016a"), name), POLICY_REF)
    static = h(after, bytes.fromhex("0000016b"))
    check(sealed.public[:42] == bytes.fromhex("0008000b000000000020") + static, "another static policy")
    signature = Cursor(sealed.signature)
    check(signature.take(4) == bytes.fromhex("0018000b"), "another scheme")
    r, s = (int.from_bytes(signature.sized(), "big") for _ in range(2))
    key.public_key().verify(
        utils.encode_dss_signature(r, s),
        h(approved, POLICY_REF),
        ec.ECDSA(utils.Prehashed(hashes.SHA256())),
    )


def main():
    file, parents, parent, *composites = sys.argv[1:]
    with open(file, "rb") as opened:
        sealed = Sealed(opened.read())
    with open(parents) as opened:
        parent = json.load(opened)["parents"][parent]
    payload = Cursor(payload_of(sealed, parent))
    key, scalar = payload.sized(), payload.sized()
    check(payload.at == len(payload.data), "something follows the payload")
    check_policy(sealed, [bytes.fromhex(composite) for composite in composites], scalar)
    print(key.hex())


if __name__ == "__main__":
    main()
