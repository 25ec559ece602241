"""The gate's certificate: checked before nginx gets it, or made by `openssl` for one's own use."""

import shutil
import ssl
import stat
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import FlyobjError, InputError
from model.files import write_text
from serving.fleet.nginx import write_private

CERTIFICATE, KEY = "certificate.pem", "certificate-key.pem"  # in the gate's folder
_CERTBOT = Path("/etc/letsencrypt/live")  # https://eff-certbot.readthedocs.io/en/stable/using.html
_DAYS = (
    825  # Apple's systems take no certificate of a longer life: https://support.apple.com/en-us/103769
)
_REQUEST = """
[req]
distinguished_name = name
x509_extensions = own
prompt = no
[name]
CN = {first}
[own]
subjectAltName = {names}
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
"""


@dataclass(frozen=True)
class Files:
    """A certificate with its chain, and its private key."""

    certificate: Path
    key: Path

    def directives(self) -> list[str]:
        """Return nginx's lines; names beside nginx.conf are looked for there."""
        return [f'ssl_certificate "{self.certificate}";', f'ssl_certificate_key "{self.key}";']


def find(domain: str, certificate: Path | None, key: Path | None) -> Files:
    """Take the files that were given, or certbot's of the domain, and check them.

    Raises:
        InputError: one is missing, or they aren't good for the domain today.
    """
    if (certificate is None) != (key is None):
        missing = "--certificate-key" if key is None else "--certificate"
        raise InputError(f"a certificate needs its key, and a key its certificate; give {missing} too")
    live = _CERTBOT / domain
    files = Files(
        (certificate or live / "fullchain.pem").absolute(), (key or live / "privkey.pem").absolute()
    )
    check(files, domain)
    return files


def check(files: Files, domain: str) -> None:
    """Check that a certificate is good now, for this domain, with this key, which nobody else reads.

    Raises:
        InputError: it isn't.
    """
    for path, option in ((files.certificate, "certificate"), (files.key, "certificate-key")):
        if any(letter in str(path) for letter in '"$\\\n'):
            raise InputError(f"{str(path)!r}: nginx can't be given such a path; rename the file")
        if not path.is_file():
            raise InputError(
                f"{str(path)!r}: no such file; give --{option} FILE, or --self-signed for a try"
            )
    require_private(files.key, "the private key")

    def no_password() -> str:
        raise InputError(
            f"{str(files.key)!r} needs a password, which nginx couldn't type; write it without: "
            "openssl pkey -in KEY -out NEW"
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            files.certificate, files.key, no_password
        )
    except (ssl.SSLError, OSError) as error:
        raise InputError(
            f"{str(files.key)!r} isn't the key of {str(files.certificate)!r} ({error}); give both in "
            "PEM, the certificate first in its chain"
        ) from error
    asked = ["-startdate", "-enddate", "-checkhost", domain]
    said = _openssl("x509", "-in", str(files.certificate), "-noout", *asked)
    begin, end = (
        ssl.cert_time_to_seconds(line.partition("=")[2])
        for line in said.splitlines()
        if line.startswith(("notBefore=", "notAfter="))
    )
    if not begin <= time.time() < end:
        word, when = ("runs from", begin) if time.time() < begin else ("ran out on", end)
        day = time.strftime("%Y-%m-%d", time.gmtime(when))
        raise InputError(f"{str(files.certificate)!r} {word} {day}; give one that is good today")
    if "does match" not in said:
        raise InputError(f"{str(files.certificate)!r} isn't for {domain!r}; give that domain's")


def require_private(path: Path, what: str) -> None:
    """Raise `InputError` if others than its owner and group can use a file, where there is one."""
    if path.exists() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise InputError(
            f"{str(path)!r}: everybody on this machine can use {what}; chmod 600 it, and replace it if "
            "that may have happened"
        )


def make(folder: Path, names: Sequence[str]) -> Files:
    """Make a certificate that has signed itself, and which clients take as their `--ca-file`.

    Args:
        folder: the gate's; a certificate that is there already is kept while it is good.
        names: domains and IP addresses.
    """
    files = Files(Path(CERTIFICATE), Path(KEY))
    here = Files(folder / CERTIFICATE, folder / KEY)
    if here.certificate.exists() or here.key.exists():
        check(here, names[0])
        return files
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ", ".join(
        f"{'IP' if name[-1].isdecimal() or ':' in name else 'DNS'}:{name}" for name in names
    )
    request = _REQUEST.format(first=names[0][:64], names=kinds)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made = _openssl(
        *(
            "req",
            "-x509",
            *curve,
            "-days",
            str(_DAYS),
            "-config",
            "/dev/stdin",
            "-keyout",
            "-",
            "-out",
            "-",
        ),
        given=request,
    )
    key, begin, rest = made.partition("-----BEGIN CERTIFICATE-----")
    write_private(key, here.key)
    write_text(begin + rest, here.certificate)
    return files


def copy(files: Files, folder: Path) -> Files:
    """Copy a certificate into the gate's folder, which is all that a container sees."""
    folder.mkdir(parents=True, exist_ok=True)
    write_private(files.key.read_text(), folder / KEY)
    shutil.copyfile(files.certificate, folder / CERTIFICATE)
    return Files(Path(CERTIFICATE), Path(KEY))


def _openssl(*arguments: str, given: str = "") -> str:
    try:
        ended = subprocess.run(
            ["openssl", *arguments], input=given, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise InputError("certificates need `openssl`, which isn't installed; install it") from error
    if ended.returncode:
        raise FlyobjError(f"openssl {arguments[0]} failed: {ended.stderr.strip()[-300:]}")
    return ended.stdout
