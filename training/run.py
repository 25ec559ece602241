"""A training run: photos in, `runs/NAME` out.

bundle/        what is packaged (see `model.bundle`)
run.json       settings, stages and what came of them, files left out
logs/          TensorBoard and CSV
checkpoints/   the best epoch of each stage
"""

import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import lightning as L
from torch.utils.data import DataLoader

from model.bundle import Bundle, Golden, ModelSpec, as_probabilities, write_bundle, write_json
from model.errors import InputError
from model.network import Network, load_pretrained
from model.predictor import Predictor
from model.preprocessing import MIN_SIZE, Preprocessing
from training.calibrate import calibrate
from training.fit import Batches, Stage, StageResult, fit
from training.photos import Photo, PhotoDataset, Split, hold_out, read_split
from training.transforms import test_transform, train_transform

VAL_SHARE = 0.15
GOLDEN_PER_CLASS = 2
HEAD_RATE = 3e-3
FINE_TUNE_RATE = 1e-3  # of weights that are good already
SCRATCH_RATE = 3e-3


@dataclass(frozen=True)
class Settings:
    """What `flyobj train` can be told; checked when made."""

    weights: str = "imagenet"
    size: int = 224
    epochs: int = 12
    batch_size: int = 32
    workers: int = 2
    seed: int = 0
    rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that can't be trained with."""
        for name, low in (("epochs", 1), ("batch_size", 2), ("workers", 0), ("seed", 0)):
            if getattr(self, name) < low:
                raise InputError(f"{name} {getattr(self, name)} must be at least {low}")
        if self.rate is not None and not 0 < self.rate < 1:
            raise InputError(f"rate {self.rate} must be between 0 and 1")
        Preprocessing(self.size)

    def stages(self) -> tuple[Stage, ...]:
        """Head first and then the whole network.

        From scratch there is nothing to keep frozen; three quarters of the epochs go over photos of half
        the size, at a quarter of the work (progressive resizing: Howard, fast.ai at DAWNBench, 2018).
        """
        if self.weights == "none":
            half = max(MIN_SIZE, self.size // 2)
            first = self.epochs * 3 // 4
            second = Stage("whole", self.epochs - first, self.rate or FINE_TUNE_RATE, self.size)
            return (Stage("half-size", first, SCRATCH_RATE, half), second) if first else (second,)
        head = max(1, self.epochs // 6)
        return (
            Stage("head", head, HEAD_RATE, self.size, frozen=True),
            Stage("whole", max(1, self.epochs - head), self.rate or FINE_TUNE_RATE, self.size),
        )


def train(data: Path, out: Path, settings: Settings) -> tuple[StageResult, ...]:
    """Train on `data/train` and write the run to the folder `out`, which must not exist yet."""
    if out.exists():
        raise InputError(f"run folder {str(out)!r} exists already; give another or remove it")
    L.seed_everything(settings.seed, workers=True, verbose=False)
    preprocessing = Preprocessing(settings.size)
    split = read_split(data, "train")
    network = Network(len(split.classes))
    load_pretrained(network, settings.weights)
    rest, held = hold_out(split.photos, VAL_SHARE, settings.seed)
    out.mkdir(parents=True)
    results = tuple(
        fit(network, stage, *_loaders(rest, held, stage.size, settings), out)
        for stage in settings.stages()
    )
    _write_bundle(network, preprocessing, split, held, out / "bundle")
    calibrated = calibrate(out / "bundle", held)
    report = {
        "data": str(data),
        "settings": asdict(settings),
        "classes": split.classes,
        "photos": {"train": len(rest), "validation": len(held)},
        "skipped": [{"file": str(s.path), "reason": s.reason} for s in split.skipped],
        "stages": [asdict(result) for result in results],
        # below `train`; what `flyobj calibrate` uses
        "validation_files": [p.path.relative_to(data / "train").as_posix() for p in held],
        "calibration": asdict(calibrated),
    }
    write_json(report, out / "run.json")
    return results


def _loaders(
    rest: Sequence[Photo], held: Sequence[Photo], size: int, settings: Settings
) -> tuple[Batches, Batches]:
    def loader(photos: Sequence[Photo], train: bool) -> Batches:
        transform = train_transform if train else test_transform
        return DataLoader(
            PhotoDataset(photos, transform(Preprocessing(size))),
            batch_size=settings.batch_size,
            shuffle=train,
            # A last batch of one photo would leave batch-norm nothing to average over.
            drop_last=train and len(photos) > settings.batch_size,
            num_workers=settings.workers,
        )

    return loader(rest, True), loader(held, False)


def _write_bundle(
    network: Network,
    preprocessing: Preprocessing,
    split: Split,
    held: Sequence[Photo],
    path: Path,
) -> None:
    spec = ModelSpec(
        split.classes,
        preprocessing,
        split.fingerprint,
        _code_version(),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    predictor = Predictor(Bundle(spec, network, ()))
    chosen = [
        photo
        for label in range(len(split.classes))
        for photo in [p for p in held if p.label == label][:GOLDEN_PER_CLASS]
    ]
    golden = []
    for number, photo in enumerate(chosen):
        content = photo.path.read_bytes()
        answer = predictor.predict([predictor.prepare(content)])[0]
        golden.append(
            Golden(
                f"{number:02}{photo.path.suffix}",
                content,
                split.classes[photo.label],
                as_probabilities(split.classes, answer),
            )
        )
    write_bundle(Bundle(spec, network, tuple(golden)), path)


def _code_version() -> str:
    """Return git's name for the code, or "unknown" outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
