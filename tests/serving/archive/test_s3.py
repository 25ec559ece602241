"""Archives in S3: put there, brought from there, and all that can go wrong on the way.

Moto's server answers, over real HTTP. A proxy of our own stands before it where a connection must break,
and notes what was asked for.
"""

import base64
import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest

from model.errors import FlyobjError, InputError
from serving.archive import s3, s3_client
from serving.archive.s3 import fetch, push

if TYPE_CHECKING:
    from tests.conftest import Bucket, Home

KEY = "models/flying_objects-1.0.mar"
FlyObj = Callable[..., subprocess.CompletedProcess[str]]


class Proxy(ThreadingHTTPServer):
    """Passes everything on, notes it, and breaks off what it was told to."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.behind = str(urlsplit(behind).netloc)
        self.asked: list[tuple[str, str | None]] = []  # method and range
        self.cuts: list[int] = []  # bytes after which the next bodies end
        self.meanwhile: Callable[[], object] = lambda: None  # done when one was cut


class Forward(BaseHTTPRequestHandler):
    """One request on its way."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.headers.get("Range")))
        connection = HTTPConnection(self.server.behind, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "server", "date"):
                self.send_header(name, value)
        self.end_headers()
        cut = self.command == "GET" and self.server.cuts and self.server.cuts.pop(0)
        self.wfile.write(content[:cut] if cut else content)
        if cut:
            self.server.meanwhile()
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = forward  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def proxy(
    bucket: "Bucket",  # noqa: ARG001  # whose settings are changed here
    s3_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Proxy]:
    with Proxy(s3_server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        yield proxy
        proxy.shutdown()
        thread.join()


@pytest.fixture
def other_archive(repack: Callable[..., Path], tmp_path: Path) -> Path:
    """Another archive of the same name."""
    (tmp_path / "other").mkdir()
    target = tmp_path / "other" / "flying_objects-1.0.mar"
    return repack(target, {"index_to_name.json": lambda text: text + " "})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def hash_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def part_of(archive: Path) -> str:
    return f".{archive.name}.{hash_of(archive)[:16]}.part"


@pytest.mark.parametrize("place", ["models/", KEY])
def test_push(bucket: "Bucket", archive_path: Path, place: str) -> None:
    pushed = push(archive_path, bucket.url(place))
    assert (pushed.url, pushed.new) == (bucket.url(KEY), True)
    head = bucket.head(KEY)
    digest = hash_of(archive_path)
    assert head["Metadata"] == {"sha256": digest, "version": "1.0"}
    assert base64.b64decode(head["ChecksumSHA256"]).hex() == digest == pushed.sha256
    content = bucket.client.get_object(Bucket=bucket.name, Key=KEY)["Body"].read()
    assert content == archive_path.read_bytes()


def test_push_twice_writes_once(bucket: "Bucket", archive_path: Path, other_archive: Path) -> None:
    push(archive_path, bucket.url(KEY))
    assert not push(archive_path, bucket.url(KEY)).new
    with pytest.raises(InputError, match=r"is already another archive; .* --version, or .* --force"):
        push(other_archive, bucket.url(KEY))
    assert bucket.head(KEY)["Metadata"]["sha256"] == hash_of(archive_path)
    assert push(other_archive, bucket.url(KEY), force=True).new
    assert bucket.head(KEY)["Metadata"]["sha256"] == hash_of(other_archive)


def test_what_was_not_written_by_us_is_not_written_over(bucket: "Bucket", archive_path: Path) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=KEY, Body=b"theirs")
    with pytest.raises(InputError, match="has no 'sha256' among its metadata"):
        push(archive_path, bucket.url(KEY))
    assert bucket.head(KEY)["ContentLength"] == 6


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///key.mar", "http://bucket/key.mar", "s3://bucket/key", "s3://bucket/.mar"]
)
def test_wrong_places(archive_path: Path, tmp_path: Path, url: str) -> None:
    for transfer in (lambda: push(archive_path, url), lambda: fetch(url, tmp_path / "store")):
        with pytest.raises(InputError, match=r"give s3://BUCKET/"):
            transfer()
    assert not (tmp_path / "store").exists()


def test_only_archives_are_pushed(bucket: "Bucket", tmp_path: Path) -> None:
    (tmp_path / "a.mar").write_bytes(b"no archive")
    with pytest.raises(InputError, match="isn't a valid archive"):
        push(tmp_path / "a.mar", bucket.url())
    assert bucket.client.list_objects_v2(Bucket=bucket.name)["KeyCount"] == 0


def test_fetch(proxy: Proxy, bucket: "Bucket", archive_path: Path, tmp_path: Path) -> None:
    push(archive_path, bucket.url(KEY))
    got = fetch(bucket.url(KEY), tmp_path / "store")
    assert got == tmp_path / "store" / archive_path.name
    assert got.read_bytes() == archive_path.read_bytes()
    assert names(tmp_path / "store") == [archive_path.name]
    before = len(proxy.asked)
    assert fetch(bucket.url(KEY), tmp_path / "store") == got
    assert [method for method, _ in proxy.asked[before:]] == ["HEAD"]


def test_a_connection_that_breaks_is_resumed(
    proxy: Proxy, bucket: "Bucket", archive_path: Path, tmp_path: Path
) -> None:
    push(archive_path, bucket.url(KEY))
    proxy.cuts = [1_000_000, 500_000, 1]
    got = fetch(bucket.url(KEY), tmp_path)
    assert got.read_bytes() == archive_path.read_bytes()
    starts = [0, 1_000_000, 1_500_000, 1_500_001]
    assert [rest for method, rest in proxy.asked if method == "GET"] == [f"bytes={n}-" for n in starts]


def test_a_later_command_resumes(
    proxy: Proxy, bucket: "Bucket", archive_path: Path, tmp_path: Path
) -> None:
    push(archive_path, bucket.url(KEY))
    proxy.cuts = [1000] * 5
    with pytest.raises(FlyobjError, match=r"broke off 5 times, 5000 of \d+ bytes .* resumes there"):
        fetch(bucket.url(KEY), tmp_path)
    assert names(tmp_path) == [part_of(archive_path)]
    got = fetch(bucket.url(KEY), tmp_path)
    assert proxy.asked[-1] == ("GET", "bytes=5000-")
    assert got.read_bytes() == archive_path.read_bytes()
    assert names(tmp_path) == [archive_path.name]


def test_changed_under_the_download(
    proxy: Proxy, bucket: "Bucket", archive_path: Path, other_archive: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    push(archive_path, bucket.url(KEY))
    proxy.cuts = [1_000_000]
    proxy.meanwhile = lambda: bucket.put(KEY, other_archive.read_bytes(), hash_of(other_archive))
    with pytest.raises(FlyobjError, match="was changed while it was downloaded; run it again") as error:
        fetch(bucket.url(KEY), store)
    assert error.value.exit_code == 1
    assert names(store) == [part_of(archive_path)]
    assert fetch(bucket.url(KEY), store).read_bytes() == other_archive.read_bytes()
    assert names(store) == [archive_path.name]  # what was left of the other one is gone


@pytest.mark.parametrize("left", [b"", b"something else"])
def test_what_arrives_damaged_is_not_kept(
    bucket: "Bucket", archive_path: Path, tmp_path: Path, left: bytes
) -> None:
    """It was damaged in S3, or what was left of an earlier download was."""
    content = archive_path.read_bytes()
    bucket.put(KEY, content if left else content[:-1] + b"x", hash_of(archive_path))
    (tmp_path / part_of(archive_path)).write_bytes(left)
    with pytest.raises(FlyobjError, match=r"arrived with sha256 \w{64}, its metadata say"):
        fetch(bucket.url(KEY), tmp_path)
    assert names(tmp_path) == []


def test_the_stores_own_files_stay(bucket: "Bucket", archive_path: Path, other_archive: Path) -> None:
    push(archive_path, bucket.url(KEY))
    with pytest.raises(InputError, match="exists already and is another archive; remove or rename it"):
        fetch(bucket.url(KEY), other_archive.parent)
    assert names(other_archive.parent) == [other_archive.name]
    assert hash_of(other_archive) != hash_of(archive_path)


def test_a_second_download_is_refused(bucket: "Bucket", archive_path: Path, tmp_path: Path) -> None:
    push(archive_path, bucket.url(KEY))
    with (
        s3._open_alone(tmp_path / part_of(archive_path)),
        pytest.raises(FlyobjError, match="is being downloaded by another process"),
    ):
        fetch(bucket.url(KEY), tmp_path)


def test_a_full_disk(bucket: "Bucket", archive_path: Path, tmp_path: Path) -> None:
    """The process may write no file of more than 2 MB; the operating system refuses the rest."""
    push(archive_path, bucket.url(KEY))
    script = f"""
import resource
from pathlib import Path
from model.errors import FlyobjError
from serving.archive.s3 import fetch
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    fetch({bucket.url(KEY)!r}, Path({str(tmp_path)!r}))
except FlyobjError as error:
    print(error.exit_code, error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("1 ")
    assert "can't be written (File too large); make room and run it again" in said.stdout
    assert names(tmp_path) == [part_of(archive_path)]
    assert fetch(bucket.url(KEY), tmp_path).read_bytes() == archive_path.read_bytes()


@pytest.fixture
def stranger(bucket: "Bucket", s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be a user without any rights, on a server that looks at them from now on."""
    iam = boto3.client("iam")
    iam.create_user(UserName=bucket.name)
    key = iam.create_access_key(UserName=bucket.name)["AccessKey"]
    iam.close()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    httpx.post(f"{s3_server}/moto-api/reset-auth", content=b"0").raise_for_status()
    yield
    httpx.post(f"{s3_server}/moto-api/reset-auth", content=b"inf").raise_for_status()


@pytest.mark.usefixtures("stranger")
def test_denied(bucket: "Bucket", archive_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"doesn't let us write .*AccessDenied.*allows .*s3:PutObject"):
        push(archive_path, bucket.url(KEY))
    with pytest.raises(InputError, match=r"doesn't let us read .*403.*allows s3:GetObject"):
        fetch(bucket.url(KEY), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "url", "error", "message"),
    [
        ({}, "s3://BUCKET/no.mar", InputError, "doesn't exist, though its bucket does"),
        ({}, "s3://no-such-bucket/no.mar", InputError, "bucket 'no-such-bucket' doesn't exist"),
        ({}, "s3://Not_A_Bucket!/no.mar", InputError, "Invalid bucket name"),
        ({"ACCESS_KEY_ID": None}, "s3://BUCKET/a.mar", InputError, "AWS credentials: .*set AWS_PROFILE"),
        ({"PROFILE": "nobody"}, "s3://BUCKET/a.mar", InputError, r"credentials: .*profile \(nobody\)"),
        ({"ENDPOINT_URL": "nonsense"}, "s3://BUCKET/a.mar", InputError, "check AWS_ENDPOINT_URL"),
        ({"ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://BUCKET/a.mar", FlyobjError, "Could not connect"),
    ],
)
def test_what_the_user_gave(
    bucket: "Bucket",
    archive_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str | None],
    url: str,
    error: type[FlyobjError],
    message: str,
) -> None:
    for name, value in changes.items():
        if value is None:
            monkeypatch.delenv(f"AWS_{name}")
        else:
            monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    place = url.replace("BUCKET", bucket.name)
    transfers: list[Callable[[], Any]] = [lambda: fetch(place, tmp_path / "store")]
    if "no.mar" not in url or "no-such" in url:
        transfers.append(lambda: push(archive_path, place))
    for transfer in transfers:
        with pytest.raises(error, match=message) as caught:
            transfer()
        assert type(caught.value) is error
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("bucket")
def test_a_store_that_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does whose network is cut; the seconds that it is waited for are shortened here."""
    monkeypatch.setattr(s3_client, "READ_S", 0.2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(FlyobjError, match=r"can't read 's3://b/a\.mar': Read timeout"):
            fetch("s3://b/a.mar", tmp_path)


def test_without_boto3(archive_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InputError, match=r"^s3:// needs boto3 \(.+\): pip install boto3$"):
        push(archive_path, "s3://bucket/")


def test_from_s3_to_a_server(
    inside: FlyObj,
    bucket: "Bucket",
    server: "Home",
    as_version: Callable[[Path, str], Path],
    tmp_path: Path,
) -> None:
    archive = as_version(tmp_path, "7.0")
    url = bucket.url(f"models/{archive.name}")
    said = json.loads(inside("push", archive, bucket.url("models/"), "--json").stdout)
    assert said == {"url": url, "sha256": hash_of(archive), "new": True}
    home = ("--home", server.path)
    result = inside("models", "deploy", url, "--workers", 1, *home)
    assert "version 7.0 is ready with 1 workers" in result.stdout
    assert (server.store / archive.name).read_bytes() == archive.read_bytes()
    inside("models", "retire", "7.0", *home)
    (server.store / archive.name).unlink()  # which other tests use too
    missing = inside("models", "deploy", bucket.url("models/flying_objects-8.0.mar"), *home, code=2)
    assert "doesn't exist, though its bucket does" in missing.stderr
    assert not [name for name in names(server.store) if "8.0" in name]
    bucket.put("models/none.mar", b"none", hashlib.sha256(b"none").hexdigest())
    none = inside("models", "deploy", bucket.url("models/none.mar"), *home, code=2)
    assert "none.mar' isn't a valid archive" in none.stderr
    assert not [name for name in names(server.store) if "none" in name]
