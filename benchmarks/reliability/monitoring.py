"""A real Prometheus beside a server under load, and a picture of every panel of the Grafana dashboard.

A calm load, one of more than can be answered, photos that are none, and a rollout in between. Grafana
isn't needed: each query of the dashboard is asked of Prometheus and drawn. Needs Debian's `prometheus`.
The last line is the result as JSON; the exit code is 1 if a query has no data.

    python -m benchmarks.reliability.monitoring [--run RUN] [--seconds 40] \
        [--picture docs/pictures/dashboard.png]
"""

import json
import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.program import parser_of, run
from benchmarks.reliability.archives import as_version
from benchmarks.reliability.continuous_load import ContinuousLoad
from benchmarks.reliability.programs import find_program
from benchmarks.reliability.small_run import Subject, add_run, package
from model.errors import FlyobjError
from report import charts as kit
from serving.rollout.operations import deploy, promote
from serving.server.client import Client
from serving.server.ports import free_port
from serving.server.temporary import temporary_server
from serving.stock import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "flying-objects.json"
SCRAPE_S, WINDOW_S = 1, 5
_START_S = 60
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Prometheus:
    """A running one, at its address."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now: series, each with `metric` and `value`."""
        return self._result("query", {"query": expression})

    def over(self, expression: str, seconds: float) -> list[dict[str, Any]]:
        """Evaluate an expression each second of the last ones: series with `metric` and `values`."""
        now = time.time()
        times = {"start": now - seconds, "end": now, "step": SCRAPE_S}
        return self._result("query_range", {"query": expression, **times})

    def rules(self) -> list[dict[str, Any]]:
        """List the alert rules, with their health and state."""
        answer = httpx.get(f"{self.url}/api/v1/rules", timeout=_TIMEOUT_S, trust_env=False).json()
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    def _result(self, how: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        answer = httpx.get(
            f"{self.url}/api/v1/{how}", params=parameters, timeout=_TIMEOUT_S, trust_env=False
        ).json()
        if answer["status"] != "success":
            raise FlyobjError(f"Prometheus refuses {parameters['query']!r}: {answer.get('error')}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@contextmanager
def prometheus(folder: Path, targets: Sequence[str], port: int) -> Iterator[Prometheus]:
    """Run Debian's Prometheus with our configuration, these targets, and a scrape each second."""
    program = find_program("prometheus", "prometheus")
    document = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    document["global"] = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"}
    document["rule_files"] = [str(MONITORING / "alerts.yml")]
    document["scrape_configs"][0]["static_configs"] = [{"targets": list(targets)}]
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    found = Prometheus(f"http://127.0.0.1:{port}")
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + _START_S
        while True:
            with suppress(httpx.TransportError):
                if (
                    httpx.get(f"{found.url}/-/ready", timeout=_TIMEOUT_S, trust_env=False).status_code
                    == 200
                ):
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise FlyobjError(f"Prometheus doesn't start: {(folder / 'prometheus.log').read_text()}")
            time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(_TIMEOUT_S)


def panels() -> list[dict[str, Any]]:
    """Read the dashboard's panels."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def expressions(panel: dict[str, Any], window_s: int = WINDOW_S) -> dict[str, str]:
    """The panel's queries by their legend, with Grafana's variable for a window filled in."""
    return {
        target["legendFormat"]: target["expr"].replace("$__rate_interval", f"{window_s}s")
        for target in panel["targets"]
    }


def numbers(series: Sequence[dict[str, Any]]) -> list[float]:
    """The values of an instant query that are numbers."""
    values = [float(one["value"][1]) for one in series]
    return [value for value in values if not math.isnan(value)]


def draw(metrics: Prometheus, seconds: float, path: Path) -> dict[str, int]:
    """Draw every panel; returns how many points each query has, by panel and legend."""
    found = panels()
    lines = math.ceil(len(found) / 2)
    figure, grid = kit.panels((13, 2.3 * lines), lines, 2, len(found))
    points: dict[str, int] = {}
    for axis, panel in zip(grid, found, strict=True):
        axis.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults']['unit']})", fontsize=9)
        for legend, expression in expressions(panel).items():
            series = metrics.over(expression, seconds)
            for one in series:
                label = legend
                for name, value in one["metric"].items():
                    label = label.replace(f"{{{{{name}}}}}", value)
                times, values = zip(*one["values"], strict=True)
                begin = time.time() - seconds
                axis.plot([t - begin for t in times], [float(v) for v in values], label=label)
            points[f"{panel['title']}: {legend}"] = sum(len(one["values"]) for one in series)
        axis.set(xlim=(0, seconds), ylim=(0, None))
        axis.grid()
        axis.legend(fontsize=7, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    kit.save_png(figure, path)
    return points


def load(client: Client, subject: Subject, seconds: float) -> float:
    """Ask calmly, then all at once, with a rollout in between; returns how long it took."""
    begin = time.monotonic()
    with ContinuousLoad(client, subject.photo, 2, "1.0", think_s=0.05):
        time.sleep(seconds)
        for _ in range(20):  # photos that are none
            with suppress(FlyobjError):
                client.predict(b"no photo")
        deploy(client, as_version(subject.archive, subject.folder, "2.0"), workers=1)
        promote(client, "2.0")
        time.sleep(seconds / 2)
    with ContinuousLoad(client, subject.photo, 24, "2.0"):
        time.sleep(seconds)
    return time.monotonic() - begin


def main() -> None:
    """Run it; it has passed if every query has data."""
    parser = parser_of(__doc__)
    add_run(parser)
    parser.add_argument("--seconds", type=float, default=40, help="of each of the two loads")
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/dashboard.png"))
    arguments = parser.parse_args()

    def measure() -> dict[str, Any]:
        with package(arguments.run) as subject, temporary_server(subject.folder) as (_, client):
            deploy(client, subject.archive)
            target = client.server.metrics.removeprefix("http://")
            with prometheus(subject.folder, [target], free_port()) as metrics:
                seconds = load(client, subject, arguments.seconds)
                points = draw(metrics, seconds, arguments.picture)
        empty = [query for query, count in points.items() if not count]
        picture = str(arguments.picture)
        return {"points": points, "empty": empty, "picture": picture, "passed": not empty}

    run(measure)


if __name__ == "__main__":
    main()
