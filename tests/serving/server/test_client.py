"""The client's side of the protocol: tokens, and errors that say something."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

import httpx
import pytest

from model.errors import FlyobjError, InputError, PhotoError
from serving.server.client import Client, ServerError
from serving.server.remote_server import RemoteServer
from serving.server.tokens import KINDS

if TYPE_CHECKING:
    from tests.conftest import Home

Handler = Callable[[httpx.Request], httpx.Response]


def write_keys(home: Path, minutes: float, suffix: str = "") -> None:
    """Write tokens that run out in so many minutes, as TorchServe does."""
    expires = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    entry = {kind: {"key": kind + suffix, "expiration time": expires} for kind in KINDS}
    (home / "key_file.json").write_text(json.dumps({**entry, "API": {"key": "api"}}))


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[[Handler], Client]]:
    clients: list[Client] = []

    def connect(handler: Handler) -> Client:
        addresses = "http://127.0.0.1:8080", "http://127.0.0.1:8081"
        server = RemoteServer(*addresses, str(tmp_path / "store"), tmp_path / "key_file.json")
        clients.append(Client(server, httpx.MockTransport(handler)))
        return clients[-1]

    yield connect
    for client in clients:
        client.__exit__()


Connect = Callable[[Handler], Client]


def unexpected(request: httpx.Request) -> httpx.Response:
    pytest.fail(f"unexpected {request.method} {request.url}")


@pytest.mark.parametrize(
    ("version", "segment"),
    [
        ("2.0#", b"2.0%23"),
        ("3.0?x=1", b"3.0%3Fx%3D1"),
        ("1.0 %", b"1.0%20%25"),
        ("\uff12", b"%EF%BC%92"),
    ],
)
def test_a_version_is_one_segment_whatever_is_in_it(
    connect: Connect, tmp_path: Path, version: str, segment: bytes
) -> None:
    """`2.0#` mustn't name 2.0, neither to answer a photo nor to be removed."""
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(200, json={})

    write_keys(tmp_path, minutes=30)
    client = connect(answer)
    client.predict(b"photo", version)
    client.unregister(version)
    client.set_default(version)
    models = b"/models/flying_objects/" + segment
    assert asked == [b"/predictions/flying_objects/" + segment, models, models + b"/set-default"]


@pytest.mark.parametrize("version", ["", ".", "..", "../x", "a/b"])
def test_what_no_path_can_name_is_not_asked_for(connect: Connect, version: str) -> None:
    for ask in (lambda client: client.predict(b"photo", version), lambda c: c.unregister(version)):
        with pytest.raises(InputError, match="can't be a model's name or version"):
            ask(connect(unexpected))


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_lasts_is_not_renewed(connect: Connect, tmp_path: Path, kind: str) -> None:
    write_keys(tmp_path, minutes=30)
    assert connect(unexpected).tokens.get(kind) == kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("minutes", [4, -10])
def test_a_token_that_runs_out_is_renewed(
    connect: Connect, tmp_path: Path, kind: str, minutes: float
) -> None:
    asked: list[httpx.Request] = []

    def renew(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        write_keys(tmp_path, minutes=60, suffix=" renewed")
        return httpx.Response(200)

    write_keys(tmp_path, minutes)
    assert connect(renew).tokens.get(kind) == f"{kind} renewed"
    (request,) = asked
    assert str(request.url) == f"http://127.0.0.1:8081/token?type={kind}"
    assert request.headers["Authorization"] == "Bearer api"


def test_a_token_that_was_just_replaced_is_tried_again(connect: Connect, tmp_path: Path) -> None:
    """A refused call is made once more, with the token that the file has a moment later."""
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        if sent[-1] == "Bearer inference":
            Timer(0.1, write_keys, (tmp_path, 60, " renewed")).start()
            return httpx.Response(400, text='{"code": 400, "type": "InvalidKeyException"}')
        return httpx.Response(200, json={"predicted": "a"})

    write_keys(tmp_path, minutes=30)
    assert connect(answer).predict(b"photo") == {"predicted": "a"}
    assert sent == ["Bearer inference", "Bearer inference renewed"]


def test_a_token_that_is_refused_for_good_is_tried_twice_at_most(
    connect: Connect, tmp_path: Path
) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        return httpx.Response(400, json={"type": "InvalidKeyException", "message": "no"})

    write_keys(tmp_path, minutes=30)
    with pytest.raises(FlyobjError, match=r"no \(HTTP 400\)"):
        connect(answer).predict(b"photo")
    assert sent == ["Bearer inference"] * 2


def test_a_call_carries_the_token_and_the_photo(connect: Connect, tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://127.0.0.1:8080/predictions/flying_objects/1.0"
        assert request.headers["Authorization"] == "Bearer inference"
        assert request.content == b"photo"
        return httpx.Response(200, json={"predicted": "a"})

    write_keys(tmp_path, minutes=30)
    assert connect(answer).predict(b"photo", "1.0") == {"predicted": "a"}


def test_an_answer_with_its_times(connect: Connect, tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/explanations/flying_objects"
        headers = {"Server-Timing": "decode;dur=1.25, inference;dur=7"}
        return httpx.Response(200, json={"predicted": "a"}, headers=headers)

    write_keys(tmp_path, minutes=30)
    timed = connect(answer).ask(b"photo", explain=True)
    assert timed.answer == {"predicted": "a"}
    assert timed.worker_ms == {"decode": 1.25, "inference": 7.0}
    assert timed.took_ms > 0


def test_an_older_archive_does_not_say_its_times(connect: Connect, tmp_path: Path) -> None:
    write_keys(tmp_path, minutes=30)
    client = connect(lambda _: httpx.Response(200, json={"predicted": "a"}))
    assert client.ask(b"photo").worker_ms == {}


@pytest.mark.parametrize("status", [400, 413, 415])
def test_a_bad_photo_is_a_photo_error_with_the_handlers_message(
    connect: Connect, tmp_path: Path, status: int
) -> None:
    write_keys(tmp_path, minutes=30)
    body = {"code": status, "type": "UnreadableImage", "message": "cut short"}
    client = connect(lambda _: httpx.Response(status, json=body))
    with pytest.raises(PhotoError, match=rf"^cut short \(HTTP {status}\)$"):
        client.predict(b"photo")


@pytest.mark.parametrize("after", ["0", "Wed, 25 Nov 2026 07:28:00 GMT", ""])
def test_a_gate_that_wants_a_pause_gets_one(connect: Connect, tmp_path: Path, after: str) -> None:
    """In seconds, or a date, which is taken for a second; not for longer than anybody would wait."""
    answers = [httpx.Response(429, headers={"Retry-After": after}), httpx.Response(200, json={"a": 1})]
    write_keys(tmp_path, minutes=30)
    assert connect(lambda _: answers.pop(0)).predict(b"photo") == {"a": 1}
    busy = connect(lambda _: httpx.Response(429, headers={"Retry-After": "86400"}))
    with pytest.raises(ServerError, match="HTTP 429"):
        busy.predict(b"photo")


@pytest.mark.parametrize("status", [500, 503])
def test_another_refusal_is_the_servers(connect: Connect, tmp_path: Path, status: int) -> None:
    write_keys(tmp_path, minutes=30)
    client = connect(lambda _: httpx.Response(status, json={"message": "broken"}))
    with pytest.raises(ServerError, match=rf"broken \(HTTP {status}\)") as error:
        client.predict(b"photo")
    assert error.value.status == status


def test_a_version_that_is_not_there_is_wrong_input(connect: Connect, tmp_path: Path) -> None:
    write_keys(tmp_path, minutes=30)
    client = connect(lambda _: httpx.Response(404, json={"message": "no version 9.9"}))
    with pytest.raises(InputError, match=r"no version 9\.9 .* `flyobj models list` shows"):
        client.predict(b"photo", "9.9")


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(503, text="<html>busy</html>"), "HTTP 503 Service Unavailable <html>busy"),
        (httpx.Response(413), "^HTTP 413 Request Entity Too Large$"),
        (httpx.Response(500, json=["a", "list"]), "HTTP 500 Internal Server Error"),
        (httpx.Response(500, json={"no": "message"}), "HTTP 500 Internal Server Error"),
    ],
)
def test_an_error_without_a_message_is_told_too(
    connect: Connect, tmp_path: Path, response: httpx.Response, message: str
) -> None:
    write_keys(tmp_path, minutes=30)
    with pytest.raises(ServerError, match=message):
        connect(lambda _: response).set_default("1.0")


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


@pytest.mark.parametrize("minutes", [30, 1], ids=["good token", "token to renew"])
def test_a_server_that_does_not_answer(connect: Connect, tmp_path: Path, minutes: float) -> None:
    write_keys(tmp_path, minutes)
    with pytest.raises(FlyobjError, match=r":808[01] doesn't answer \(ConnectError\); see .*logs"):
        connect(refuse).predict(b"photo")


def test_missing_tokens(connect: Connect) -> None:
    with pytest.raises(FlyobjError, match=r"key_file"):
        connect(unexpected).predict(b"photo")


def test_the_environments_proxies_play_no_part(server: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with server.client() as client:
        assert client.software()


def test_the_models_name_is_the_deployments(connect: Connect, tmp_path: Path) -> None:
    client = connect(unexpected)
    assert client.path() == "/predictions/flying_objects"  # nothing is deployed yet
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "deployment.json").write_text('{"model": "cats"}')
    assert client.path("1.0") == "/predictions/cats/1.0"
    (tmp_path / "store" / "deployment.json").write_text("{}")  # of before models had names
    assert connect(unexpected).path(explain=True) == "/explanations/flying_objects"


def test_no_model_is_no_error(connect: Connect, tmp_path: Path) -> None:
    write_keys(tmp_path, minutes=30)
    client = connect(lambda _: httpx.Response(404, json={"message": "Model not found"}))
    assert client.versions() == {}
    assert client.default_version() is None


def test_what_is_no_torchserve_is_said(connect: Connect, tmp_path: Path) -> None:
    write_keys(tmp_path, minutes=30)
    with pytest.raises(ServerError, match=r"http://127\.0\.0\.1:8081 isn't a TorchServe"):
        connect(lambda _: httpx.Response(200, text="<html>")).versions()
    with pytest.raises(ServerError, match="out of memory"):
        connect(lambda _: httpx.Response(500, json={"message": "out of memory"})).versions()


def test_batch_sizes_are_summed_over_versions(connect: Connect, tmp_path: Path) -> None:
    text = """# TYPE flyobj_batches counter
flyobj_batches{model_name="m",model_version="1.0",batch_size="8",Hostname="h",} 3.0
flyobj_batches{model_name="m",model_version="2.0",batch_size="8",Hostname="h",} 1.0E1
flyobj_batches{model_name="m",model_version="1.0",batch_size="1",Hostname="h",} 5.0
ts_inference_requests_total{model_name="m",} 99.0
"""
    write_keys(tmp_path, minutes=30)
    assert connect(lambda _: httpx.Response(200, text=text)).batch_sizes() == {1: 5, 8: 13}


def test_both_tokens_are_kept(connect: Connect, tmp_path: Path) -> None:
    asked: list[str] = []

    def renew(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["type"])
        return httpx.Response(200)

    write_keys(tmp_path, minutes=4)
    connect(renew).tokens.keep()
    assert asked == list(KINDS)
