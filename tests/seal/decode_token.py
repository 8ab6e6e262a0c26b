#!/usr/bin/python3
"""Take a LUKS2 token of type systemd-tpm2 apart, with the private half of its storage key.

    decode_token.py TOKEN.json KEY.json

Prints what it finds as JSON, with the names that tests/data/systemd-tokens has in `decoded`, and `policy_digest` as it
follows from the PCR values in standard input (JSON, by their numbers). Whatever contradicts itself ends it with 1.

The import is TPM 2.0 Library, part 1, written once more with the package cryptography; it shares no code with ours.
"""

import base64
import hashlib
import hmac
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.dont_write_bytecode = True

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from open_offline import check, h, kdf_a, seed_of
from unseal import Cursor


def parent_of(key):
    """The key in the form that open_offline.py has."""
    if key["type"] == "rsa":
        private = {"p": key["test_only_prime_p_hex"], "q": key["test_only_prime_q_hex"]}
    else:
        private = {"d": key["test_only_private_scalar_hex"]}
    return {"type": key["type"], "private": private, "public": key["tpm2b_public_hex"]}


def shared_x(key, x, y):
    private = ec.derive_private_key(int(key["test_only_private_scalar_hex"], 16), ec.SECP256R1())
    numbers = [int.from_bytes(n, "big") for n in (x, y)]
    other = ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
    return private.exchange(ec.ECDH(), other)


def decoded_blob(blob, key):
    found = {}
    cursor = Cursor(blob)
    private, area, seed_secret = cursor.sized(), cursor.sized(), cursor.sized()
    check(cursor.at == len(blob), "bytes follow the blob")
    name = bytes.fromhex("000b") + h(area)
    public = Cursor(area)
    check(public.take(4) == bytes.fromhex("0008000b"), "another type of object")
    found["private_len"] = len(private)
    found["public_hex"] = area.hex()
    found["object_name"] = name.hex()
    found["attributes"] = f"0x{public.number(4):08x}"
    found["auth_policy"] = public.sized().hex()
    check(public.take(2) == bytes.fromhex("0010"), "a scheme")
    unique = public.sized()
    check(public.at == len(area), "bytes follow the public area")
    found["unique"] = unique.hex()
    found["seed_len"] = len(seed_secret)
    outer = Cursor(private)
    mac = outer.sized()
    encrypted = private[outer.at :]
    found["outer_hmac"] = mac.hex()
    found["encrypted_sensitive_len"] = len(encrypted)
    if key["type"] == "ecc":
        point = Cursor(seed_secret)
        x, y = point.sized(), point.sized()
        found |= {"ephemeral_x": x.hex(), "ephemeral_y": y.hex()}
        found["ecdh_z"] = shared_x(key, x, y).hex()
    seed = seed_of(parent_of(key), seed_secret, None)
    storage, integrity = kdf_a(seed, b"STORAGE", name, 128), kdf_a(seed, b"INTEGRITY", b"", 256)
    found |= {"seed": seed.hex(), "storage_key": storage.hex(), "integrity_key": integrity.hex()}
    check(hmac.new(integrity, encrypted + name, hashlib.sha256).digest() == mac, "the HMAC is wrong")
    decryptor = Cipher(algorithms.AES(storage), modes.CFB(bytes(16))).decryptor()
    plain = decryptor.update(encrypted) + decryptor.finalize()
    found["sensitive_hex"] = plain.hex()
    sensitive = Cursor(plain)
    check(sensitive.number(2) == len(plain) - 2, "the sensitive area has another length")
    check(sensitive.number(2) == 0x0008, "the sensitive area is of another type")
    found["auth_value"] = sensitive.sized().hex()
    seed_value, secret = sensitive.sized(), sensitive.sized()
    check(seed_value == seed, "the seed value is not the seed, as systemd has it")
    check(h(seed_value, secret) == unique, "unique is another digest")
    found["test_only_secret"] = secret.hex()
    found["test_only_passphrase"] = base64.b64encode(secret).decode()
    return found


def decoded_srk(data):
    cursor = Cursor(data)
    handle, name, kind = cursor.number(4), cursor.sized(), cursor.number(4)
    public = cursor.sized()
    check(cursor.at == len(data), "bytes follow the key")
    check(name == bytes.fromhex("000b") + h(public), "another name")
    return {
        "handle": f"0x{handle:08x}",
        "name": name.hex(),
        "resource_kind": kind,
        "public_hex": public.hex(),
        "total_len": len(data),
    }


def policy(token, values):
    """The policy digest of these values; banks and PIN as in the vectors."""
    digest = bytes(32)
    if token["tpm2-pcrs"]:
        bank = {"sha256": "000b", "sha384": "000c"}[token["tpm2-pcr-bank"]]
        bitmap = sum(1 << pcr for pcr in token["tpm2-pcrs"]).to_bytes(3, "little")
        selection = bytes.fromhex(f"00000001{bank}03") + bitmap
        composite = h(*(bytes.fromhex(values[str(pcr)]) for pcr in sorted(token["tpm2-pcrs"])))
        digest = h(digest, bytes.fromhex("0000017f"), selection, composite)
    if token.get("tpm2-pin"):
        digest = h(digest, bytes.fromhex("0000016b"))
    return digest.hex()


def main():
    with open(sys.argv[1]) as opened:
        token = json.load(opened)
    with open(sys.argv[2]) as opened:
        key = json.load(opened)
    found = decoded_blob(base64.b64decode(token["tpm2-blob"], validate=True), key)
    if "tpm2_srk" in token:
        found["tpm2_srk"] = decoded_srk(base64.b64decode(token["tpm2_srk"], validate=True))
    found["policy_digest"] = policy(token, json.load(sys.stdin))
    check(found["policy_digest"] == token["tpm2-policy-hash"] == found["auth_policy"], "another policy")
    print(json.dumps(found))


main()
