"""Which versions of TLS and which ciphers a server takes, each tried alone with `openssl s_client`."""

import re
import subprocess
from collections.abc import Iterator

from model.errors import InputError

PROTOCOLS = {
    "SSLv3": "-ssl3",
    "TLSv1": "-tls1",
    "TLSv1.1": "-tls1_1",
    "TLSv1.2": "-tls1_2",
    "TLSv1.3": "-tls1_3",
}
# Encrypted and authenticated at once, with a key that isn't kept: RFC 9325, sections 4.1 and 4.2.
_MODERN = re.compile("TLS_(AES|CHACHA20)_.*|ECDHE-.*(GCM|CHACHA20).*")
_OLD_TOO = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"  # or openssl itself refuses what is weak
_TIMEOUT_S = 20.0


def try_tls(port: int, host: str) -> Iterator[tuple[str, str, str]]:
    """Try each version, and with those that are taken each cipher.

    Yields:
        The version, the cipher, and the key exchange that was agreed on.
    """
    for name, option in PROTOCOLS.items():
        left = _ciphers(option)
        while left:
            agreed = _agree(port, host, option, left)
            if agreed is None:
                break
            yield name, *agreed
            left.remove(agreed[0])


def is_modern(protocol: str, cipher: str) -> bool:
    """Whether a version and a cipher have no known weakness."""
    return protocol in ("TLSv1.2", "TLSv1.3") and bool(_MODERN.fullmatch(cipher))


def _ciphers(option: str) -> list[str]:
    """List the ciphers that openssl has for a version; none if it doesn't speak it at all."""
    done = _openssl("ciphers", "-s", option, _OLD_TOO)
    return done.stdout.strip().split(":") if done.returncode == 0 and done.stdout.strip() else []


def _agree(port: int, host: str, option: str, ciphers: list[str]) -> tuple[str, str] | None:
    """Offer ciphers; returns the one that was taken with the key exchange, or None."""
    names = ":".join(ciphers)
    offer = ["-ciphersuites", names] if option == "-tls1_3" else ["-cipher", f"{names}:@SECLEVEL=0"]
    done = _openssl(*("s_client", "-connect", f"127.0.0.1:{port}", "-servername", host, option, *offer))
    found = re.search(r"^New, .*Cipher is (\S+)$", done.stdout, re.M)
    if not found or found[1] == "(NONE)":
        return None
    exchange = re.search(r"^Server Temp Key: (.+)$", done.stdout, re.M)
    return found[1], exchange[1] if exchange else ""


def _openssl(*words: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["openssl", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise InputError("openssl isn't installed; install Debian's openssl") from error
