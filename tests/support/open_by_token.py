"""Opens a LUKS2 container by its tokens, with libcryptsetup and systemd's plugin for it, and says what came of it.

    open_by_token.py CONTAINER TCTI FOLDER [TOKEN]

FOLDER holds the plugin; TOKEN alone is tried where it is given. Nothing is activated: without the name of a mapping
libcryptsetup only checks the passphrase, so this takes no root and no device mapper. Prints `keyslot N`, or the name of
an error number; ENOENT means that no token opened, or that the plugin is missing: what the log says decides, which goes
to standard error.
"""

import ctypes
import errno
import os
import sys


class Parameters(ctypes.Structure):
    """What the plugin takes: a mask of the PCRs that a token must have (all bits: any), the TPM, and two files."""

    _fields_ = [
        ("pcr_mask", ctypes.c_uint32),
        ("tcti", ctypes.c_char_p),
        ("signature", ctypes.c_char_p),
        ("pcrlock", ctypes.c_char_p),
    ]


def main():
    container, tcti, folder = (argument.encode() for argument in sys.argv[1:4])
    token = int(sys.argv[4]) if len(sys.argv) > 4 else -1
    library = ctypes.CDLL("libcryptsetup.so.12")
    log_function = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    log = log_function(lambda level, text, _: sys.stderr.write(text.decode(errors="replace")))
    library.crypt_set_debug_level(-1)
    library.crypt_set_log_callback(None, log, None)
    # libcryptsetup 2.6 has no other folder than its own.
    if hasattr(library, "crypt_token_set_external_path") and library.crypt_token_set_external_path(folder) != 0:
        return "no path"
    device = ctypes.c_void_p()
    if library.crypt_init(ctypes.byref(device), container) != 0:
        return "no file"
    if library.crypt_load(device, b"LUKS2", None) != 0:
        return "no header"
    parameters = Parameters(0xFFFFFFFF, tcti, None, None)
    opened = library.crypt_activate_by_token_pin(
        device, None, b"systemd-tpm2", ctypes.c_int(token), None, ctypes.c_size_t(0), ctypes.byref(parameters), 0
    )
    return f"keyslot {opened}" if opened >= 0 else errno.errorcode.get(-opened, str(opened))


print(main(), flush=True)
sys.stderr.flush()
os._exit(0)  # the log function must not be called by what the library does at the very end
