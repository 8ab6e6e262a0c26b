"""Replays event logs, as a second implementation: prints as JSON, for each file, the values of each bank.

TCG PC Client Platform Firmware Profile 1.05, section 10.4.5 (the first event), 10.2.2 (TCG_PCR_EVENT2), 10.2.1 (the
format of TPM 1.2). Bytes that are all zero or all 0xff to the end are padding.
"""

import hashlib
import json
import struct
import sys

HASHES = {0x4: "sha1", 0xB: "sha256", 0xC: "sha384", 0xD: "sha512"}
NO_ACTION = 3


def events(log):
    """Yields register, type, digests and data of each event."""
    (size,) = struct.unpack_from("<I", log, 28)
    first = log[32 : 32 + size]
    at = 32 + size
    if not first.startswith(b"Spec ID Event03\0"):
        at = 0
        while at < len(log):
            register, kind, digest, size = struct.unpack_from("<II20sI", log, at)
            yield register, kind, {0x4: digest}, log[at + 32 : at + 32 + size]
            at += 32 + size
        return
    (count,) = struct.unpack_from("<I", first, 24)
    lengths = dict(struct.unpack_from("<HH", first, 28 + 4 * n) for n in range(count))
    while at < len(log) and len(set(log[at:])) + (log[at] not in (0, 0xFF)) > 1:
        register, kind, count = struct.unpack_from("<III", log, at)
        at += 12
        digests = {}
        for _ in range(count):
            (algorithm,) = struct.unpack_from("<H", log, at)
            digests[algorithm] = log[at + 2 : at + 2 + lengths[algorithm]]
            at += 2 + lengths[algorithm]
        (size,) = struct.unpack_from("<I", log, at)
        yield register, kind, digests, log[at + 4 : at + 4 + size]
        at += 4 + size


def replay(log):
    """The values of each bank whose hash function is there, and how many events there are."""
    values, count = {}, 0
    locality = 0
    everything = list(events(log))
    for _, kind, _, data in everything:
        if kind == NO_ACTION and data.startswith(b"StartupLocality\0") and len(data) == 17:
            locality = data[16]
    for register, kind, digests, _ in everything:
        count += 1
        for algorithm, digest in digests.items():
            if kind == NO_ACTION or algorithm not in HASHES:
                continue
            bank = values.setdefault(HASHES[algorithm], {})
            start = bytes(len(digest) - 1) + bytes([locality if register == 0 else 0])
            before = bank.get(register, start)
            bank[register] = hashlib.new(HASHES[algorithm], before + digest).digest()
    banks = {name: {pcr: value.hex() for pcr, value in bank.items()} for name, bank in values.items()}
    return {"events": count, "banks": banks}


answers = {}
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        content = file.read()
    try:
        answers[path] = replay(content)
    except (struct.error, KeyError):
        answers[path] = None
json.dump(answers, sys.stdout)
