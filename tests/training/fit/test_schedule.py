"""The strategy: which stages there are, why each is run, and why no more."""

from dataclasses import replace

import pytest

from model.errors import InputError
from training.fit.schedule import (
    BLOCKS,
    SCRATCH_LR,
    SCRATCH_WHOLE_LR,
    Stage,
    StageResult,
    best_stage_index,
    end_reason,
    lr_scale,
    next_stage_reason,
    stage_end,
    stages_of,
)
from training.fit.settings import TrainSettings


def result(stage: Stage, accuracy: float) -> StageResult:
    return StageResult(stage, "", 1e-3, "given", 1, "", 0, accuracy, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        (
            TrainSettings(epochs=12),
            [("head", 1, 224, 0), ("top", 1, 224, 5), ("upper", 2, 224, 12), ("whole", 8, 224, 19)],
        ),
        (
            TrainSettings(epochs=6, size=96, lr=0.01),
            [
                ("head", 1, 96, 0, 0.01),
                ("top", 1, 96, 5, 0.01),
                ("upper", 1, 96, 12, 0.01),
                ("whole", 3, 96, 19, 0.01),
            ],
        ),
        (TrainSettings("w.pt", epochs=3), [("head", 1, 224, 0), ("whole", 2, 224, 19)]),
        (TrainSettings("w.pt", epochs=1), [("head", 1, 224, 0), ("whole", 1, 224, 19)]),
        (
            TrainSettings("none", 128, epochs=8),
            [("half-size", 6, 64, 19, SCRATCH_LR), ("whole", 2, 128, 19, SCRATCH_WHOLE_LR)],
        ),
        (
            TrainSettings("none", 48, epochs=5, lr=0.01),
            [("half-size", 3, 32, 19, SCRATCH_LR), ("whole", 2, 48, 19, 0.01)],
        ),
        (TrainSettings("none", epochs=1), [("whole", 1, 224, 19, SCRATCH_WHOLE_LR)]),
    ],
)
def test_stages(settings: TrainSettings, stages: list[tuple[str, int, int, int]]) -> None:
    assert list(stages_of(settings)) == [Stage(*stage) for stage in stages]


def test_more_is_opened_until_the_target_is_met() -> None:
    settings = TrainSettings(target=0.9)
    stages = stages_of(settings)
    assert next_stage_reason(stages, [], settings) == "a new head on pre-trained features"
    done = [result(stages[0], 0.8)]
    assert next_stage_reason(stages, done, settings) == (
        "validation accuracy 0.800 is below the target 0.9: unfreeze 5 blocks from the top"
    )
    done.append(result(stages[1], 0.9))
    assert next_stage_reason(stages, done, settings) is None
    assert end_reason(done, settings) == "target met: validation accuracy 0.900, target 0.9"


def test_it_ends_when_everything_is_open() -> None:
    settings = TrainSettings(target=0.9)
    stages = stages_of(settings)
    done = [result(stage, 0.8) for stage in stages]
    assert stages[-1].trainable_blocks == BLOCKS
    assert "unfreeze all blocks" in str(next_stage_reason(stages, done[:-1], settings))
    assert next_stage_reason(stages, done, settings) is None
    assert end_reason(done, settings).startswith("all blocks are trained, target not met: ")


def test_without_a_target_more_is_opened_as_long_as_it_pays() -> None:
    settings = TrainSettings()
    stages = stages_of(settings)

    def reason(*accuracies: float) -> str | None:
        done = [result(s, a) for s, a in zip(stages, accuracies, strict=False)]
        return next_stage_reason(stages, done, settings)

    assert reason(0.994) == "validation accuracy 0.994 leaves room: unfreeze 5 blocks from the top"
    assert reason(0.995) is None  # nothing left to gain
    assert reason(0.8, 0.7) is not None  # one stage may lose
    assert reason(0.8, 0.79, 0.8) is None  # two in a row brought nothing
    assert reason(0.7, 0.8, 0.79) is not None
    assert reason(0.7, 0.8, 0.9, 0.8) is None  # all are done

    def end(*accuracies: float) -> str:
        return end_reason([result(s, a) for s, a in zip(stages, accuracies, strict=False)], settings)

    assert end(1.0) == "nothing left to gain: validation accuracy 1.000"
    assert end(0.8, 0.79, 0.8) == "2 stages in a row brought nothing: validation accuracy 0.800"
    assert end(0.7, 0.8, 0.9, 0.8) == "all stages are done: validation accuracy 0.900"


def test_a_stage_far_below_the_one_before_ends_when_half_its_epochs_are_done() -> None:
    stage = Stage("whole", 8, 128)

    def end(*accuracies: float, before: float | None = 0.9, photos: int = 1000) -> str | None:
        epochs = [{"val_accuracy": a, "val_loss": 1 - a} for a in accuracies]
        return stage_end(epochs, stage, 8, before, photos)

    assert end(0.7, 0.7, 0.7) is None  # what is newly unfrozen unlearns at first
    assert end(0.7, 0.8, 0.84, 0.83) == (
        "its first 4 epochs reached 0.840, far below the 0.900 before it"
    )
    assert end(0.7, 0.8, 0.86, 0.83) is None
    assert end(0.7, 0.8, 0.84, 0.83, photos=80) is None  # two standard errors are 0.067 there
    assert end(0.7, 0.7, 0.7, 0.7, before=None) is None
    assert end(*[0.7] * 8) == "all its epochs are done"


def test_a_stage_ends_when_nothing_gets_better() -> None:
    epochs = [{"val_accuracy": 0.9, "val_loss": 0.5}] * 4
    assert stage_end(epochs, Stage("whole", 8, 128), 3, 0.5, 100) == "no better for 3 epochs"


def test_from_scratch_all_stages_are_run_whatever_the_target() -> None:
    settings = TrainSettings("none", target=0.1)
    stages = stages_of(settings)
    assert next_stage_reason(stages, [result(stages[0], 1.0)], settings) == "photos at their full size"
    done = [result(stages[0], 1.0), result(stages[1], 0.5)]
    assert next_stage_reason(stages, done, settings) is None
    assert end_reason(done, settings) == "all stages are done: validation accuracy 0.500"


@pytest.mark.parametrize(("accuracies", "best"), [((0.5, 0.7, 0.6), 1), ((0.5, 0.7, 0.7), 2)])
def test_the_best_stage_is_kept_and_of_equals_the_last(accuracies: tuple[float], best: int) -> None:
    stages = stages_of(TrainSettings())
    assert best_stage_index([result(s, a) for s, a in zip(stages, accuracies, strict=False)]) == best


def test_a_stage_at_another_size_is_not_kept() -> None:
    half, whole = stages_of(TrainSettings("none"))
    assert best_stage_index([result(half, 0.9), result(whole, 0.5)]) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs 0 must be at least 1"),
        ({"batch_size": 1}, "batch_size 1 must be at least 2"),
        ({"workers": -1}, "workers -1 must be at least 0"),
        ({"seed": -1}, "seed -1 must be at least 0"),
        ({"lr": 0.0}, r"lr 0\.0 must be between 0 and 1"),
        ({"lr": 1.0}, r"lr 1\.0 must be between 0 and 1"),
        ({"lr": float("nan")}, "lr nan must be between 0 and 1"),
        ({"size": 16}, "size 16 must be from 32 to 1024"),
        ({"target": 0.0}, r"target 0\.0 must be an accuracy above 0"),
        ({"target": 93}, "target 93 must be an accuracy .* say 0.93"),
        ({"ema": 1.0}, r"ema 1\.0 must be from 0 to less than 1"),
        ({"label_smoothing": -0.1}, r"label_smoothing -0\.1 must be from 0"),
        ({"layer_decay": 0.1}, r"layer_decay 0\.1 must be from 0\.3 to 1"),
        ({"augment": "wild"}, "augment 'wild' must be one of mission, mild, none"),
        ({"head": "tail"}, "head 'tail' must be one of mlp, linear"),
        ({"precision": "16"}, "precision '16' must be one of 32, bf16"),
        ({"mix": "both"}, "mix 'both' must be one of none, mixup, cutmix"),
        ({"logger": "paper"}, "logger 'paper' must be one of tensorboard, csv, wandb"),
        ({"class_weights": "yes"}, "class_weights 'yes' must be one of auto, on, off"),
        ({"devices": 3}, "batch_size 32 must be a multiple of devices x nodes, 3"),
        ({"devices": 2, "nodes": 16}, "at least 2 for each"),
        ({"group_regex": "("}, "isn't a regular expression"),
    ],
)
def test_settings_are_checked_when_made(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainSettings(**wrong)


def test_settings_come_back_from_json() -> None:
    settings = replace(TrainSettings(), lr=0.01, augment="none", head="linear")
    assert TrainSettings.from_json(settings.__dict__, "here") == settings
    before = {k: v for k, v in settings.__dict__.items() if k not in ("augment", "head", "refit")}
    old = TrainSettings.from_json(before, "here")  # of a version that had no such choice
    assert (old.augment, old.head, old.refit) == ("mild", "mlp", False)
    with pytest.raises(InputError, match="here: settings: missing keys"):
        TrainSettings.from_json({"size": 3}, "here")


def test_the_rate_rises_and_falls_to_nothing() -> None:
    course = [lr_scale(step, 40) for step in range(40)]
    assert course[:4] == [0.2, 0.4, 0.6, 0.8]
    assert max(course) == course[4] == 1.0
    assert course[22] == pytest.approx(0.5)  # half-way down a cosine
    assert course[5:] == sorted(course[5:], reverse=True)
    assert course[-1] < 0.01
