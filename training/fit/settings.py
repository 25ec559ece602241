"""The options of `flyobj train`; checked when made. docs/training.md explains the defaults."""

import math
from dataclasses import dataclass, fields
from typing import Any

from model.bundle import ARCHITECTURES
from model.errors import InputError
from model.files import exact_keys
from model.preprocessing import Preprocessing
from model.typed import check_fields
from training.data.prepare.settings import PrepareSettings

PRECISIONS = ("32", "bf16")
MIXES = ("none", "mixup", "cutmix")
LOGGERS = ("tensorboard", "csv", "wandb")
WEIGHTINGS = ("auto", "on", "off")
AUGMENTATIONS = ("mission", "mild", "none")
# Of settings that earlier versions didn't have: what they did.
_BEFORE: dict[str, Any] = {"augment": "mild", "head": "mlp", "refit": False}


@dataclass(frozen=True)
class TrainSettings:
    """One training run."""

    # "imagenet", "none", or the path of a state dict of torchvision's `mobilenet_v2`.
    weights: str = "imagenet"
    size: int = 224  # side of the network's input, pixels
    epochs: int = 12  # passes over the photos at most, all stages together
    batch_size: int = 32  # photos a step, all processes together
    workers: int = 2  # processes that load photos, for each process that trains
    seed: int = 0  # of every random choice
    lr: float | None = None  # highest learning rate of every stage; None for a range test before each
    # Validation accuracy at which nothing more is opened; None to open more as long as it pays.
    target: float | None = None
    patience: int = 4  # epochs without a better loss or accuracy after which a stage ends
    layer_decay: float = 1.0  # learning rate of a block over that of the block above it
    augment: str = "mild"  # see `training.fit.transforms.AUGMENTATIONS`
    head: str = "mlp"  # "linear", or "mlp" with a hidden layer
    refit: bool = False  # train again on all photos, those for validation too, at the end
    precision: str = "32"  # "32" or "bf16"
    label_smoothing: float = 0.0  # share of each label that is spread over all classes
    mix: str = "none"  # "none", "mixup" or "cutmix"
    # Decay a step of the weights' moving average, which is then what is kept; 0 for none.
    ema: float = 0.0
    # "on" to weight the loss against imbalance, "auto" from a stated imbalance on.
    class_weights: str = "auto"
    # Files in whose names it finds the same stay on one side of the validation split.
    group_regex: str | None = None
    logger: str = "tensorboard"  # "csv" (always written), "tensorboard" or "wandb" beside it
    devices: int = 1  # processes that train, on each node
    nodes: int = 1  # machines

    def __post_init__(self) -> None:
        """Refuse what can't be trained with."""
        lowest = {"epochs": 1, "batch_size": 2, "workers": 0, "seed": 0}
        for name, low in {**lowest, "patience": 1, "devices": 1, "nodes": 1}.items():
            if getattr(self, name) < low:
                raise InputError(f"{name} {getattr(self, name)} must be at least {low}")
        if self.lr is not None and not 0 < self.lr < 1:
            raise InputError(f"lr {self.lr} must be between 0 and 1")
        if self.target is not None and not 0 < self.target <= 1:
            raise InputError(f"target {self.target} must be an accuracy above 0 and up to 1, say 0.93")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)} must be from 0 to less than 1")
        if not (math.isfinite(self.layer_decay) and 0.3 <= self.layer_decay <= 1):
            raise InputError(f"layer_decay {self.layer_decay} must be from 0.3 to 1, the same for all")
        self._check_names()
        processes = self.devices * self.nodes
        if self.batch_size % processes or self.batch_size < 2 * processes:
            raise InputError(
                f"batch_size {self.batch_size} must be a multiple of devices x nodes, {processes}, and "
                "at least 2 for each, as batch-norm averages over them"
            )
        Preprocessing(self.size)
        PrepareSettings(group_regex=self.group_regex)

    def _check_names(self) -> None:
        allowed = {"precision": PRECISIONS, "mix": MIXES, "logger": LOGGERS, "class_weights": WEIGHTINGS}
        allowed |= {"augment": AUGMENTATIONS, "head": tuple(ARCHITECTURES)}
        for name, names in allowed.items():
            if getattr(self, name) not in names:
                raise InputError(f"{name} {getattr(self, name)!r} must be one of {', '.join(names)}")

    @classmethod
    def from_json(cls, document: Any, where: str) -> "TrainSettings":
        """Take what `dataclasses.asdict` gave; `where` names it in errors."""
        where = f"{where}: settings"
        names = [f.name for f in fields(cls)]
        values = _BEFORE | exact_keys(document, names, where, optional=tuple(_BEFORE))
        check_fields(cls, values, where, "train again")
        return cls(**values)
