"""Every photo of a folder, read once: what `prepare` sees in it, and a network's features.

Photos are decoded in threads while the network computes, so a folder takes little longer than that.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from model.bundle import read_bundle
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


@dataclass(frozen=True)
class Photos:
    """The readable photos below `data`, and their (N, 1280) features, computed by `network`."""

    data: Path
    classes: tuple[str, ...]
    rows: list[Row]
    features: Features
    network: str


class Extractor:
    """A network without its head: (S, S, 3) photos in, pooled features out."""

    def __init__(self, weights: str, run: Path | None, size: int) -> None:
        """Take the network of a run or, without one, pre-trained `weights` at `size` pixels.

        Raises:
            InputError: there is no such run, or the weights can't be used.
        """
        if run:
            bundle = read_bundle(find_bundle(run))
            network, self.preprocessing = bundle.network, bundle.spec.preprocessing
        else:
            network, self.preprocessing = Network(2), Preprocessing(size)
            load_pretrained(network, weights)
        self.description = str(run or weights)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)

    def __call__(self, photos: Sequence[RGB]) -> Features:
        """N photos -> (N, 1280)."""
        batch = torch.from_numpy(self.preprocessing.normalize(np.stack(photos))).permute(0, 3, 1, 2)
        with torch.inference_mode():
            maps = self._network.features(batch.to(self._device))
            return np.asarray(self._network.pool(maps).cpu().numpy(), np.float32)


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
    with ThreadPoolExecutor() as pool:
        look = partial(_look, data, extractor.preprocessing)
        seen = track(in_order(pool, look, files, 2 * BATCH), "computing features", len(files))
        for batch in _batches((row, pixels) for row, pixels in seen if pixels is not None):
            features[len(rows) : len(rows) + len(batch)] = extractor([pixels for _, pixels in batch])
            rows += [row for row, _ in batch]
    if len(rows) < len(tree.rows):
        dropped = tally(str(row.reason) for row in tree.rows if not row.kept) or "can't be read"
        say(f"{len(tree.rows) - len(rows)} of {len(tree.rows)} files are no photos to judge: {dropped}")
    classes = tuple(sorted({row.class_name for row in rows}))
    if len(classes) < 2:
        raise InputError(
            f"{str(data)!r} has readable photos in {len(classes)} class(es), {list(classes)}; labels "
            "can be judged from two classes on"
        )
    return Photos(data, classes, rows, features[: len(rows)], extractor.description)


def _look(data: Path, preprocessing: Preprocessing, row: Row) -> tuple[Row, RGB | None]:
    seen, pixels = scan_photo(data, row)
    return seen, None if pixels is None else preprocessing.resize(pixels)


def _batches(
    photos: Iterator[tuple[Row, RGB]],
) -> Iterator[list[tuple[Row, RGB]]]:
    batch: list[tuple[Row, RGB]] = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
