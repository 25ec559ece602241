"""One stage: what it may change, the learning rate's course, when it ends, and what is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from model.errors import FlyobjError, InputError
from model.image import decode_photo
from model.network import Network
from model.preprocessing import Preprocessing
from training.data.photos import Photo
from training.fit.checkpoint import StageProgress
from training.fit.loaders import Batches, Order, PhotoDataset, Unreadable, loader
from training.fit.partially_frozen import PartiallyFrozen
from training.fit.schedule import BLOCKS, Stage, best_epoch, has_stalled
from training.fit.settings import TrainSettings
from training.fit.stage import LoopContext, StageLoop
from training.fit.tracking import Tracker
from training.fit.transforms import Normalize, train_transform
from training.fit.transforms import test_transform as eval_transform

State = dict[str, Tensor]
MakeLoop = Callable[..., StageLoop]


def state_of(network: Network) -> State:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before: State, after: State) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture
def photos(photo_folder: Callable[..., Path]) -> list[Photo]:
    data = photo_folder(train={"a": 4, "b": 4})
    return [Photo(p, int(p.parent.name == "b")) for p in sorted(data.rglob("*.jpg"))]


@pytest.fixture
def loop(photos: list[Photo], tmp_path: Path) -> MakeLoop:
    def batches(train: bool, photos: list[Photo]) -> Batches:
        transform = (train_transform if train else eval_transform)(Preprocessing(32))
        return loader(PhotoDataset(photos, transform), Order(8, 4, shuffle=train), 0)

    def make(network: Network, stage: Stage, **settings: Any) -> StageLoop:
        fabric = Fabric(accelerator="cpu", devices=1)
        weights, held = settings.pop("weights", None), settings.pop("validation", photos)
        tools = Unreadable(settings.pop("of", 100)), Tracker(tmp_path, "csv", {})
        context = LoopContext(fabric, TrainSettings(**settings), weights, *tools, range(8))
        return StageLoop(context, network, stage, 0, batches(True, photos), batches(False, held))

    return make


def begin(lr: float = 1e-2) -> StageProgress:
    return StageProgress("", lr, "given")


HEAD = {"head.1.weight", "head.1.bias", "head.4.weight", "head.4.bias"}


def test_the_head_stage_leaves_features_and_their_statistics_alone(loop: MakeLoop) -> None:
    network = Network(2)
    before = state_of(network)
    done = loop(network, Stage("head", 1, 32, 0)).epoch(begin())
    assert changed(before, network.state_dict()) == HEAD
    assert 0 <= done.epochs[0]["val_accuracy"] <= 1
    assert changed(done.best, network.state_dict()) == set()


def test_validations_figures_are_means_over_its_photos(loop: MakeLoop, photos: list[Photo]) -> None:
    network = Network(2)
    (row,) = loop(network, Stage("head", 1, 32, 0), validation=photos).epoch(begin()).epochs
    transform, normalize = eval_transform(Preprocessing(32)), Normalize(Preprocessing(32))
    pixels = np.stack([transform(decode_photo(p.path.read_bytes()), 0) for p in photos])
    labels = torch.tensor([p.label for p in photos])
    with torch.no_grad():
        answers = network.eval()(normalize(torch.from_numpy(pixels)))
    assert row["val_loss"] == pytest.approx(nn.functional.nll_loss(answers, labels).item(), abs=1e-5)
    assert row["val_accuracy"] == (answers.argmax(1) == labels).float().mean().item()


def test_only_open_blocks_change_and_what_was_open_may_close_again(loop: MakeLoop) -> None:
    network = Network(2)
    loop(network, Stage("whole", 1, 32, BLOCKS)).epoch(begin())
    before = state_of(network)
    loop(network, Stage("top", 1, 32, 5)).epoch(begin())
    opened = {n for n in before if n.startswith(tuple(f"features.{i}." for i in range(14, 19)))}
    assert changed(before, network.state_dict()) == opened | HEAD


def test_the_whole_stage_changes_everything_after_a_head_stage_too(loop: MakeLoop) -> None:
    network = Network(2)
    loop(network, Stage("head", 1, 32, 0)).epoch(begin())
    before = state_of(network)
    loop(network, Stage("whole", 1, 32, BLOCKS)).epoch(begin())
    assert changed(before, network.state_dict()) == set(before)


def test_frozen_blocks_cost_no_gradients_and_answer_as_the_network_does() -> None:
    torch.manual_seed(0)
    network = Network(2, dropout=0.0)
    photos = torch.randn(2, 3, 64, 64)
    opened = PartiallyFrozen(network, 5)
    assert not opened.network.features[13].training
    assert opened.network.features[14].training
    opened.eval()
    answers = opened(photos)
    assert torch.equal(answers, network(photos))
    answers.sum().backward()
    assert [
        i for i, b in enumerate(network.features) if any(p.grad is not None for p in b.parameters())
    ] == [*range(14, 19)]


def test_lower_blocks_learn_more_slowly(loop: MakeLoop) -> None:
    network = Network(2)
    opened = PartiallyFrozen(network, BLOCKS)
    scales = [group["lr_scale"] for group in opened.groups(0.5)]
    assert scales == [0.5**depth for depth in range(BLOCKS + 1)]
    grouped = sum(len(group["params"]) for group in opened.groups(0.5))
    assert grouped == len(list(network.parameters()))
    before = state_of(network)
    loop(network, Stage("whole", 1, 32, BLOCKS), layer_decay=0.5).epoch(begin(1e-3))
    moved = {n: (network.state_dict()[n] - before[n]).abs().mean() for n in before if "weight" in n}
    assert moved["head.4.weight"] > 100 * moved["features.2.conv.0.0.weight"]


def test_the_range_test_compares_with_the_weights_from_before(loop: MakeLoop) -> None:
    torch.manual_seed(0)
    curve = loop(Network(2, dropout=0.0), Stage("whole", 1, 32, BLOCKS)).find_lr()
    assert curve.losses[0] == pytest.approx(curve.start_losses[0], abs=1e-5)
    assert curve.losses[-1] != pytest.approx(curve.start_losses[-1], abs=1e-2)


def test_the_range_test_leaves_nothing_behind(loop: MakeLoop) -> None:
    """To the bit: weights, batch-norm statistics, random numbers, and so the training after it."""
    torch.manual_seed(0)
    one, other = Network(2), Network(2)
    other.load_state_dict(one.state_dict())
    tested = loop(one, Stage("whole", 1, 32, BLOCKS), ema=0.9)
    before, random = state_of(one), torch.get_rng_state()
    curve = tested.find_lr()
    assert max(curve.lrs) > 1e-3
    assert curve.start_losses[1:] != curve.losses[1:]  # of the weights from before, which didn't learn
    assert changed(before, one.state_dict()) == set()
    assert torch.equal(torch.get_rng_state(), random)
    left = [tested.epoch(begin()), loop(other, Stage("whole", 1, 32), ema=0.9).epoch(begin())]
    assert changed(one.state_dict(), other.state_dict()) == set()
    assert changed(left[0].average, left[1].average) == set()


def test_weights_make_a_class_count_more(loop: MakeLoop) -> None:
    torch.manual_seed(0)
    network = Network(2)
    stage = Stage("whole", 4, 32)
    made = loop(network, stage, weights=(1.0, 0.0))  # the second doesn't count
    state = begin()
    for _ in range(stage.epochs):
        state = made.epoch(state)
    assert state.epochs[-1]["train_loss"] < 0.5
    assert state.epochs[-1]["val_loss"] > 0.6


def test_a_loss_that_is_no_number_stops_and_names_the_rate(loop: MakeLoop) -> None:
    network = Network(2)
    with torch.no_grad():
        network.head[4].bias.fill_(float("nan"))
    with pytest.raises(
        FlyobjError, match=r"nan in stage 'top' at a peak learning rate of 0\.25; .* say 0\.08"
    ):
        loop(network, Stage("top", 1, 32, 5)).epoch(begin(0.25))


def test_photos_that_turn_unreadable_are_named_once(
    loop: MakeLoop, photos: list[Photo], capsys: pytest.CaptureFixture[str]
) -> None:
    photos[2].path.write_text("words")
    made = loop(Network(2), Stage("head", 2, 32, 0))
    state = made.epoch(begin())
    assert len(made.epoch(state).epochs) == 2
    said = capsys.readouterr()  # to standard error, once a command line has run in this process
    (line,) = (said.out + said.err).splitlines()
    assert f"skipped: {str(photos[2].path)!r} can't be read any more" in line


def test_no_readable_photo_at_all_is_an_error(loop: MakeLoop, photos: list[Photo]) -> None:
    for photo in photos:
        photo.path.unlink()
    made = loop(Network(2), Stage("head", 1, 32, 0))
    with pytest.raises(InputError, match="of 100 photos have become unreadable"):
        made.epoch(begin())


@pytest.mark.parametrize("what", ["training", "validation"])
def test_no_readable_photo_among_many_is_an_error(
    loop: MakeLoop, photos: list[Photo], tmp_path: Path, what: str
) -> None:
    """Even if they are few of the run's photos."""
    held = [Photo(tmp_path / "gone" / photo.path.name, photo.label) for photo in photos]
    if what == "training":
        for photo in photos:
            photo.path.unlink()
        held = photos
    made = loop(Network(2), Stage("head", 1, 32, 0), of=10_000, validation=held)
    with pytest.raises(InputError, match=f"none of the {what} photos can be read any more; put them"):
        made.epoch(begin())


def test_a_batch_of_which_too_little_is_left_is_passed_over(loop: MakeLoop, photos: list[Photo]) -> None:
    """Of 8 photos in batches of 4 three can be read, all of the second batch when validating."""
    for photo in photos[:5]:
        photo.path.unlink()
    made = loop(Network(2), Stage("whole", 1, 32, BLOCKS), of=10_000)
    curve = made.find_lr()
    passed = [i for i, loss in enumerate(curve.start_losses) if loss == 0]
    assert 0 < len(passed) < len(curve.losses)
    assert not any(curve.losses[i] for i in passed)
    (row,) = made.epoch(begin()).epochs
    assert row["train_loss"] > 0
    assert [row["val_accuracy"] == pytest.approx(n / 3) for n in range(4)].count(True) == 1


def test_processes_do_not_wait_for_one_whose_batch_is_gone(
    loop: MakeLoop, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    for photo in photos:
        photo.path.unlink()
    made = loop(Network(2), Stage("head", 1, 32, 0), of=10_000)
    monkeypatch.setattr(Fabric, "world_size", 2)
    with pytest.raises(InputError, match="a whole batch of photos can't be read any more; put them"):
        made.epoch(begin())


def rows(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"val_accuracy": accuracy, "val_loss": loss} for accuracy, loss in pairs]


def test_the_best_epoch_is_of_the_highest_accuracy_then_the_lowest_loss() -> None:
    assert best_epoch(rows((0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.6, 0.1))) == 2


def test_a_stage_is_stuck_when_neither_figure_gets_better() -> None:
    assert not has_stalled(rows((0.5, 1.0), (0.5, 1.0)), 2)
    assert has_stalled(rows((0.5, 1.0), (0.4, 1.1), (0.5, 1.0)), 2)
    assert not has_stalled(rows((0.5, 1.0), (0.4, 1.1), (0.5, 0.9)), 2)
    assert not has_stalled(rows((0.5, 1.0), (0.6, 1.1), (0.5, 1.2)), 2)
