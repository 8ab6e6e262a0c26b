#!/usr/bin/python3
"""Print what a sealed key file is sealed to, read without any code of ours.

    sealed_policy.py FOLDER_OF_UNSEAL_PY FILE
"""

import sys

sys.path.insert(0, sys.argv[1])
import unseal  # noqa: E402

with open(sys.argv[2], "rb") as file:
    sealed = unseal.Sealed(file.read())
print("PCRs", *sealed.pcrs)
for next_node, digests in sealed.nodes:
    print("node", next_node, *(digest.hex() for digest in digests))
print("approved", sealed.approved.hex())
