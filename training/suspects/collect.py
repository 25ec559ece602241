"""Every photo of a folder, read once: what `prepare` sees in it, and a network's features.

Photos are decoded in threads while the network computes, so a folder takes little longer than that.
"""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from model.bundle import Bundle, ModelSpec, read_bundle
from model.engines import FOLDER, Engine, choose_engine, write_engines
from model.errors import InputError
from model.limits import RGB
from model.malloc import keep_memory
from model.network import FEATURES, Network, load_pretrained
from model.parallel import in_order
from model.photo_files import tally
from model.preprocessing import Preprocessing
from model.run_folder import find_bundle
from report.progress import say, track
from training.data.manifest import Row
from training.data.prepare.scan import scan_photo
from training.data.prepare.walk import walk
from training.suspects.left_out import Features

BATCH = 32  # photos
MANY = 500  # photos, from which a faster engine is worth its start


@dataclass(frozen=True)
class Photos:
    """The readable photos below `data`, and their (N, 1280) features, computed by `network`."""

    data: Path
    classes: tuple[str, ...]
    rows: list[Row]
    features: Features
    network: str
    left_out: int = 0  # files that are no photos, or in no class


class Extractor:
    """A network whose pooled features are taken: that of a run, or a pre-trained one."""

    def __init__(self, weights: str, run: Path | None, size: int) -> None:
        """Take the network of a run or, without one, pre-trained `weights` at `size` pixels.

        Raises:
            InputError: there is no such run, or the weights can't be used.
        """
        self.description = str(run or weights)
        if run:
            self._bundle = read_bundle(find_bundle(run))
        else:
            network = Network(2)  # its head isn't asked
            load_pretrained(network, weights)
            spec = ModelSpec(("", "_"), Preprocessing(size), "", "", "")
            self._bundle = Bundle(spec, network.eval(), ())
        self.preprocessing = self._bundle.spec.preprocessing

    @contextmanager
    def open(self, photos: int) -> Iterator[Engine]:
        """Start the fastest engine for so many photos."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with tempfile.TemporaryDirectory() as room:
            # The graph takes as long to make as PyTorch takes for some hundred photos.
            write_engines(self._bundle, Path(room, FOLDER), "auto" if photos >= MANY else "torch")
            cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
            yield choose_engine(self._bundle, Path(room, FOLDER), device, cores)


def collect(data: Path, extractor: Extractor) -> Photos:
    """Read all photos below `data`; files that are no photos are counted, and said.

    Raises:
        InputError: as `walk`, or there is no photo in two classes.
    """
    keep_memory()  # half of the time went into getting it from the system for each batch
    tree = walk(data)
    files = [row for row in tree.rows if row.kept]
    rows: list[Row] = []
    features = np.empty((len(files), FEATURES), np.float32)
    with ThreadPoolExecutor() as pool, extractor.open(len(files)) as engine:
        look = partial(_look, data, extractor.preprocessing)
        seen = track(in_order(pool, look, files, 2 * BATCH), "computing features", len(files))
        for batch in _batches(seen, left_out := [row for row in tree.rows if not row.kept]):
            outputs = engine(np.stack([pixels for _, pixels in batch]))
            features[len(rows) : len(rows) + len(batch)] = outputs.features
            rows += [row for row, _ in batch]
    if left_out:
        why = tally(str(row.reason) for row in left_out)
        say(f"{len(left_out)} of {len(tree.rows)} files aren't judged: {why}")
    classes = tuple(sorted({row.class_name for row in rows}))
    if len(classes) < 2:
        raise InputError(
            f"{str(data)!r} has readable photos in {len(classes)} class(es), {list(classes)}; labels "
            "can be judged from two classes on"
        )
    return Photos(data, classes, rows, features[: len(rows)], extractor.description, len(left_out))


def _look(data: Path, preprocessing: Preprocessing, row: Row) -> tuple[Row, RGB | None]:
    seen, pixels = scan_photo(data, row)
    return seen, None if pixels is None else preprocessing.resize(pixels)


def _batches(
    seen: Iterable[tuple[Row, RGB | None]], left_out: list[Row]
) -> Iterator[list[tuple[Row, RGB]]]:
    """Yield photos in batches; rows of what can't be read go to `left_out`."""
    batch: list[tuple[Row, RGB]] = []
    for row, pixels in seen:
        if pixels is None:
            left_out.append(row)
            continue
        batch.append((row, pixels))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
