"""The main job from nothing, as a user would do it: `make demo`.

Draws (or takes) photos, trains, evaluates, packages version 1.0, serves it, classifies a photo of each
class, forms batches, packages and promotes version 2.0, runs 20 s of Locust, stops. Everything is
done by the commands that a user has. Results: OUT/summary.json and OUT/report.html; the last line on
standard output is the summary as JSON.

    python -m cli.demo [--data DIR] [--weights imagenet|none|PATH] [--size 128] [--epochs 24]
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.demo_report import write_report
from model.errors import FlyobjError, InputError
from model.files import write_json
from model.photo_files import find_photos, folders_in
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.ports import free_port

PER_CLASS = 600
LR = 1e-3  # of pre-trained weights; range tests are careful, which takes more epochs than a demo has
LOAD_USERS, LOAD_S = 8, 20
BURST = 64  # requests at once, to see batches form
BIN = Path(sys.executable).parent
console = Console(stderr=True, highlight=False)


class Demo:
    """The steps of the demo; each adds to `summary`."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Lay out the folders under OUT; nothing is written yet."""
        self.out: Path = arguments.out
        self.data: Path = arguments.data or self.out / "data"
        self.arguments = arguments
        self.run_folder = self.out / "run"
        self.store = self.out / "model-store"
        self.home = self.out / "server"
        self.summary: dict[str, Any] = {"archives": [], "seconds": {}}

    def run(self) -> None:
        """Run every step; the server is stopped whatever happens."""
        self.clear()
        if not self.arguments.data:
            with self.step("draw photos"):
                self.flyobj("data", "synthesize", self.data, "--per-class", PER_CLASS)
        with self.step("train"):
            self.train()
        with self.step("evaluate"):
            result = self.flyobj("evaluate", self.run_folder, "--data", self.data)
            self.summary |= {"accuracy": result["accuracy"], "accuracy_95": result["accuracy_95"]}
        with self.step("package 1.0"):
            first = self.archive("1.0")
        try:
            with self.step("serve and deploy 1.0"):
                self.serve(first)
            with self.step("predict"):
                self.predict()
                self.batches()
            with self.step("package, deploy, promote 2.0"):
                self.roll_out(self.archive("2.0"))
            with self.step(f"load for {LOAD_S} s"):
                self.load()
        finally:
            with self.step("stop"):
                lifecycle.stop(self.home)
        self.summary["seconds"]["all"] = round(sum(self.summary["seconds"].values()), 1)
        write_json(self.summary, self.out / "summary.json")
        write_report(self.summary, self.data, self.run_folder, self.out)

    def clear(self) -> None:
        """Remove what an earlier demo left in its own folders, and nothing else."""
        if lifecycle.find(self.home):
            console.print("stopping the server that an earlier demo left")
            lifecycle.stop(self.home)
        for folder in (self.out / "data", self.run_folder, self.store, self.home):
            shutil.rmtree(folder, ignore_errors=True)
        self.out.mkdir(parents=True, exist_ok=True)

    def train(self) -> None:
        """Train; from scratch the synthetic photos need more passes than fine-tuning does."""
        a = self.arguments
        options = ["--weights", a.weights, "--size", a.size, "--epochs", a.epochs, "--batch-size", 16]
        if a.weights != "none":
            options += ["--lr", LR]
        self.flyobj("train", self.data, "--out", self.run_folder, *options)

    def archive(self, version: str) -> Path:
        """Package the run; the gate compares its answers with training's."""
        made = self.flyobj("archive", self.run_folder, "--version", version, "--model-store", self.store)
        self.summary["archives"].append(made["archive"])
        return Path(made["archive"])

    def serve(self, archive: Path) -> None:
        """Start TorchServe on free ports and deploy the first version."""
        started = time.monotonic()
        port = free_port()
        options = ["--port", port, "--model-store", self.store, "--home", self.home]
        self.flyobj("serve", "--detach", *options)
        self.summary["server_up_s"] = round(time.monotonic() - started, 1)
        started = time.monotonic()
        self.flyobj("models", "deploy", archive, "--home", self.home)
        self.summary |= {"port": port, "deploy_s": round(time.monotonic() - started, 1)}

    def predict(self) -> None:
        """Classify one test photo of each class."""
        test = self.data / "test"
        photos = [find_photos(test / name)[0] for name in folders_in(test)]
        self.summary["predictions"] = self.flyobj("predict", *photos, "--home", self.home)

    def batches(self) -> None:
        """Send many requests at once and read from the server's metrics how they were batched."""
        photo = Path(self.summary["predictions"][0]["photo"]).read_bytes()
        with Client(lifecycle.require(self.home)) as client, ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: client.predict(photo), range(BURST)))
            sizes = client.batch_sizes()
        if max(sizes) < 2:
            raise FlyobjError(f"{BURST} requests at once formed no batch larger than 1: {sizes}")
        self.summary["batch_sizes"] = {str(size): count for size, count in sizes.items()}

    def roll_out(self, archive: Path) -> None:
        """Deploy the second version beside the first and make it the default."""
        self.flyobj("models", "deploy", archive, "--home", self.home)
        self.flyobj("models", "promote", "2.0", "--home", self.home, as_json=False)
        versions = self.flyobj("models", "list", "--home", self.home)
        self.summary["default_version"] = next(v["version"] for v in versions if v["default"])
        self.summary["memory_mib"] = lifecycle.memory_mib(lifecycle.require(self.home))

    def load(self) -> None:
        """Run Locust; a failed request makes it, and so the demo, fail."""
        command: list[Any] = [BIN / "locust", "-f", "loadtest/locustfile.py", "--headless"]
        command += ["--users", LOAD_USERS, "--spawn-rate", LOAD_USERS, "--run-time", f"{LOAD_S}s"]
        command += ["--host", f"http://127.0.0.1:{self.summary['port']}"]
        command += ["--photos", self.data / "test", "--key-file", self.home / "key_file.json"]
        command += ["--csv", self.out / "load", "--only-summary"]
        ended = subprocess.run([str(c) for c in command], stdout=sys.stderr, check=False)
        with (self.out / "load_stats.csv").open(newline="") as file:
            total = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
        self.summary["loadtest"] = {
            "requests": int(total["Request Count"]),
            "failures": int(total["Failure Count"]),
            "rps": round(float(total["Requests/s"]), 1),
            "p50_ms": float(total["50%"]),
            "p99_ms": float(total["99%"]),
            "users": LOAD_USERS,
        }
        if ended.returncode != 0:
            raise FlyobjError(f"the load test failed (Locust's exit code {ended.returncode})")

    def flyobj(self, *arguments: Any, as_json: bool = True) -> Any:
        """Call the command line; its progress stays visible, its result is returned."""
        words = [str(a) for a in arguments]
        console.print(f"[bold]$ flyobj {' '.join(words)}", soft_wrap=True)
        command = [str(BIN / "flyobj"), *words, *(["--json"] if as_json else [])]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if ended.returncode != 0:
            error = InputError if ended.returncode == 2 else FlyobjError
            raise error(f"`flyobj {words[0]}` ended with exit code {ended.returncode} (see above)")
        return json.loads(ended.stdout) if as_json else None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce a step and note how long it took."""
        console.rule(f"[bold]{name}", align="left")
        started = time.monotonic()
        yield
        self.summary["seconds"][name] = round(time.monotonic() - started, 1)


def print_summary(summary: dict[str, Any], out: Path) -> None:
    """Print what was done, on one screen."""
    table = Table(show_header=False, title="flying-objects demo", title_justify="left")
    low, high = summary["accuracy_95"]
    load = summary["loadtest"]
    right = [f"{Path(p['photo']).parent.name} -> {p['predicted']}" for p in summary["predictions"]]
    sizes = ", ".join(f"{count} of {size}" for size, count in summary["batch_sizes"].items())
    memory = summary["memory_mib"]
    java = sum(size for name, size in memory.items() if name.startswith("java"))
    rows = {
        "test accuracy": f"{summary['accuracy']:.3f} (95 %: {low:.3f} to {high:.3f})",
        "predictions": "\n".join(right),
        "archives": "\n".join(summary["archives"]),
        "default version": summary["default_version"],
        "server up, 1.0 ready": f"{summary['server_up_s']} s, {summary['deploy_s']} s more",
        f"batches of {BURST} at once": f"{sizes} requests",
        "load": f"{load['requests']} requests by {load['users']} users, {load['failures']} failed",
        "": f"{load['rps']}/s, p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms",
        "memory": f"Java {java:.0f} MiB, all {sum(memory.values()):.0f} MiB with two versions",
        "time": f"{summary['seconds']['all']:.0f} s",
        "see": f"{out}/report.html, {out}/summary.json",
        "serve it again": f"flyobj serve --model-store {out}/model-store --home {out}/server",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    Console(highlight=False).print(table)


def main() -> None:
    """Run the demo; exit codes as in `cli`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with train/CLASS and test/CLASS photos")
    parser.add_argument("--weights", default="none", help="imagenet, none or a path")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="replaced each time")
    demo = Demo(parser.parse_args())
    try:
        demo.run()
    except FlyobjError as error:
        console.print(f"[red]error:[/] {error}")
        sys.exit(error.exit_code)
    print_summary(demo.summary, demo.out)
    print(json.dumps(demo.summary))


if __name__ == "__main__":
    main()
