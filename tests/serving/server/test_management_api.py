"""TorchServe's published cases of its management API against a server as we configure it.

The cases, in their order, and the published statuses are those of `test/postman/management_data.json` of
pytorch/serve. Models fetched from a bucket there come from the model store here. Where our
status is another one, the last column says why; `docs/rollout.md` has the same table.
"""

import json
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.conftest import Home

M, R = "models", "models?url=cases.mar&model_name=cases"
REMOTE = "https://torchserve.pytorch.org/mar_files/squeezenet1_1.mar"
OFF = "no URL is fetched"

# what, method, path, published, ours (if another), why
CASES: tuple[tuple[str, str, str, int, int | None, str], ...] = (
    ("register from a URL", "POST", f"{M}?url={REMOTE}&model_name=cases", 200, 404, OFF),
    ("register", "POST", R, 200, None, ""),
    ("register it again", "POST", R, 500, 409, "500 is of a second download"),
    ("unregister", "DELETE", f"{M}/cases", 200, None, ""),
    ("register without a url", "POST", M, 400, None, ""),
    ("register, handler that doesn't exist", "POST", f"{R}&handler=invalid", 200, None, ""),
    ("scale it", "PUT", f"{M}/cases?min_worker=1&synchronous=true", 500, None, ""),
    ("unregister it", "DELETE", f"{M}/cases", 200, None, ""),
    ("register, unknown runtime", "POST", f"{R}&runtime=python4", 400, None, ""),
    ("list", "GET", f"{M}?limit=&next_page_token=", 200, None, ""),
    ("register once more", "POST", R, 200, None, ""),
    ("describe all versions", "GET", f"{M}/cases/all", 200, None, ""),
    ("describe a version", "GET", f"{M}/cases/1.0", 200, None, ""),
    ("describe", "GET", f"{M}/cases", 200, None, ""),
    ("scale", "PUT", f"{M}/cases?min_worker=1", 202, None, ""),
    ("scale, synchronous", "PUT", f"{M}/cases?min_worker=1&synchronous=true", 200, None, ""),
    ("scale a version", "PUT", f"{M}/cases/1.0?min_worker=1&synchronous=true", 200, None, ""),
    ("scale no version", "PUT", f"{M}/cases/0.0?min_worker=1&synchronous=true", 404, None, ""),
    ("scale with number_gpu", "PUT", f"{M}/cases?min_worker=1&number_gpu=1", 202, None, ""),
    ("set default", "PUT", f"{M}/cases/1.0/set-default", 200, None, ""),
    ("set default, no such version", "PUT", f"{M}/cases/0.0/set-default", 404, None, ""),
    ("set default, no such model", "PUT", f"{M}/none/1.0/set-default", 404, None, ""),
    ("list one", "GET", f"{M}?limit=1", 200, None, ""),
    ("list, limit below 0", "GET", f"{M}?limit=-1", 200, None, ""),
    ("list, second page", "GET", f"{M}?limit=1&next_page_token=1", 200, None, ""),
    ("list, page below 0", "GET", f"{M}?limit=1&next_page_token=-1", 200, None, ""),
    ("list, page past the end", "GET", f"{M}?next_page_token=12", 200, None, ""),
    ("number_gpu", "PUT", f"{M}/cases?number_gpu=10", 202, None, ""),
    ("number_gpu below 0", "PUT", f"{M}/cases?number_gpu=-1", 202, None, ""),
    ("scale to 1 and 1", "PUT", f"{M}/cases?min_worker=1&max_worker=1&synchronous=true", 200, None, ""),
    ("the same, not waiting", "PUT", f"{M}/cases?min_worker=1&max_worker=1", 202, None, ""),
    ("timeout -1", "PUT", f"{M}/cases?timeout=-1", 202, None, ""),
    ("timeout 0", "PUT", f"{M}/cases?timeout=0", 202, None, ""),
    ("register, empty url", "POST", f"{M}?url=&model_name=cases", 404, None, ""),
    ("register, no such URL", "POST", f"{M}?url={REMOTE}.no&model_name=no", 400, 404, OFF),
    ("describe no model", "GET", f"{M}/none", 404, None, ""),
    ("describe no version", "GET", f"{M}/cases/0.0", 404, None, ""),
    ("synchronous=Nan", "PUT", f"{M}/cases?min_worker=1&synchronous=Nan", 202, None, ""),
    ("min_worker=nan", "PUT", f"{M}/cases?min_worker=nan&synchronous=nan", 202, None, ""),
    ("scale without parameters", "PUT", f"{M}/cases", 202, None, ""),
    ("scale no model", "PUT", f"{M}/none?min_worker=1", 404, None, ""),
    ("scale, more than the most", "PUT", f"{M}/cases?min_worker=2&max_worker=1", 400, None, ""),
    ("scale to none", "PUT", f"{M}/cases?min_worker=0", 202, None, ""),
    ("scale below none", "PUT", f"{M}/cases?min_worker=-1", 500, None, ""),
    ("at most below none", "PUT", f"{M}/cases?max_worker=-1", 400, None, ""),
    ("unregister no version", "DELETE", f"{M}/cases/0.0", 404, None, ""),
    ("unregister, synchronous", "DELETE", f"{M}/cases/?synchronous=true", 200, None, ""),
    ("unregister no model", "DELETE", f"{M}/none", 404, None, ""),
)

HANDLER = """
def handle(data, context):
    return [{"ok": True} for _ in data or []]
"""
MANIFEST = {"model": {"modelName": "cases", "handler": "handler.py:handle", "modelVersion": "1.0"}}


@pytest.fixture(scope="module")
def management(server: "Home") -> Iterator[httpx.Client]:
    """A client with the management token, and an archive of almost nothing in the store."""
    archive = server.store / "cases.mar"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps(MANIFEST))
        file.writestr("handler.py", HANDLER)
    with server.client() as client:
        headers = {"Authorization": f"Bearer {client.tokens.get('management')}"}
    base = f"http://127.0.0.1:{server.port + 1}/"
    with httpx.Client(base_url=base, headers=headers, timeout=60) as http:
        yield http
        http.delete(f"{M}/cases")
    archive.unlink()


@pytest.fixture(scope="module")
def statuses(management: httpx.Client) -> list[int]:
    return [management.request(method, path).status_code for _, method, path, *_ in CASES]


def test_every_case(statuses: list[int]) -> None:
    got = {case[0]: status for case, status in zip(CASES, statuses, strict=True)}
    assert got == {name: ours or published for name, _, _, published, ours, _ in CASES}


@pytest.mark.usefixtures("statuses")
def test_no_call_leaves_a_snapshot(server: "Home") -> None:
    """TorchServe would write one for each that changes something, and never remove it."""
    left = sorted(path.name for path in (server.path / "logs").rglob("*"))
    assert left == ["console.log", "server.log", "workers.log"]
