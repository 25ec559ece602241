"""How strange features are, and what a bundle keeps of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model.errors import InputError
from model.golden import TOLERANCE
from model.novelty import Novelty, read_novelty, shorten, write_novelty
from model.outputs import Rows
from training.novelty import MAHALANOBIS, VIM, fit_novelty

RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(40), 10)
BASIS = np.linalg.qr(RNG.standard_normal((64, 8)))[0].T  # eight directions, all that is known


def known(n: int) -> Rows:
    drawn = 20 + RNG.standard_normal((n, 8)) @ (5 * BASIS) + 0.3 * RNG.standard_normal((n, 64))
    return np.asarray(drawn, np.float32)


def strange(n: int) -> Rows:
    return np.asarray(20 + 3 * RNG.standard_normal((n, 64)), np.float32)


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    return fit_novelty(known(800), known(400), GROUPS)[0]


def test_it_is_the_share_of_known_photos_that_look_as_strange(novelty: Novelty) -> None:
    shares = np.sort(novelty.of(known(2000)))
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares, np.linspace(0, 1, 2000), atol=0.06)
    assert (shares < 0.02).mean() <= 0.02


def test_strangers_are_told_apart_and_ranked_beyond_all_known(novelty: Novelty) -> None:
    shares = novelty.of(strange(300))
    assert shares.max() < 0.02
    assert len(np.unique(shares)) > 250  # not all at 0, or nobody could choose a threshold among them


def test_a_photo_alone_and_in_a_batch(novelty: Novelty) -> None:
    features = known(5)
    alone = np.concatenate([novelty.of(one[None]) for one in features])
    np.testing.assert_allclose(alone, novelty.of(features), rtol=0, atol=1e-4)
    assert novelty.of(np.zeros((1, 64), np.float32)) < 1e-3  # and nothing is divided by 0


@pytest.mark.parametrize("scale", [1e-4, 1, 1e4])
def test_no_photo_is_nearer_than_a_thousandth_of_its_features_length(
    novelty: Novelty, scale: float
) -> None:
    """Whatever distances are weighed by."""
    features = known(1)
    mean, weights = shorten(features)[0], novelty.weights * np.float32(scale)
    there = replace(novelty, mean=mean, weights=weights)
    least = np.log(1e-6 * np.square(mean, dtype=np.float64).sum() * weights.max())
    np.testing.assert_allclose(there.log_distances(features), [least], rtol=1e-4)


@pytest.mark.parametrize("apart", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
def test_what_engines_differ_by_changes_no_answer(apart: float) -> None:
    """Though a network that has learned little may see photos hardly further apart than that."""
    middle = np.abs(RNG.standard_normal(1280))

    def of_photos(n: int) -> Rows:
        return np.asarray(middle + apart * RNG.standard_normal((n, 1280)), np.float32)

    novelty, _ = fit_novelty(of_photos(800), of_photos(400), GROUPS)
    features = of_photos(50)
    other_engine = features + 1e-6 * RNG.standard_normal(features.shape).astype(np.float32)
    np.testing.assert_allclose(novelty.of(other_engine), novelty.of(features), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("left", [1e-4, 1e-3, 1e-2])
def test_what_is_left_of_long_features_is_exact(left: float) -> None:
    """A network trained from scratch sees photos along few directions, and next to nothing beside."""

    def of_photos(n: int) -> Rows:
        along = RNG.standard_normal((n, 8)) @ BASIS
        spread = np.exp(RNG.standard_normal((n, 1)))  # photos differ in how much is left
        return np.asarray(10 + along + left * spread * RNG.standard_normal((n, 64)), np.float32)

    novelty, _ = fit_novelty(of_photos(800), of_photos(400), GROUPS)
    features = of_photos(200)
    away = shorten(features).astype(float) - novelty.mean
    residual = away - away @ novelty.basis.astype(float) @ novelty.basis.T
    least = 1e-6 * np.square(novelty.mean).sum()
    expected = np.log(np.square(residual).sum(axis=1) + least)
    np.testing.assert_allclose(novelty.log_distances(features), expected, rtol=0, atol=1e-4)
    other_engine = features * (1 + 1e-7 * RNG.standard_normal(features.shape)).astype(np.float32)
    np.testing.assert_allclose(
        novelty.of(other_engine), novelty.of(features), rtol=0, atol=TOLERANCE / 10
    )


def test_distances_are_those_of_their_papers() -> None:
    """The residual's square, and Mahalanobis with what is left as one more direction."""
    trained = known(800)
    _, fit = fit_novelty(trained, known(400), GROUPS)
    assert (fit.kind, fit.dimensions, fit.photos, fit.groups, fit.auroc) == (VIM, 16, 800, 40, {})
    few, _ = fit_novelty(trained[:32], known(400), GROUPS)
    assert few.basis.shape == (64, 8)  # a quarter of the photos
    x = shorten(known(3)).astype(float) - few.mean
    residual = x - x @ few.basis @ few.basis.T
    expected = np.log((residual**2).sum(1) + 1e-6 * (few.mean.astype(float) ** 2).sum())
    np.testing.assert_allclose(few.log_distances(known_again(x, few)), expected, rtol=1e-3)


def known_again(x: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", novelty: Novelty) -> Rows:
    """Undo `shorten`."""
    short = x + novelty.mean
    return np.asarray(short * np.linalg.norm(short, axis=1, keepdims=True), np.float32)


def test_strangers_choose_the_kind() -> None:
    """Those that are off in a direction in which known photos vary are seen by one of the two alone."""
    others = known(200) + np.asarray(25 * BASIS[:1], np.float32)
    found, fit = fit_novelty(known(800), known(400), GROUPS, others)
    assert fit.kind == MAHALANOBIS
    assert fit.auroc[MAHALANOBIS] > 0.95 > fit.auroc[VIM]
    assert (found.weights > 0).all()


def test_written_and_read_and_small(novelty: Novelty, tmp_path: Path) -> None:
    write_novelty(novelty, tmp_path)
    (file,) = tmp_path.iterdir()
    features = known(5)
    read = read_novelty(tmp_path)
    assert read is not None
    np.testing.assert_array_equal(read.of(features), novelty.of(features))
    whole = fit_novelty(
        RNG.random((1200, 1280), np.float32), RNG.random((900, 1280), np.float32), np.arange(900)
    )[0]
    write_novelty(whole, tmp_path)
    assert file.stat().st_size < 2e6
    assert (whole.basis.shape, whole.known.shape) == ((1280, 256), (500,))


def test_a_bundle_from_before_has_none(tmp_path: Path) -> None:
    write_novelty(None, tmp_path)
    assert read_novelty(tmp_path) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"", b"words", "cut"])
def test_damage_is_said(novelty: Novelty, tmp_path: Path, damage: bytes | str) -> None:
    write_novelty(novelty, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage if isinstance(damage, bytes) else file.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"novelty\.safetensors.* train or package it again"):
        read_novelty(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("mean", lambda part: part[:-1], r"shapes \[\(63,\), .* don't belong together"),
        ("weights", lambda part: part[:-1], "don't belong together"),
        ("basis", lambda part: part[0], "don't belong together"),
        ("known", lambda part: part[:0], "don't belong together"),
        ("known", lambda part: part * np.nan, "numbers that are infinite"),
        ("width", lambda part: -part, "a width that isn't above 0"),
    ],
)
def test_statistics_that_do_not_fit_together_are_refused(
    novelty: Novelty, tmp_path: Path, name: str, change: Callable[[Rows], Rows], why: str
) -> None:
    write_novelty(novelty, tmp_path)
    (file,) = tmp_path.iterdir()
    parts = load_file(file)
    save_file({**parts, name: np.ascontiguousarray(change(parts[name]))}, file)
    with pytest.raises(InputError, match=rf"novelty\.safetensors.*{why}.* train or package it again"):
        read_novelty(tmp_path)
