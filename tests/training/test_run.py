"""A training run: what each stage may change, what it refuses, and what it writes."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from model.bundle import read_bundle
from model.errors import FlyobjError, InputError
from model.network import Network
from training.fit import Stage, fit
from training.photos import read_split
from training.run import FINE_TUNE_RATE, HEAD_RATE, SCRATCH_RATE, Settings, train

State = dict[str, Tensor]


def batches(value: float | None = None) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    photos = torch.randn(8, 3, 32, 32, generator=generator)
    if value is not None:
        photos.fill_(value)
    return DataLoader(TensorDataset(photos, torch.arange(8) % 2), batch_size=4)


def state_of(network: Network) -> State:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before: State, after: State) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_the_head_stage_leaves_features_and_their_statistics_alone(tmp_path: Path) -> None:
    network = Network(2)
    before = state_of(network)
    result = fit(network, Stage("head", 1, 1e-2, 32, frozen=True), batches(), batches(), tmp_path)
    weights = {"head.1.weight", "head.1.bias", "head.4.weight", "head.4.bias"}
    assert changed(before, network.state_dict()) == weights
    assert 0 <= result.val_accuracy <= 1
    assert result.best_epoch == 0


def test_the_whole_stage_changes_everything_after_a_head_stage_too(tmp_path: Path) -> None:
    network = Network(2)
    fit(network, Stage("head", 1, 1e-2, 32, frozen=True), batches(), batches(), tmp_path)
    before = state_of(network)
    fit(network, Stage("whole", 1, 1e-2, 32), batches(), batches(), tmp_path)
    assert changed(before, network.state_dict()) == set(before)


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    """A network that is right at once and then unlearns it: labels of the two loaders disagree."""
    photos = torch.cat([torch.full((4, 3, 32, 32), -1.0), torch.full((4, 3, 32, 32), 1.0)])
    labels = torch.tensor([0] * 4 + [1] * 4)
    learn = DataLoader(TensorDataset(photos, 1 - labels), batch_size=8)
    check = DataLoader(TensorDataset(photos, labels), batch_size=8)
    torch.manual_seed(0)
    network = Network(2, dropout=0.0)
    result = fit(network, Stage("whole", 6, 1e-2, 32), learn, check, tmp_path)
    with torch.inference_mode():
        right = (network.eval()(photos).argmax(1) == labels).float().mean().item()
    assert right == pytest.approx(result.val_accuracy)
    kept = list((tmp_path / "checkpoints").iterdir())
    assert [p.name for p in kept] == [f"whole-epoch={result.best_epoch}.ckpt"]


@pytest.mark.parametrize("stage", [Stage("head", 1, 0.25, 32, frozen=True), Stage("whole", 1, 0.25, 32)])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, stage: Stage) -> None:
    message = f"the loss became nan in stage '{stage.name}'; try a lower rate than 0.25"
    with pytest.raises(FlyobjError, match=message):
        fit(Network(2), stage, batches(float("nan")), batches(), tmp_path)


class Interrupted(TensorDataset):
    """Ctrl-C while the first photo is read."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        raise KeyboardInterrupt


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """Lightning turns SIGINT off once it was interrupted."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_interrupts")
def test_ctrl_c_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    loader = DataLoader(Interrupted(torch.zeros(4, 3, 32, 32)), batch_size=2)
    with pytest.raises(FlyobjError, match="training was interrupted in stage 'head'; start it"):
        fit(Network(2), Stage("head", 1, 1e-2, 32, frozen=True), loader, batches(), tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs 0 must be at least 1"),
        ({"batch_size": 1}, "batch_size 1 must be at least 2"),
        ({"workers": -1}, "workers -1 must be at least 0"),
        ({"seed": -1}, "seed -1 must be at least 0"),
        ({"rate": 0.0}, r"rate 0\.0 must be between 0 and 1"),
        ({"rate": 1.0}, r"rate 1\.0 must be between 0 and 1"),
        ({"rate": float("nan")}, "rate nan must be between 0 and 1"),
        ({"size": 16}, "size 16 must be from 32 to 1024"),
    ],
)
def test_settings_are_checked_when_made(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        (
            Settings("imagenet", epochs=12),
            [("head", 2, HEAD_RATE, 224, True), ("whole", 10, FINE_TUNE_RATE, 224)],
        ),
        (
            Settings("w.pt", 96, epochs=2, rate=0.01),
            [("head", 1, HEAD_RATE, 96, True), ("whole", 1, 0.01, 96)],
        ),
        (
            Settings("none", 128, epochs=8),
            [("half-size", 6, SCRATCH_RATE, 64), ("whole", 2, FINE_TUNE_RATE, 128)],
        ),
        (
            Settings("none", 48, epochs=5, rate=0.01),
            [("half-size", 3, SCRATCH_RATE, 32), ("whole", 2, 0.01, 48)],
        ),
        (Settings("none", epochs=1), [("whole", 1, FINE_TUNE_RATE, 224)]),
    ],
)
def test_stages(settings: Settings, stages: list[tuple[str, int, float, int]]) -> None:
    assert list(settings.stages()) == [Stage(*stage) for stage in stages]


def test_an_existing_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="run' exists already; give another or remove it"):
        train(tmp_path / "data", tmp_path / "run", Settings())
    assert list((tmp_path / "run").iterdir()) == []


def test_wrong_data_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        train(tmp_path / "data", tmp_path / "run", Settings("none"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_writes(run: Path, dataset: Path, weights_file: Path) -> None:
    report = json.loads((run / "run.json").read_text())
    spec = read_bundle(run / "bundle").spec
    split = read_split(dataset, "train")
    assert tuple(report["classes"]) == spec.classes == split.classes
    assert spec.data_fingerprint == split.fingerprint
    assert spec.preprocessing.size == report["settings"]["size"] == 64
    assert report["settings"]["weights"] == str(weights_file)
    assert report["photos"] == {"train": 28, "validation": 4}
    assert report["skipped"] == []
    assert [s["stage"]["name"] for s in report["stages"]] == ["head", "whole"]
    assert (run / "logs" / "csv" / "head" / "metrics.csv").is_file()
    assert list((run / "logs" / "tensorboard" / "whole").glob("events*"))
    assert len(list((run / "checkpoints").glob("*.ckpt"))) == 2


def test_skipped_files_are_in_the_report(photo_folder: Callable[..., Path], tmp_path: Path) -> None:
    """And two photos a class are enough."""
    data = photo_folder(train={"a": 3, "b": 2})
    bad = data / "train" / "a" / "2.jpg"
    bad.write_text("words")
    train(data, tmp_path / "run", Settings("none", 32, 1, 2, 0))
    report = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [s["file"] for s in report["skipped"]] == [str(bad)]
    assert "is no photo" in report["skipped"][0]["reason"]
    assert report["photos"] == {"train": 2, "validation": 2}


def test_the_seed_decides_the_run(photo_folder: Callable[..., Path], tmp_path: Path) -> None:
    data = photo_folder(train={"a": 3, "b": 3})
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        train(data, tmp_path / name, Settings("none", 32, 2, 2, 0, seed))
    states = [
        read_bundle(tmp_path / name / "bundle").network.state_dict()
        for name in ("first", "again", "other")
    ]
    assert changed(states[0], states[1]) == set()
    assert changed(states[0], states[2]) != set()
