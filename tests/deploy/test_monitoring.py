"""A real Prometheus scrapes the real server under load: has every query of the dashboard data?"""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from benchmarks.reliability.continuous_load import ContinuousLoad
from benchmarks.reliability.monitoring import MONITORING, expressions, numbers, panels, prometheus
from model.errors import PhotoError

if TYPE_CHECKING:
    from tests.conftest import Home

needs_prometheus = pytest.mark.usefixtures("prometheus_tools")
QUERIES = {f"{p['title']}: {legend}": e for p in panels() for legend, e in expressions(p).items()}
ROOT = MONITORING.parents[1]


def promtool(*arguments: object) -> str:
    command = ["promtool", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=MONITORING)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@needs_prometheus
def test_every_query_of_the_dashboard_has_data_and_no_alert_fires(
    server: "Home", photos: list[bytes], tmp_path: Path, free_port: int
) -> None:
    empty = set(QUERIES)
    until = time.monotonic() + 60
    with (
        server.client() as client,
        prometheus(tmp_path, [f"127.0.0.1:{server.port + 2}"], free_port) as found,
    ):
        with ContinuousLoad(client, photos[0], 4, "1.0"):
            while empty and time.monotonic() < until:
                with pytest.raises(PhotoError):
                    client.predict(b"no photo")
                empty = {name for name in empty if not numbers(found.query(QUERIES[name]))}
                time.sleep(0.2)
            (asked,) = found.query('sum(rate(flyobj_photos{model_version="1.0"}[5s]))')
        rules = found.rules()
    assert not empty
    assert float(asked["value"][1]) > 1
    assert {rule["name"] for rule in rules} == set(alerts())
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def alerts() -> list[str]:
    document = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    return [rule["alert"] for group in document["groups"] for rule in group["rules"]]


@needs_prometheus
def test_the_rules_fire_where_they_should() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


@needs_prometheus
def test_a_rule_that_is_wrong_fails_its_test(tmp_path: Path) -> None:
    """So the one above can fail."""
    for name in ("alerts.yml", "alerts_test.yml"):
        text = (MONITORING / name).read_text()
        (tmp_path / name).write_text(text.replace("> 0.01", "> 0.05"))
    command = ["promtool", "test", "rules", "alerts_test.yml"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 1
    assert "FlyingObjectsFails" in ended.stdout + ended.stderr


def test_every_alert_is_shown_to_fire_and_to_be_silent() -> None:
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for alert in alerts():
        mine = [bool(case.get("exp_alerts")) for case in cases if case["alertname"] == alert]
        assert set(mine) == {True, False}, alert


def test_every_alert_says_what_to_do() -> None:
    document = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for rule in (rule for group in document["groups"] for rule in group["rules"]):
        assert set(rule["annotations"]) == {"summary", "runbook"}
        assert rule["labels"]["severity"] in ("page", "warn", "info")


def test_dashboard_and_alerts_name_only_metrics_that_are_declared() -> None:
    """Without Prometheus too: a metric renamed in metrics.yaml would leave panels empty."""
    declared = yaml.safe_load((ROOT / "handler" / "metrics.yaml").read_text())
    names = {
        metric["name"] + suffix
        for room in ("ts_metrics", "model_metrics")
        for kind, metrics in declared[room].items()
        for metric in metrics
        for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }
    text = (MONITORING / "alerts.yml").read_text() + json.dumps(list(QUERIES.values()))
    used = set(re.findall(r"\b(?:flyobj|ts)_[a-z_]*[a-z]\b|\bRequests[2-5]XX\b", text))
    assert len(used) > 10
    assert used <= names


def test_grafana_finds_its_dashboard_and_its_source() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels())
