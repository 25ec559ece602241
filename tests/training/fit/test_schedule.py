"""The strategy: which stages there are, why each is run, and why no more."""

from dataclasses import replace

import pytest

from model.errors import InputError
from training.fit.schedule import (
    BLOCKS,
    SCRATCH_RATE,
    SCRATCH_WHOLE_RATE,
    Stage,
    StageResult,
    ending,
    kept,
    reason,
    stages_of,
)
from training.fit.settings import Settings


def result(stage: Stage, accuracy: float) -> StageResult:
    return StageResult(stage, "", 1e-3, "given", 1, "", 0, accuracy, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        (
            Settings(epochs=12),
            [("head", 1, 224, 0), ("top", 1, 224, 5), ("upper", 2, 224, 12), ("whole", 8, 224, 19)],
        ),
        (
            Settings(epochs=6, size=96, rate=0.01),
            [
                ("head", 1, 96, 0, 0.01),
                ("top", 1, 96, 5, 0.01),
                ("upper", 1, 96, 12, 0.01),
                ("whole", 3, 96, 19, 0.01),
            ],
        ),
        (Settings("w.pt", epochs=3), [("head", 1, 224, 0), ("whole", 2, 224, 19)]),
        (Settings("w.pt", epochs=1), [("head", 1, 224, 0), ("whole", 1, 224, 19)]),
        (
            Settings("none", 128, epochs=8),
            [("half-size", 6, 64, 19, SCRATCH_RATE), ("whole", 2, 128, 19, SCRATCH_WHOLE_RATE)],
        ),
        (
            Settings("none", 48, epochs=5, rate=0.01),
            [("half-size", 3, 32, 19, SCRATCH_RATE), ("whole", 2, 48, 19, 0.01)],
        ),
        (Settings("none", epochs=1), [("whole", 1, 224, 19, SCRATCH_WHOLE_RATE)]),
    ],
)
def test_stages(settings: Settings, stages: list[tuple[str, int, int, int]]) -> None:
    assert list(stages_of(settings)) == [Stage(*stage) for stage in stages]


def test_more_is_opened_until_the_target_is_met() -> None:
    settings = Settings(target=0.9)
    stages = stages_of(settings)
    assert reason(stages, [], settings) == "a new head on pre-trained features"
    done = [result(stages[0], 0.8)]
    assert reason(stages, done, settings) == (
        "validation accuracy 0.800 is below the target 0.9: open 5 blocks from the top"
    )
    done.append(result(stages[1], 0.9))
    assert reason(stages, done, settings) is None
    assert ending(done, settings) == "target met: validation accuracy 0.900, target 0.9"


def test_it_ends_when_everything_is_open() -> None:
    settings = Settings(target=0.9)
    stages = stages_of(settings)
    done = [result(stage, 0.8) for stage in stages]
    assert stages[-1].open_blocks == BLOCKS
    assert "open all blocks" in str(reason(stages, done[:-1], settings))
    assert reason(stages, done, settings) is None
    assert ending(done, settings).startswith("everything is open, target not met: ")


def test_from_scratch_all_stages_are_run_whatever_the_target() -> None:
    settings = Settings("none", target=0.1)
    stages = stages_of(settings)
    assert reason(stages, [result(stages[0], 1.0)], settings) == "photos at their full size"
    done = [result(stages[0], 1.0), result(stages[1], 0.5)]
    assert reason(stages, done, settings) is None
    assert ending(done, settings) == "all stages are done: validation accuracy 0.500"


@pytest.mark.parametrize(("accuracies", "best"), [((0.5, 0.7, 0.6), 1), ((0.5, 0.7, 0.7), 2)])
def test_the_best_stage_is_kept_and_of_equals_the_last(accuracies: tuple[float], best: int) -> None:
    stages = stages_of(Settings())
    assert kept([result(s, a) for s, a in zip(stages, accuracies, strict=False)]) == best


def test_a_stage_at_another_size_is_not_kept() -> None:
    half, whole = stages_of(Settings("none"))
    assert kept([result(half, 0.9), result(whole, 0.5)]) == 1


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
        ({"target": 0.0}, r"target 0\.0 must be an accuracy above 0"),
        ({"target": 93}, "target 93 must be an accuracy .* say 0.93"),
        ({"ema": 1.0}, r"ema 1\.0 must be from 0 to less than 1"),
        ({"label_smoothing": -0.1}, r"label_smoothing -0\.1 must be from 0"),
        ({"layer_decay": 0.1}, r"layer_decay 0\.1 must be from 0\.3 to 1"),
        ({"precision": "16"}, "precision '16' must be one of 32, bf16"),
        ({"mix": "both"}, "mix 'both' must be one of none, mixup, cutmix"),
        ({"logger": "paper"}, "logger 'paper' must be one of tensorboard, csv, wandb"),
        ({"class_weights": "yes"}, "class_weights 'yes' must be one of auto, on, off"),
        ({"devices": 3}, "batch_size 32 must be a multiple of devices x nodes, 3"),
        ({"devices": 2, "nodes": 16}, "at least 2 for each"),
        ({"group_regex": "("}, "is no regular expression"),
    ],
)
def test_settings_are_checked_when_made(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**wrong)  # type: ignore[arg-type]


def test_settings_come_back_from_json() -> None:
    settings = replace(Settings(), rate=0.01)
    assert Settings.from_json(settings.__dict__, "here") == settings
    with pytest.raises(InputError, match="here: settings must have exactly the keys"):
        Settings.from_json({"size": 3}, "here")
