"""Hours under the load of every kind of client, with a rollout every five minutes: `make soak`.

Half of what the server can do is asked of it: photos of every format, bad and costly bodies, connections
that are dropped. Each five minutes a version is deployed, promoted, and the one before retired. Memory,
threads and open files of Java and the workers, logs and temporary files are sampled; through each figure
goes a line, whose growth in an hour has a limit. Wrong is: a figure that grows faster, a photo that is
answered differently from the bundle, a status that a body doesn't allow, an answer of a wrong version.
The last line is the result as JSON.

    python -m benchmarks.reliability.soak [--hours 1] [--load 0.5] [--run RUN] [--every 300]
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from benchmarks.program import console, parser_of, run
from benchmarks.reliability.archives import as_version
from benchmarks.reliability.continuous_load import ContinuousLoad
from benchmarks.reliability.costly import costly_cases
from benchmarks.reliability.judge import Judge
from benchmarks.reliability.mix import Droppers, Mix, MixedCases
from benchmarks.reliability.small_run import Subject, add_run, package
from benchmarks.reliability.trends import Trend, fit_trend
from model.image import decode_photo
from serving.rollout.operations import deploy, promote, remove_unused, retire
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.process_tree import family, pss_mib
from serving.server.temporary import temporary_server

CLIENTS = 8
COSTLY_EVERY_S = 10.0
_CALIBRATE_S, _SETTLE_S, _DROP_EVERY_S = 20.0, 10.0, 2.0
_SAMPLES = 300
_WARM_UP = 0.2  # share of the time at the start whose samples don't count
# Growth in an hour that is allowed.
RELATIVE_LIMITS = {"Java, MiB": 0.1, "workers, MiB": 0.1}  # to the first sample
LIMITS = {
    "threads of Java": 2.0,
    "open files of Java": 5.0,
    "open files of workers": 5.0,
    "processes": 1.0,
    "logs, MiB": 5.0,
    "files in logs": 10.0,
    "temporary files": 5.0,
    "temporary files, MiB": 5.0,
}


def sample(server: lifecycle.Server) -> dict[str, float]:
    """Measure everything that could grow."""
    process = server.process()
    sizes = pss_mib(process) if process else {}
    java = {name: size for name, size in sizes.items() if name.startswith("java")}
    members = family(process) if process else []
    workers = [p for p in members if process and p.pid != process.pid]
    logs, scratch = Path(server.home) / "logs", server.scratch_folder
    return {
        "Java, MiB": sum(java.values()),
        "workers, MiB": sum(sizes.values()) - sum(java.values()),
        "threads of Java": process.num_threads() if process else 0,
        "open files of Java": process.num_fds() if process else 0,
        "open files of workers": sum(map(_open_files, workers)),
        "processes": len(members),
        "logs, MiB": _size_mib(logs),
        "files in logs": sum(1 for path in logs.rglob("*") if path.is_file()),
        "temporary files": sum(1 for _ in scratch.rglob("*")),
        "temporary files, MiB": _size_mib(scratch),
    }


def _open_files(process: psutil.Process) -> int:
    try:
        return process.num_fds()
    except psutil.NoSuchProcess:  # a decoder's process that ended
        return 0


def _size_mib(folder: Path) -> float:
    sizes = 0
    for path in folder.rglob("*"):
        try:
            sizes += path.stat().st_size if path.is_file() else 0
        except OSError:  # gone meanwhile
            continue
    return sizes / 2**20


class Rollouts:
    """One version after another, each taking the place of the one before."""

    def __init__(self, client: Client, subject: Subject, load: ContinuousLoad) -> None:
        """Begin with 1.0, which is served."""
        self.client, self.subject, self.load = client, subject, load
        self.current = 1

    def next(self) -> None:
        """Deploy, promote, retire; the old archive is removed, which is the operator's to do."""
        old, self.current = f"{self.current}.0", self.current + 1
        new = f"{self.current}.0"
        archive = as_version(self.subject.archive, self.subject.folder, new)
        deploy(self.client, archive)
        archive.unlink()
        self.load.allow(old, new)
        promote(self.client, new)
        self.load.allow(new)
        retire(self.client, old)
        remove_unused(self.client.store / f"flying_objects-{old}.mar")


def measure_capacity(judge: Judge, cases: MixedCases) -> float:
    """Let clients send good and bad requests as fast as they are answered; requests a second."""
    with Mix(judge, cases, None, CLIENTS) as calibration:
        time.sleep(_CALIBRATE_S / 2)  # Java's first requests are slow
        before = _count(calibration)
        time.sleep(_CALIBRATE_S)
        return (_count(calibration) - before) / _CALIBRATE_S


def soak(
    server: lifecycle.Server, client: Client, subject: Subject, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Load the server for hours, sampled and rolled out; returns the document."""
    deploy(client, subject.archive)
    photo = decode_photo(subject.photo)
    token = client.tokens
    judge = Judge(
        client.server.inference, lambda: token.get("inference"), subject.bundle, photo, trained=False
    )
    console.print("making what is sent, which takes a minute or two ...")
    cases = MixedCases(judge, photo)
    costly = list(costly_cases())
    capacity = measure_capacity(judge, cases)
    rate = max(1.0, arguments.load * capacity)
    console.print(f"{capacity:.0f} requests/s; now {rate:.0f}/s for {arguments.hours:g} h")
    cases.costly, cases.every = costly, max(1, int(rate * COSTLY_EVERY_S))
    seconds = 3600 * arguments.hours
    started = time.monotonic()
    times, samples = list[float](), list[Mapping[str, float]]()
    droppers = Droppers(client.server.inference, token.get("inference"), subject.photo, _DROP_EVERY_S)
    with (
        ContinuousLoad(client, subject.photo, 2, "1.0", think_s=0.5) as load,
        Mix(judge, cases, rate, CLIENTS) as mix,
        droppers,
    ):
        rollouts, due = Rollouts(client, subject, load), started + arguments.every
        while (now := time.monotonic()) < started + seconds:
            if now >= due:
                rollouts.next()
                due += arguments.every
                time.sleep(min(_SETTLE_S, arguments.every / 4))
            samples.append(sample(server))
            times.append(time.monotonic() - started)
            time.sleep(max(1.0, seconds / _SAMPLES))
    trends = judge_samples(times, samples, seconds)
    tally, versions = mix.tally, load.tally()
    lost = len(tally.wrong) + versions.failed + versions.wrong
    return {
        "hours": arguments.hours,
        "capacity_per_s": round(capacity, 1),
        "rate_per_s": round(rate, 1),
        "requests": _count(mix) + versions.requests,
        "good_photos": tally.good + versions.requests,
        "statuses_of_the_others": {str(k): v for k, v in sorted(tally.statuses.items())},
        "refused_for_now_and_asked_again": mix.asked_again,
        "dropped_connections": droppers.dropped,
        "sent_late_by_s": round(mix.behind_s, 1),
        "versions_deployed": rollouts.current - 1,
        "lost_or_wrong": lost,
        "examples": [*tally.wrong[:20], *map(str, versions.statuses.items())],
        "longest_answer_s": round(versions.longest_s, 2),
        "trends": {name: t.to_json() for name, t in trends.items()},
        "passed": not lost and all(t.verdict != "grows" for t in trends.values()),
    }


def judge_samples(
    times: list[float], samples: list[Mapping[str, float]], seconds: float
) -> dict[str, Trend]:
    """Draw the line of each figure, without the start."""
    kept = [i for i, time_s in enumerate(times) if time_s >= _WARM_UP * seconds]
    found = {}
    for name, limit in {**RELATIVE_LIMITS, **LIMITS}.items():
        values = [samples[i][name] for i in kept]
        allowed = limit * values[0] if name in RELATIVE_LIMITS and values else limit
        found[name] = fit_trend([times[i] for i in kept], values, allowed)
    return found


def _count(mix: Mix) -> int:
    return mix.tally.good + sum(mix.tally.statuses.values())


def print_trends(document: Mapping[str, Any]) -> None:
    """Print each figure with its growth."""
    table = Table("figure", "first", "last", "growth in an hour (95 %)", "allowed", "verdict")
    for name, t in document["trends"].items():
        growth = f"{t['per_hour']:+.2f}"
        if t["low"] is not None:
            growth += f" ({t['low']:+.2f} to {t['high']:+.2f})"
        ends = f"{t['first']:.1f}", f"{t['last']:.1f}"
        table.add_row(name, *ends, growth, f"{t['limit']:.1f}", t["verdict"])
    console.print(table)


def main() -> None:
    """Run it; it has passed if nothing grows and nothing was lost."""
    parser = parser_of(__doc__)
    add_run(parser)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--load", type=float, default=0.5, help="share of what the server can do")
    parser.add_argument("--every", type=float, default=300.0, help="seconds between two rollouts")
    arguments = parser.parse_args()

    def measure() -> dict[str, Any]:
        with package(arguments.run) as subject, temporary_server(subject.folder) as (server, client):
            return soak(server, client, subject, arguments)

    run(measure, print_trends)


if __name__ == "__main__":
    main()
