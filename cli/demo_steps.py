"""The steps of the demo, each by the command that a user has."""

import csv
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import FlyobjError, InputError
from model.layout import TEST, classes_in, read_layout
from model.photo_files import find_photos
from report.progress import say
from report.terminal import styled
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.ports import free_port

LOAD_USERS, LOAD_S = 8, 20
BURST = 64  # requests at once, to see batches form
OWN = ("data", "run", "model-store", "server", "summary.json", "report.html")  # and load_*.csv, in OUT


@dataclass
class Demo:
    """The steps, in folders under `out`; each adds to `summary`."""

    out: Path
    data: Path
    summary: dict[str, Any] = field(default_factory=lambda: {"archives": [], "seconds": {}})

    def __post_init__(self) -> None:
        """Name the folders; nothing is written yet."""
        self.run_folder = self.out / "run"
        self.store = self.out / "model-store"
        self.home = self.out / "server"

    def run(self, per_class: int | None, training: list[Any]) -> None:
        """Take every step; the server is stopped whatever happens.

        Args:
            per_class: photos to draw for each class; None to take what is in `data`.
            training: options of `flyobj train`.
        """
        self._clear(drawn=per_class is not None)
        if per_class is not None:
            with self._step("draw photos"):
                self._flyobj("data", "synthesize", self.data, "--per-class", per_class)
        with self._step("train"):
            self._flyobj("train", self.data, "--out", self.run_folder, *training)
        with self._step("evaluate"):
            result = self._flyobj("evaluate", self.run_folder, "--data", self.data)
            self.summary |= {"accuracy": result["accuracy"], "accuracy_95": result["accuracy_95"]}
        with self._step("package 1.0"):
            first = self._archive("1.0")
        try:
            with self._step("serve and deploy 1.0"):
                self._serve(first)
            with self._step("predict"):
                self._predict()
                self._form_batches()
            with self._step("package, deploy, promote 2.0"):
                self._roll_out(self._archive("2.0"))
            with self._step(f"load for {LOAD_S} s"):
                self._load()
        finally:
            with self._step("stop"):
                lifecycle.stop(self.home)
        self.summary["seconds"]["all"] = round(sum(self.summary["seconds"].values()), 1)

    def _clear(self, drawn: bool) -> None:
        """Remove what an earlier demo left, its server too, and nothing else.

        Raises:
            InputError: there is more in the folder than a demo makes.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        files = [path for path in self.out.iterdir() if not path.match("load_*.csv")]
        if foreign := sorted({path.name for path in files} - set(OWN)):
            raise InputError(
                f"{str(self.out)!r} holds {foreign[0]!r}, which no demo made; --out takes a new folder "
                "or that of an earlier demo"
            )
        lifecycle.stop(self.home)
        for folder in (self.run_folder, self.store, self.home, *([self.data] if drawn else [])):
            shutil.rmtree(folder, ignore_errors=True)

    def _archive(self, version: str) -> Path:
        options = ["--version", version, "--model-store", self.store]
        made = self._flyobj("archive", self.run_folder, *options)
        self.summary["archives"].append(made["archive"])
        return Path(made["archive"])

    def _serve(self, archive: Path) -> None:
        """Start TorchServe on free ports and deploy the first version."""
        started, port = time.monotonic(), free_port()
        options = ["--port", port, "--model-store", self.store, "--home", self.home]
        self._flyobj("serve", "--detach", *options)
        self.summary["server_up_s"] = round(time.monotonic() - started, 1)
        started = time.monotonic()
        self._flyobj("models", "deploy", archive, "--home", self.home)
        self.summary |= {"port": port, "deploy_s": round(time.monotonic() - started, 1)}

    def _predict(self) -> None:
        """Classify one test photo of each class."""
        test = read_layout(self.data).folder(TEST)
        photos = {name: find_photos(test / own[0])[0] for name, own in classes_in(test).items()}
        answers = self._flyobj("predict", *photos.values(), "--home", self.home)
        self.summary["predictions"] = [
            {"truth": truth, **answer} for truth, answer in zip(photos, answers, strict=True)
        ]

    def _form_batches(self) -> None:
        """Send many requests at once and read from the server's metrics how they were batched."""
        photo = Path(self.summary["predictions"][0]["photo"]).read_bytes()
        with Client(lifecycle.require(self.home)) as client, ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: client.predict(photo), range(BURST)))
            sizes = client.batch_sizes()
        if max(sizes) < 2:
            raise FlyobjError(f"{BURST} requests at once formed no batch larger than 1: {sizes}")
        self.summary["batch_sizes"] = {str(size): count for size, count in sizes.items()}

    def _roll_out(self, archive: Path) -> None:
        """Deploy the second version beside the first and make it the default."""
        self._flyobj("models", "deploy", archive, "--home", self.home)
        self._flyobj("models", "promote", "2.0", "--home", self.home, as_json=False)
        versions = self._flyobj("models", "list", "--home", self.home)
        self.summary["default_version"] = next(v["version"] for v in versions if v["default"])
        self.summary["memory_mib"] = lifecycle.memory_mib(lifecycle.require(self.home))

    def _load(self) -> None:
        """Run Locust; a failed request makes it, and so the demo, fail."""
        load = ["--users", LOAD_USERS, "--spawn-rate", LOAD_USERS, "--run-time", f"{LOAD_S}s"]
        load += ["--csv", self.out / "load", "--only-summary"]
        photos = ["--photos", read_layout(self.data).folder(TEST)]
        self._flyobj("loadtest", "--home", self.home, *photos, "--", *load, as_json=False)
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

    def _flyobj(self, *arguments: Any, as_json: bool = True) -> Any:
        """Call the command line; its progress stays visible, its result is returned."""
        words = [str(a) for a in arguments]
        say(styled(f"$ flyobj {shlex.join(words)}", "bold"))
        command = [sys.executable, "-P", "-m", "cli", *words, *(["--json"] if as_json else [])]
        stdout = subprocess.PIPE if as_json else sys.stderr
        ended = subprocess.run(command, stdout=stdout, text=True, check=False)
        if ended.returncode != 0:
            error = InputError if ended.returncode == 2 else FlyobjError
            raise error(f"`flyobj {words[0]}` ended with exit code {ended.returncode} (see above)")
        return json.loads(ended.stdout) if as_json else None

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Announce a step and note how long it took."""
        say(styled(f"{name} ".ljust(72, "─"), "bold"))
        started = time.monotonic()
        yield
        self.summary["seconds"][name] = round(time.monotonic() - started, 1)
