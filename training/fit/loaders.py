"""How photos come to a training step, the same whatever the number of loader processes.

The order and every photo's augmentation are decided by (seed, stage, epoch) alone, so that an epoch can
be repeated. Loaders hand over 8-bit pixels, a quarter of what normalised ones take between processes;
`training.fit.transforms.Normalize` does the rest to the whole batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from model.errors import InputError, PhotoError
from model.image import decode_photo
from model.limits import RGB
from training.data.photos import Photo, SkippedPhoto

UNREADABLE_SHARE = 0.01  # of the photos may turn unreadable before training stops

Key = tuple[int, int]  # index of a photo, seed of its augmentation
Item = tuple[Tensor, int, int] | SkippedPhoto


@dataclass(frozen=True)
class Batch:
    """(N, S, S, 3) uint8 photos, (N,) labels, what couldn't be read, and (N,) numbers of the photos."""

    photos: Tensor
    labels: Tensor
    unreadable: tuple[SkippedPhoto, ...] = ()
    numbers: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))


Batches = DataLoader[Batch]


def seed_of(*parts: int) -> int:
    """Mix whole numbers into one seed of 63 bits; near numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


class PhotoDataset(Dataset[Item]):
    """Decodes and transforms one photo; one that has turned unreadable comes as `SkippedPhoto`."""

    def __init__(
        self, photos: Sequence[Photo], transform: Callable[[RGB, int], RGB], decode_side: int = 0
    ) -> None:
        """Take `transform` from `training.fit.transforms`; see `decode_photo` for `decode_side`."""
        self._photos = photos
        self._transform = transform
        self._decode_side = decode_side

    def __len__(self) -> int:
        """Count the photos."""
        return len(self._photos)

    def __getitem__(self, key: Key) -> Item:
        """Return (S, S, 3) uint8 pixels, the label, and which photo it is."""
        index, seed = key
        photo = self._photos[index]
        try:
            rgb = decode_photo(photo.path.read_bytes(), at_least=self._decode_side)
        except (PhotoError, OSError) as error:
            return SkippedPhoto(photo.path, str(error))
        return torch.from_numpy(self._transform(rgb, seed)), photo.label, index


class Order(Sampler[list[Key]]):
    """The batches of an epoch, as keys; each of `world` processes gets its own share of them."""

    def __init__(self, n: int, batch: int, rank: int = 0, world: int = 1, shuffle: bool = True) -> None:
        """Make batches of `batch` over all processes. Only `shuffle`d ones leave an odd rest out."""
        self._n, self._batch, self._shuffle = n, batch, shuffle
        self._own, self._step = slice(rank, n, world), batch // world  # photos of this process, a batch
        self.seed = 0

    def __len__(self) -> int:
        """Count the batches: as many in each process if they train, which waits for the others."""
        if self._shuffle and self._n > self._batch:
            return self._n // self._batch
        return -(-len(range(self._n)[self._own]) // self._step)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield as `seed` has it."""
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(self._n) if self._shuffle else np.arange(self._n)
        seeds = rng.integers(2**31, size=self._n)
        # A last batch of one photo would leave batch-norm nothing to average over.
        keys = np.stack([order, seeds], axis=1)[self._own].tolist()
        for start in range(0, len(self) * self._step, self._step):
            yield [(index, seed) for index, seed in keys[start : start + self._step]]


def collate(items: Sequence[Item]) -> Batch:
    """Stack what could be read."""
    read = [item for item in items if not isinstance(item, SkippedPhoto)]
    photos = torch.stack([photo for photo, _, _ in read]) if read else torch.empty(0, dtype=torch.uint8)
    labels = torch.tensor([label for _, label, _ in read], dtype=torch.long)
    numbers = torch.tensor([number for _, _, number in read], dtype=torch.long)
    skipped = tuple(item for item in items if isinstance(item, SkippedPhoto))
    return Batch(photos, labels, skipped, numbers)


def loader(dataset: PhotoDataset, order: Order, workers: int) -> Batches:
    """Put them together; the processes stay from epoch to epoch."""
    return DataLoader(
        cast("Dataset[Batch]", dataset),  # `collate` makes the one of the other
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else it takes from the random numbers that training uses
        pin_memory=torch.cuda.is_available(),
    )


class Unreadable:
    """Photos that could be read before training and can't now."""

    def __init__(self, photos: int) -> None:
        """Allow `UNREADABLE_SHARE` of `photos`."""
        self._photos = photos
        self.found: dict[Path, str] = {}

    def add(self, skipped: Sequence[SkippedPhoto]) -> list[SkippedPhoto]:
        """Note them and return those that are new.

        Raises:
            InputError: there are too many.
        """
        new = [s for s in skipped if s.path not in self.found]
        self.found |= {s.path: s.reason for s in new}
        if new and len(self.found) > UNREADABLE_SHARE * self._photos:
            raise InputError(
                f"{len(self.found)} of {self._photos} photos have become unreadable since training "
                f"began, {UNREADABLE_SHARE:.0%} are allowed; the last is {str(new[-1].path)!r}: "
                f"{new[-1].reason}; "
                "put the photos back and continue with --resume"
            )
        return new
