"""Thousands of hostile requests with good ones mixed in, against a real TorchServe: `make fuzz`.

First every kind of `benchmarks.reliability.corpus` and `benchmarks.reliability.hostile` once, then
random changes of them from several clients at once, costly bodies among them, then the costly bodies
alone (`benchmarks.reliability.costs`). Wrong is: a status that the kind doesn't allow, an error of ours,
a good photo that isn't answered as the bundle answers it, no answer, a worker whose process was
replaced, workers that need more than 1.1 times the memory, a body that costs too much. Exit code 1 then.
The last line on standard output is one JSON document.

    python -m benchmarks.reliability.fuzz [--run RUN] [--photo FILE] [--requests 20000] [--seed 0]
"""

import argparse
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.program import console, parser_of, run
from benchmarks.reliability.corpus import Case
from benchmarks.reliability.costly import costly_cases
from benchmarks.reliability.costs import measure_costs
from benchmarks.reliability.hostile import hostile_cases, mutations, truncations
from benchmarks.reliability.judge import FuzzTally, Judge
from benchmarks.reliability.small_run import add_run, package
from model.image import decode_photo
from model.limits import RGB
from serving.rollout.operations import deploy
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.temporary import temporary_server

GOOD_SHARE = 0.2
COSTLY_SHARE = 0.005  # of the hostile ones; each takes a worker a second or more
MEMORY_GOAL = 1.1


def run_cases(judge: Judge, cases: Iterable[Case], tally: FuzzTally, clients: int) -> None:
    """Send each case once, several at a time, so that good and bad share batches."""
    left, lock = iter(cases), threading.Lock()

    def work() -> None:
        with judge.clients() as http:
            while True:
                with lock:
                    case = next(left, None)
                if case is None:
                    return
                tally.add(case, *judge.ask(http, case))

    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(work) for _ in range(clients)]:
            future.result()


def random_cases(
    judge: Judge, photo: RGB, hostile: int, seed: int, costly: Sequence[Case] = ()
) -> Iterator[Case]:
    """Yield `hostile` changed and costly requests with good ones between them."""
    rng = random.Random(seed)
    bad = mutations(photo, rng)
    with Progress(console=console) as progress:
        task = progress.add_task("fuzzing", total=hostile)
        sent = 0
        while sent < hostile:
            if rng.random() < GOOD_SHARE:
                yield rng.choice(judge.good)
            else:
                sent += 1
                progress.advance(task)
                yield rng.choice(costly) if costly and rng.random() < COSTLY_SHARE else next(bad)


def workers(client: Client) -> dict[int, float]:
    """Read the proportional set size of each worker process, MiB by pid."""
    entry = client.versions()["1.0"]
    pids = {int(worker["pid"]) for worker in entry["workers"]}
    running = lifecycle.require(Path(client.server.home or ""))
    sizes = {int(name.split()[-1]): mib for name, mib in lifecycle.memory_mib(running).items()}
    return {pid: round(sizes.get(pid, 0), 1) for pid in sorted(pids)}


def fuzz(client: Client, bundle: Path, photo: RGB, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both parts against a running server and report."""
    url = client.server.inference
    trained = arguments.run is not None
    judge = Judge(url, lambda: client.tokens.get("inference"), bundle, photo, trained)
    corpus, random_ones = FuzzTally(), FuzzTally()
    cold = workers(client)
    cases = [*judge.good, *hostile_cases(photo), *truncations(photo)]
    random.Random(arguments.seed).shuffle(cases)
    run_cases(judge, cases, corpus, arguments.clients)
    before, started = workers(client), time.monotonic()
    costly = list(costly_cases()) if arguments.wait else []
    mixed = random_cases(judge, photo, arguments.requests, arguments.seed, costly)
    run_cases(judge, mixed, random_ones, arguments.clients)
    seconds, after = time.monotonic() - started, workers(client)
    costs = measure_costs(judge, list(after), costly, arguments.wait) if costly else None
    ended = workers(client)
    ratio = sum(after.values()) / sum(before.values())
    wrong = corpus.wrong + random_ones.wrong
    return {
        "hostile": arguments.requests,
        "statuses": {str(k): v for k, v in sorted(random_ones.statuses.items())},
        "good": random_ones.good,
        "wrong": len(wrong),
        "wrong_examples": wrong[:20],
        "class_kept_in_other_formats": "asked" if trained else "not asked of a small model",
        "seconds": round(seconds, 1),
        "worker_restarts": len(set(cold) ^ set(ended)),
        "workers_mib": {"cold": cold, "before": before, "after": after},
        "memory_ratio": round(ratio, 3),
        "memory_goal": MEMORY_GOAL,
        "costs": costs,
        "passed": not wrong
        and set(cold) == set(ended)
        and ratio <= MEMORY_GOAL
        and (costs is None or costs["passed"]),
        "kinds": {
            kind: {"expected": expected, "got": {str(k): v for k, v in sorted(got.items())}}
            for kind, (expected, got) in corpus.table.items()
        },
    }


def write_table(kinds: Mapping[str, Any], path: Path) -> None:
    """Write what was sent, expected and got as a Markdown table."""
    lines = ["| kind | expected | got |", "|---|---|---|"]
    for kind, row in sorted(kinds.items()):
        got = ", ".join(f"{status} ({n})" if n > 1 else status for status, n in row["got"].items())
        lines.append(f"| {kind} | {row['expected']} | {got} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Package the run, serve it, fuzz it, stop."""
    parser = parser_of(__doc__)
    add_run(parser)
    parser.add_argument("--photo", type=Path, help="photo to start from; a golden one by default")
    parser.add_argument("--requests", type=int, default=20_000, help="hostile ones, after the corpus")
    parser.add_argument(
        "--wait", type=float, default=60, help="seconds beside costly clients; 0 leaves them out"
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="Markdown file to write every kind's answers to")
    arguments = parser.parse_args()

    def measure() -> dict[str, Any]:
        with package(arguments.run) as subject, temporary_server(subject.folder) as (_, client):
            photo = arguments.photo.read_bytes() if arguments.photo else subject.photo
            deploy(client, subject.archive)
            return fuzz(client, subject.bundle, decode_photo(photo), arguments)

    def show(document: dict[str, Any]) -> None:
        if arguments.table:
            write_table(document["kinds"], arguments.table)

    run(measure, show)


if __name__ == "__main__":
    main()
