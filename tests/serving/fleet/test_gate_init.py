"""What `flyobj gate init` takes, what it refuses, and that it writes nothing then."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from model.errors import FlyobjError, InputError
from serving.fleet import certificate, gate, nginx

FlyObj = Callable[..., "subprocess.CompletedProcess[str]"]


def write_certificate(folder: Path, name: str, domain: str, begin: int, end: int) -> None:
    """Write a certificate that is good from and until so many days from now, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    owner = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    made = (
        x509.CertificateBuilder(owner, owner, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin))
        .not_valid_after(now + timedelta(days=end))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    nginx.write_private(plain.decode(), folder / f"{name}.key")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates that are good, ran out, aren't good yet, and are another domain's; and keys."""
    folder = tmp_path_factory.mktemp("certificates")
    write_certificate(folder, "good", "gate.test", -1, 30)
    write_certificate(folder, "old", "gate.test", -30, -1)
    write_certificate(folder, "new", "gate.test", 1, 30)
    write_certificate(folder, "other", "other.test", -1, 30)
    (folder / "open.key").write_bytes((folder / "good.key").read_bytes())
    (folder / "open.key").chmod(0o644)
    command = ["openssl", "pkey", "-in", folder / "good.key", "-aes256", "-passout", "pass:x", "-out"]
    subprocess.run([*command, folder / "locked.key"], check=True)
    (folder / "locked.key").chmod(0o600)
    (folder / "words.pem").write_text("words")
    return folder


@pytest.mark.parametrize(
    ("certificate_", "key", "why"),
    [
        ("old", "old", r"old\.pem' ran out on 20\d\d-\d\d-\d\d; give one that is good today"),
        ("new", "new", r"new\.pem' runs from 20\d\d-"),
        ("good", None, "a certificate needs its key, and a key its certificate; give --certificate-key"),
        (None, "good", "give --certificate too"),
        ("good", "other", r"other\.key' isn't the key of .*good\.pem'"),
        ("other", "other", r"other\.pem' isn't for 'gate\.test'; give that domain's"),
        ("good", "open", r"open\.key': everybody on this machine can use the private key; chmod 600 it"),
        ("good", "locked", r"locked\.key' needs a password"),
        ("words", "good", r"good\.key' isn't the key of .*words\.pem'"),
        ("none", "good", r"none\.pem': no such file; give --certificate FILE, or --self-signed"),
        (None, None, r"letsencrypt/live/gate\.test/fullchain\.pem': no such file"),
    ],
)
def test_certificates_that_are_no_good(
    files: Path, tmp_path: Path, certificate_: str | None, key: str | None, why: str
) -> None:
    given = files / f"{certificate_}.pem" if certificate_ else None
    with pytest.raises(InputError, match=why):
        certificate.find("gate.test", given, files / f"{key}.key" if key else None)
    assert not list(tmp_path.iterdir())


def test_a_certificate_of_ones_own(files: Path, inside: FlyObj, tmp_path: Path) -> None:
    pair = ("--certificate", files / "good.pem", "--certificate-key", files / "good.key")
    inside("gate", "init", tmp_path / "a", "--domain", "gate.test", *pair)
    text = (tmp_path / "a" / "nginx.conf").read_text()
    assert f'ssl_certificate_key "{files}/good.key";' in text
    assert "Strict-Transport-Security" in text
    inside("gate", "init", tmp_path / "b", "--domain", "gate.test", *pair, "--container")
    text = (tmp_path / "b" / "nginx.conf").read_text()
    assert 'ssl_certificate_key "certificate-key.pem";' in text
    assert (tmp_path / "b" / certificate.KEY).read_text() == (files / "good.key").read_text()
    assert (tmp_path / "b" / certificate.KEY).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"domain": "https://photos.example"}, "isn't a domain"),
        ({"domain": "10.0.0.1"}, "isn't a domain"),
        ({"domain": "a..b"}, "isn't a domain"),
        ({"domain": "a b"}, "isn't a domain"),
        ({"domain": "*.a.example"}, "isn't a domain"),
        ({"domain": "bücher.example"}, "isn't a domain; .*xn--"),
        ({"domain": "a.example; }"}, "isn't a domain"),
        ({"origins": ["https://a.example/x"]}, "give 'https://a.example'"),
        ({"origins": ["https://a.example/"]}, "give 'https://a.example'"),
        ({"origins": ["https://A.example"]}, "give 'https://a.example'"),
        ({"origins": ["https://a.example:443"]}, "give 'https://a.example'"),
        ({"origins": ["https://a.example:0x"]}, "isn't an origin"),
        ({"origins": ["*"]}, r"'\*' isn't an origin"),
        ({"origins": ["a.example"]}, "isn't an origin; .*https://app.example.org"),
        ({"origins": ['https://a.example" 1; "']}, "isn't an origin"),
        ({"rate": 0}, "--rate 0 must be from 1 to 100000: with 0 nobody could ask"),
        ({"connections": 0}, "--connections 0 must be from 1"),
        ({"listen": "8090"}, "'8090' isn't an address; give HOST:PORT"),
        ({"servers": ["127.0.0.1:0"]}, "isn't an address"),
        ({"servers": ["a:1; }"]}, "isn't an address"),
        ({"model": "a b"}, "can't be a model's name"),
    ],
)
def test_what_makes_no_gate(given: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        gate.GateSettings(**given)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "give --domain NAME with its certificate, --self-signed for a try, or --plain"),
        (["--plain", "--self-signed"], "exclude one another"),
        (["--self-signed", "--allow-origin", "https://a.example/x"], "give 'https://a.example'"),
    ],
)
def test_nothing_is_written_then(options: list[str], why: str, inside: FlyObj, tmp_path: Path) -> None:
    assert why in inside("gate", "init", tmp_path / "gate", *options, code=2).stderr
    assert not (tmp_path / "gate").exists()


def test_a_folder_that_is_in_use(inside: FlyObj, tmp_path: Path) -> None:
    folder = tmp_path / "gate"
    inside("gate", "init", folder, "--plain")
    before = (folder / nginx.KEYS).read_text()
    assert "is there already" in inside("gate", "init", folder, "--plain", code=2).stderr
    (folder / nginx.CONF).unlink()
    (folder / nginx.KEYS).chmod(0o644)
    assert "everybody on this machine" in inside("gate", "init", folder, "--plain", code=2).stderr
    (folder / nginx.KEYS).chmod(0o600)
    made = inside("gate", "init", folder, "--plain", "--json")  # keys stay
    assert json.loads(made.stdout)["key"] is None
    assert (folder / nginx.KEYS).read_text() == before
    assert "holds no gate" in inside("gate", "key", "x", "--gate", tmp_path, code=2).stderr
    for name in ("torchserve", "a b", '1"; }', "1"):
        with pytest.raises(InputError, match="can't be called"):
            gate.add_key(folder, name)
    (folder / nginx.CONF).unlink()
    (folder / nginx.KEYS).write_text("default torchserve;\n")
    assert "lets everybody in" in inside("gate", "init", folder, "--plain", code=2).stderr


@pytest.mark.parametrize("name", ['a"; }', "$host", "a\\b", "a\nb"])
def test_a_path_that_would_be_configuration_is_refused(files: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.pem"
    path.write_bytes((files / "good.pem").read_bytes())
    with pytest.raises(InputError, match="nginx can't be given such a path; rename the file"):
        certificate.find("gate.test", path, files / "good.key")


def test_a_certificate_that_signed_itself_is_kept_while_it_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = certificate.make(tmp_path, ["gate.test", "127.0.0.1"])
    before = (tmp_path / certificate.CERTIFICATE).read_bytes()
    assert certificate.make(tmp_path, ["gate.test"]) == made
    assert (tmp_path / certificate.CERTIFICATE).read_bytes() == before
    with pytest.raises(InputError, match=r"isn't for 'other\.test'; give that domain's"):
        certificate.make(tmp_path, ["other.test"])
    with pytest.raises(FlyobjError, match="openssl req failed: "):
        certificate.make(tmp_path / "new", ["gate.test,no"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="certificates need `openssl`, which isn't installed; install"):
        certificate.make(tmp_path / "new", ["gate.test"])
    assert not list((tmp_path / "new").iterdir())


def test_a_key_has_a_name_of_its_own(inside: FlyObj, tmp_path: Path) -> None:
    """Who goes by a name that is taken would stay when the other is let in no longer."""
    inside("gate", "init", tmp_path / "gate", "--plain")
    key = gate.add_key(tmp_path / "gate", "alice")
    before = (tmp_path / "gate" / nginx.KEYS).read_text()
    assert f'"Bearer {key}" alice;' in before
    with pytest.raises(InputError, match="there is a key 'alice' already"):
        gate.add_key(tmp_path / "gate", "alice")
    with pytest.raises(InputError, match=r"there is no key 'bob'; there are \['alice', '"):
        gate.remove_key(tmp_path / "gate", "bob")
    assert (tmp_path / "gate" / nginx.KEYS).read_text() == before
    gate.remove_key(tmp_path / "gate", "alice")
    assert key not in (tmp_path / "gate" / nginx.KEYS).read_text()


def test_a_key_of_our_own_making_is_its_owners_alone(tmp_path: Path) -> None:
    made = certificate.make(tmp_path, ["gate.test"])
    assert (tmp_path / made.key).stat().st_mode & 0o777 == 0o600
