"""The recipes that are compared: the default, and what each word changes of it.

    mission   --augment mission                 linear    --head linear
    smooth    --label-smoothing 0.1             ema       --ema 0.97
    most      a head epoch, then 13 with the 16 upper blocks open, instead of the ladder: as long
    whole     a head epoch, then 9 with all blocks open: as long
    sgd       SGD with a one-cycle schedule (Smith and Topin 2019) instead of AdamW
    all       trained on the validation photos too, the last epochs kept: what --refit gives
    fixed     a learning rate of 1e-3 instead of range tests

Words are joined by "+". `screen` gives a fraction of all combinations for each fold.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from model.errors import InputError
from training.fit.lr_finder import BELOW, Curve
from training.fit.plan import Plan
from training.fit.schedule import BLOCKS, Stage
from training.fit.settings import TrainSettings
from training.fit.stage import StageLoop
from training.fit.trainer import Trainer

DEFAULT = "default"
SETTINGS: dict[str, dict[str, Any]] = {
    "mission": {"augment": "mission"},
    "linear": {"head": "linear"},
    "smooth": {"label_smoothing": 0.1},
    "ema": {"ema": 0.97},
    "fixed": {"lr": 1e-3},
}
# Name of the second stage, blocks that are trained in it, and its epochs.
SCHEDULES = {"most": ("most", 16, 13), "whole": ("whole", BLOCKS, 9)}
WORDS = (*SETTINGS, *SCHEDULES, "sgd", "all")
FACTORS = ("mission", "linear", "most", "sgd", "smooth", "ema", "all")

_MOMENTA = (0.95, 0.85)  # of one cycle: at its ends and at its peak
_RISE = 0.3  # share of the steps until the peak
_START = 25.0  # the peak over the first learning rate


class OneCycleSgd(StageLoop):
    """A stage by SGD, as PyTorch's OneCycleLR has it, with its momentum."""

    def find_lr(self) -> Curve:
        """Run the test, and read from it what suits SGD."""
        curve = super().find_lr()
        return SgdCurve(**{field.name: getattr(curve, field.name) for field in fields(curve)})

    def _new_optimizer(self) -> Any:
        groups = self._trained.groups(self._context.settings.layer_decay)
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-4)
        return self._context.fabric.setup_optimizers(optimizer)

    def _lr_scale(self, step: int) -> float:
        steps = self.steps
        peak = max(1.0, _RISE * steps)
        if step < peak:
            high = 0.5 * (1 - math.cos(math.pi * step / peak))
            scale = 1 / _START + (1 - 1 / _START) * high
        else:
            scale = high = 0.5 * (1 + math.cos(math.pi * (step - peak) / max(1.0, steps - peak)))
        for group in self._optimizer.param_groups:
            group["momentum"] = _MOMENTA[0] + (_MOMENTA[1] - _MOMENTA[0]) * high
        return scale


class SgdCurve(Curve):
    """A range test of SGD, whose learning rates are some ten times AdamW's."""

    @property
    def suggestion(self) -> float:
        """The learning rate to take, to two digits."""
        lr = 1e-2 if self.highest is None else self.highest / BELOW
        return float(f"{min(5e-2, max(3e-3, lr)):.1e}")


class SgdTrainer(Trainer):
    """The schedule, each stage by SGD."""

    loop = OneCycleSgd


@dataclass(frozen=True)
class Arm:
    """A recipe, by the words that change the default."""

    name: str

    @property
    def words(self) -> frozenset[str]:
        """The words, each once."""
        return frozenset() if self.name == DEFAULT else frozenset(self.name.split("+"))

    def __post_init__(self) -> None:
        """Refuse words that are none."""
        if wrong := sorted(self.words - {*WORDS}):
            raise InputError(f"arm {self.name!r}: {wrong} aren't among {DEFAULT}, {', '.join(WORDS)}")

    def plan(self, plan: Plan) -> Plan:
        """Change the plan of a run as the words say."""
        changes = [SETTINGS[word] for word in self.words if word in SETTINGS]
        settings = replace(plan.settings, **{k: v for change in changes for k, v in change.items()})
        train = plan.train + plan.validation if "all" in self.words else plan.train
        return replace(plan, settings=settings, train=train)

    @property
    def trainer(self) -> type[Trainer]:
        """Choose by whom the schedule is run."""
        return SgdTrainer if "sgd" in self.words else Trainer

    def stages(self, settings: TrainSettings) -> tuple[Stage, ...] | None:
        """List the stages; None for those of the settings."""
        for word, (name, blocks, epochs) in SCHEDULES.items():
            if word in self.words:
                epochs = max(1, epochs * settings.epochs // 12)
                return (
                    Stage("head", 1, settings.size, 0, settings.lr),
                    Stage(name, epochs, settings.size, blocks, settings.lr),
                )
        return None


def name_of(words: set[str]) -> str:
    """Join words in the order of `WORDS`."""
    return "+".join(word for word in WORDS if word in words) or DEFAULT


def screen(fold: int) -> list[str]:
    """Choose 8 of the 128 combinations of `FACTORS` for a fold: each word in 4, each pair in 2.

    The rows are the words of the simplex code of length 7, a fraction of resolution III (Box, Hunter and
    Hunter, "Statistics for Experimenters", 2005, chapter 6). Even folds have the default among theirs;
    odd ones have the complement, and each fold its own order of factors, so that no two factors stay
    aliased with a third.
    """
    order = [(position * 3 + fold * 2) % 7 for position in range(7)]
    chosen = []
    for row in range(8):
        words = set()
        for column in range(1, 8):
            high = bin(row & column).count("1") % 2 != fold % 2
            if high:
                words.add(FACTORS[order[column - 1]])
        chosen.append(name_of(words))
    return chosen
