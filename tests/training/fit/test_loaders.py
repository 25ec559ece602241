"""How photos come to a step: order and augmentation follow from the seed alone."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import InputError
from model.image import decode_photo
from model.preprocessing import Preprocessing
from training.data.photos import SkippedPhoto, read_split
from training.fit.loaders import Batches, Order, PhotoDataset, Unreadable, loader, seed_of
from training.fit.transforms import Normalize, train_transform
from training.fit.transforms import test_transform as eval_transform

MakeData = Callable[..., Path]


def indices(order: Order) -> list[list[int]]:
    return [[index for index, _ in batch] for batch in order]


def test_an_order_is_decided_by_its_seed() -> None:
    order = Order(10, 4)
    first = list(order)
    assert list(order) == first
    order.seed = 1
    assert list(order) != first


def test_training_leaves_an_odd_rest_out_and_validation_does_not() -> None:
    assert [len(batch) for batch in Order(10, 4)] == [4, 4]
    assert [len(batch) for batch in Order(3, 4)] == [3]
    assert indices(Order(10, 4, shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n", [8, 9, 11, 3])
def test_processes_share_the_photos_out(n: int, shuffle: bool) -> None:
    orders = [Order(n, 4, rank, 2, shuffle) for rank in range(2)]
    own = [list(chain.from_iterable(indices(order))) for order in orders]
    assert not set(own[0]) & set(own[1])
    assert [len(list(order)) for order in orders] == [len(order) for order in orders]
    if shuffle:  # they wait for each other at every step
        assert len(orders[0]) == len(orders[1])
    else:
        assert sorted(own[0] + own[1]) == list(range(n))


def test_two_processes_together_see_what_one_sees() -> None:
    alone = indices(Order(8, 4))
    shared = [indices(Order(8, 4, rank, 2)) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*shared, strict=True)] == [sorted(batch) for batch in alone]


def test_seeds_differ_wherever_they_are_used() -> None:
    seeds = {seed_of(s, stage, epoch) for s in range(9) for stage in range(4) for epoch in range(9)}
    assert len(seeds) == 9 * 4 * 9
    assert seed_of(1, 2) == seed_of(1, 2)


def photos_of(batches: Batches, seed: int) -> torch.Tensor:
    order = batches.batch_sampler
    assert isinstance(order, Order)
    order.seed = seed
    return torch.cat([batch.photos for batch in batches])


def test_epochs_differ_and_repeat_whatever_the_workers(photo_folder: MakeData) -> None:
    split = read_split(photo_folder(train={"a": 3, "b": 3}), "train")
    dataset = PhotoDataset(split.photos, train_transform(Preprocessing(32)))
    alone, helped = (loader(dataset, Order(6, 2), workers) for workers in (0, 1))
    first = photos_of(alone, 1)
    assert (first.shape, first.dtype) == ((6, 32, 32, 3), torch.uint8)
    assert not torch.equal(photos_of(alone, 2), first)
    assert torch.equal(photos_of(alone, 1), first)
    assert torch.equal(photos_of(helped, 1), first)
    assert torch.equal(photos_of(helped, 1), first)  # by processes that have stayed


def test_normalising_a_batch_is_the_served_normalisation_to_the_bit() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    for preprocessing in (Preprocessing(40), Preprocessing(40, (0.3, 0.5, 0.9), (0.1, 0.7, 0.3))):
        batch = Normalize(preprocessing)(torch.from_numpy(photos))  # (N, 3, S, S)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), preprocessing.normalize(photos))


def test_a_photo_that_turned_unreadable_is_named_and_skipped(photo_folder: MakeData) -> None:
    split = read_split(photo_folder(train={"a": 2, "b": 2}), "train")
    gone, cut = split.photos[0].path, split.photos[3].path
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-300])
    dataset = PhotoDataset(split.photos, eval_transform(Preprocessing(32)))
    (batch,) = loader(dataset, Order(4, 4, shuffle=False), 0)
    assert batch.labels.tolist() == [0, 1]
    assert len(batch.photos) == 2
    assert [s.path for s in batch.unreadable] == [gone, cut]
    assert "No such file" in batch.unreadable[0].reason


def test_more_than_a_hundredth_unreadable_is_an_error() -> None:
    unreadable = Unreadable(200)
    skipped = [SkippedPhoto(Path(f"{i}.jpg"), "cut short") for i in range(3)]
    assert unreadable.add(skipped[:2]) == skipped[:2]
    assert unreadable.add(skipped[:2]) == []  # known from an earlier epoch
    with pytest.raises(InputError, match=r"3 of 200 photos .* 1% are allowed; .*'2.jpg': cut short"):
        unreadable.add(skipped[2:])


def test_large_jpegs_are_decoded_smaller_but_never_too_small(
    jpeg: Callable[..., bytes],
) -> None:
    data = jpeg(0, width=640, height=400)
    assert decode_photo(data).shape == (400, 640, 3)
    assert decode_photo(data, at_least=300).shape == (400, 640, 3)
    assert decode_photo(data, at_least=200).shape == (200, 320, 3)
    assert decode_photo(data, at_least=60).shape[0] in range(60, 101)
    assert decode_photo(jpeg(0, width=640, height=400), at_least=1000).shape == (400, 640, 3)
