"""Makes the keys of all users of accounts.conf: seeds for the processes, and what nats-server must know of them.

Usage: keys.py DIRECTORY    Writes NAME.nk for each user, which is its secret, and keys.conf, which is none. What is there stays: to give a
                            user another key, delete its .nk and run this again.
"""

import base64
import hashlib
import os
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Kinds of nkeys, as https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth has them: S, U.
SEED, USER = 18 << 3, 20 << 3

# Ed25519 as RFC 8032 has it, section 5.1: only what it takes to say which public key belongs to a seed.
P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202


def add(one, other):
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + product, P - 2, P) % P, (y1 * y2 + x1 * x2) * pow(1 - product, P - 2, P) % P


def public_key(seed):
    number = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    number = number & ((1 << 254) - 8) | (1 << 254)
    point, doubled = (0, 1), (BASE_X, BASE_Y)
    while number:
        if number & 1:
            point = add(point, doubled)
        doubled = add(doubled, doubled)
        number >>= 1
    x, y = point
    return (y | ((x & 1) << 255)).to_bytes(32, "little")


def encoded(prefix, key):
    """An nkey: its kind, the key, and a CRC-16 (XMODEM) in base32."""
    body = prefix + key
    crc = 0
    for byte in body:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return base64.b32encode(body + crc.to_bytes(2, "little")).decode().rstrip("=")


def seed_text(seed):
    return encoded(bytes([SEED | USER >> 5, (USER & 31) << 3]), seed)


def read_seed(text):
    return base64.b32decode(text + "=" * (-len(text) % 8))[2:34]


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for variable in re.findall(r"nkey: \$KEY_(\w+)", (HERE / "accounts.conf").read_text()):
        file = directory / f"{variable.lower().replace('_', '-')}.nk"
        if not file.exists():
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as secret:
                secret.write(seed_text(os.urandom(32)) + "\n")
        seed = read_seed(file.read_text().strip())
        lines.append(f"KEY_{variable}: {encoded(bytes([USER]), public_key(seed))}\n")
    (directory / "keys.conf").write_text("".join(lines))


if __name__ == "__main__":
    main()
