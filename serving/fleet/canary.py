"""A share of the real traffic for another version, split by a stock nginx in front of TorchServe.

nginx.conf reads the split from `canary.conf` beside it, written here, and logs each answer, judged here.
Going back is the same file with nothing in it.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import bdtrc

from model.errors import InputError
from model.files import reading
from serving.archive.layout import check_version
from serving.fleet import nginx
from serving.fleet.balancer import SERVERS
from serving.names import DEFAULT_MODEL, DEFAULT_PROXY_PORT
from serving.server.latency import percentile

_LOG_TAIL_BYTES = 8 << 20  # some 80,000 answers
_CHANCE = 1e-5  # a day's watch judges 1,440 separate minutes


@dataclass(frozen=True)
class Side:
    """The answers of one side of the split, in the time that was looked at."""

    answers: int
    failed: int  # status 500 and above
    p99_s: float


@dataclass(frozen=True)
class CanaryLimits:
    """When to switch back: over the share of the canary's answers that may fail, or the ratio of p99s.

    A p99 is over it if more of the canary's answers are slower than the ratio allows than 1 in 100 and
    chance explain: 7 of 60, 27 of 1,000. Alone it is the slowest of 60, which any pause makes.

    Looked at are the last `window_s` seconds; below `least` answers of the canary nothing is said.
    """

    error_rate: float = 0.01
    p99_ratio: float = 1.5
    window_s: float = 60
    least: int = 50


def start(proxy: Path, server_port: int, model: str, version: str, percent: float, listen: int) -> bool:
    """Send `percent` of the requests that name no version to `version`; True if nginx runs.

    `nginx.conf` is written where there is none, with the ports and the model given here.
    """
    check_version(version)
    if not 0 < percent <= 100:
        raise InputError(f"percent {percent:g} must be above 0 and at most 100")
    changes = {
        f"listen 127.0.0.1:{DEFAULT_PROXY_PORT};": f"listen 127.0.0.1:{listen};",
        f"predictions/{DEFAULT_MODEL}": f"predictions/{model}",
    }
    known = nginx.install(proxy, changes)
    if not any(
        words in known for words in (f'"predictions/{model}" $canary', f"/predictions/{model}$canary")
    ):
        raise InputError(
            f"{str(proxy / 'nginx.conf')!r} splits the traffic of another model than {model!r}; give a "
            "--proxy folder of its own, or remove that file"
        )
    nginx.write_new(proxy / nginx.KEYS, f"default {nginx.PASS_ON};\n")
    nginx.write_new(proxy / SERVERS, f"server 127.0.0.1:{server_port};\n")
    return nginx.write(proxy, nginx.CANARY, nginx.split(version, percent))


def off(proxy: Path) -> bool:
    """Send all requests to the default version again; True if nginx runs."""
    if not (proxy / nginx.CONF).is_file():
        raise InputError(f"{str(proxy)!r} holds no nginx.conf; `flyobj canary start` writes one")
    return nginx.write(proxy, nginx.CANARY, nginx.split("", 0))


def judge(proxy: Path, limits: CanaryLimits) -> tuple[Side, Side, str | None]:
    """Look at the last answers: the canary's, the others', and why to switch back, or None."""
    since = time.time() - limits.window_s
    recent = [line for line in _read_log(proxy) if line["time"] >= since]
    mine = [line for line in recent if line["canary"]]
    canary, others = _summarize(mine), _summarize([line for line in recent if not line["canary"]])
    slow = sum(line["seconds"] > limits.p99_ratio * others.p99_s for line in mine)
    why, enough = None, canary.answers >= limits.least
    if enough and canary.failed > limits.error_rate * canary.answers:
        why = (
            f"{canary.failed} of the canary's {canary.answers} answers failed, a share of "
            f"{limits.error_rate:g} is allowed"
        )
    elif enough and others.answers >= limits.least and bdtrc(slow - 1, canary.answers, 0.01) < _CHANCE:
        why = (
            f"the canary's p99 is {canary.p99_s:.3f} s, the others' {others.p99_s:.3f} s; "
            f"{limits.p99_ratio:g} times that is allowed"
        )
    return canary, others, why


def _read_log(proxy: Path) -> Iterator[dict[str, Any]]:
    logs = proxy / "logs"
    path = next((p for p in (logs / "access.log", logs / "canary.log") if p.exists()), None)
    if path is None:
        return
    with reading(path, "remove it, and nginx writes a new one"), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
        for line in file:
            with suppress(ValueError, TypeError, LookupError, RecursionError):  # the first may be cut
                entry = json.loads(line)
                figures = {name: float(entry[name]) for name in ("time", "status", "seconds")}
                if entry["canary"] != "named" and entry.get("upstream", "asked"):
                    yield {**figures, "canary": entry["canary"]}


def _summarize(lines: list[dict[str, Any]]) -> Side:
    p99 = percentile((line["seconds"] for line in lines), 0.99)
    return Side(len(lines), sum(line["status"] >= 500 for line in lines), p99)
