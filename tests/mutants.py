"""Do the tests notice? Each line of mutants.tsv changes the code in one place; its tests must then fail.

    python -m tests.mutants              a sample of 40, another one each day
    python -m tests.mutants --all
    python -m tests.mutants --only handler/ --jobs 1

Changes are made in a copy of the checkout, in several processes. The tests have to pass without them:
`make test` first. mutmut and cosmic-ray make all the changes that an operator can; what is wanted here
is a list of those that would hurt a user, which stays readable.
"""

import argparse
import csv
import datetime
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".tsv")
SAMPLE = 40  # ten minutes on two idle cores
TIMEOUT_S = 600  # of a change's tests
_FAILED = 1  # pytest's exit status; others are no verdict


@dataclass(frozen=True)
class Mutant:
    """One change: `before` becomes `after` in `file`, which `tests`, words for pytest, must notice."""

    file: str
    before: str
    after: str
    tests: str

    def __str__(self) -> str:
        return f"{self.file}: {self.before}  ->  {self.after}"


def read_table() -> list[Mutant]:
    """Read the changes in their order."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        return [Mutant(*row) for row in rows]


def unusable(mutant: Mutant, root: Path = ROOT) -> str | None:
    """Say why a change can't be made, or None: its place must be there exactly once, and its tests."""
    count = (root / mutant.file).read_text(encoding="utf-8").count(mutant.before)
    if count != 1 or mutant.before == mutant.after:
        return f"found {count} times, must be once: {mutant}"
    missing = [t for t in mutant.tests.split() if not (root / t.partition("::")[0]).is_file()]
    return f"no such tests {missing}: {mutant}" if missing or not mutant.tests else None


def main(words: Sequence[str] | None = None) -> int:
    """Run them; the exit status is 1 if a change wasn't noticed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="make every change of the table")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many to make (%(default)s)")
    today = datetime.date.today().toordinal()
    parser.add_argument("--seed", type=int, default=today, help="of the sample (today's date)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only those with this in their line")
    parser.add_argument("--jobs", type=int, default=2, help="at once (%(default)s)")
    options = parser.parse_args(words)
    mutants = [m for m in read_table() if options.only in str(m)]
    if wrong := [why for mutant in mutants if (why := unusable(mutant))]:
        parser.error("\n".join(wrong))
    if not options.all and len(mutants) > options.sample:
        print(f"{options.sample} of {len(mutants)} changes, --seed {options.seed}")
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    left = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, verdict in zip(mutants, pool.map(_try, mutants), strict=True):
            print(f"{verdict}: {mutant}", flush=True)
            if not verdict.startswith("noticed"):
                left.append(f"{verdict}: {mutant}")
    print(f"{len(mutants) - len(left)} of {len(mutants)} changes were noticed", *left, sep="\n")
    return int(bool(left))


def _try(mutant: Mutant) -> str:
    """Make a change in a copy, run its tests there, and say what they made of it."""
    with _copy() as root:
        path = root / mutant.file
        path.write_text(path.read_text(encoding="utf-8").replace(mutant.before, mutant.after))
        options = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "--basetemp", f"{root}-tests")
        # The package is installed from the checkout; PYTHONPATH comes before that.
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *mutant.tests.split()],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"no verdict within {TIMEOUT_S} s"
        finally:
            _end_servers(root)
    if process.returncode == 0:
        return "survived"
    lines = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    test = lines[0].split(" - ")[0] if lines else said[-300:]
    return f"{'noticed' if process.returncode == _FAILED else 'no verdict'}, {test}"


@contextmanager
def _copy() -> Iterator[Path]:
    """Copy what git knows or would add, as it is now, and remove it at the end."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    with tempfile.TemporaryDirectory(prefix="flyobj-mutant-") as folder:
        root = Path(folder) / "copy"
        for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        yield root


def _end_servers(root: Path) -> None:
    """End what tests that were cut off have left running in their folders."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(root) in word for word in process.cmdline()):
                process.kill()


if __name__ == "__main__":
    sys.exit(main())
