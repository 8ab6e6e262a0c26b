"""Makes the derivation of a container's keys costly. usage: costly.py IMAGE OFFSET_OF_CONTAINER pbkdf2|argon2id"""

import hashlib
import json
import struct
import sys

image, start, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ITERATIONS = 90_000_000
with open(image, "r+b") as file:
    for copy in (0, None):
        at = start if copy == 0 else start + size
        file.seek(at)
        (size,) = struct.unpack(">Q", file.read(16)[8:])
        file.seek(at)
        header = bytearray(file.read(size))
        metadata = json.loads(header[4096:].rstrip(b"\0"))
        for keyslot in metadata["keyslots"].values():
            kdf = keyslot["kdf"]
            if kind == "pbkdf2":
                kdf["iterations"] = ITERATIONS
            else:
                salt = kdf["salt"]
                keyslot["kdf"] = {"type": "argon2id", "time": 20_000, "memory": 4096, "cpus": 1, "salt": salt}
        if kind == "pbkdf2":
            for digest in metadata["digests"].values():
                digest["iterations"] = ITERATIONS
        text = json.dumps(metadata, separators=(",", ":")).encode()
        header[4096:] = text + bytes(size - 4096 - len(text))
        header[0x1C0:0x200] = bytes(64)
        header[0x1C0:0x1E0] = hashlib.sha256(header).digest()
        file.seek(at)
        file.write(header)
