"""The verdict: exact values by hand, coverage and right verdicts by simulation with fixed seeds."""

from math import comb
from typing import Any

import numpy as np
import pytest

from model.errors import FlyobjError, InputError
from report.comparison import (
    Comparison,
    Labels,
    Said,
    figures,
    find_flips,
    in_words,
    judge,
    require_acceptable,
)
from report.paired import BETTER, NOT_WORSE, UNCLEAR, WORSE, mcnemar, measure_change, verdict_of


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (9, 2), (2, 9), (10, 10), (30, 14)])
def test_mcnemar_is_the_binomial_by_hand(gained: int, lost: int) -> None:
    n, fewer = gained + lost, min(gained, lost)
    by_hand = min(1, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n)
    assert mcnemar(gained, lost) == pytest.approx(by_hand, rel=1e-12)


def test_known_values() -> None:
    assert mcnemar(9, 2) == pytest.approx(0.0654296875)  # 2 * (1 + 11 + 55) / 2048
    assert mcnemar(5, 0) == 0.0625


def test_single_photos_have_the_interval_of_agresti_and_min() -> None:
    """(c - b) / N with 0.5 in each of the four cells, as their paper has it; n is large, so t is z."""
    n, gained, lost = 4000, 90, 40
    new, old = np.zeros(n, bool), np.zeros(n, bool)
    new[:gained] = True
    old[gained : gained + lost] = True
    change = measure_change(new, old, np.arange(n))
    b, c, total = lost + 0.5, gained + 0.5, n + 2
    error = np.sqrt((b + c) - (c - b) ** 2 / total) / total
    expected = (c - b) / total - 1.96 * error, (c - b) / total + 1.96 * error
    assert change.interval == pytest.approx(expected, abs=1e-5)
    assert (change.gained, change.lost, change.groups) == (gained, lost, n)
    assert change.difference == pytest.approx((gained - lost) / n)


def test_groups_count_and_not_photos() -> None:
    """Ten copies of each photo as one group say as much as the photo."""
    rng = np.random.default_rng(0)
    new, old, groups = rng.random(300) < 0.8, rng.random(300) < 0.7, np.arange(300)
    once = measure_change(new, old, groups)
    copies = measure_change(np.repeat(new, 10), np.repeat(old, 10), np.repeat(groups, 10))
    assert copies.interval == pytest.approx(once.interval)
    assert copies.groups == once.groups == 300
    assert copies.photos == 3000


def test_one_group_tells_nothing() -> None:
    change = measure_change(np.ones(50, bool), np.zeros(50, bool), np.zeros(50, int))
    assert change.interval == (-1, 1)


def test_no_difference_is_not_certain() -> None:
    same = np.ones(60, bool)
    low, high = measure_change(same, same, np.arange(60)).interval
    assert low == pytest.approx(-2.0 / 62, rel=0.01)  # t times the two half groups
    assert high == -low


def draw(rng: np.random.Generator, groups: int, gained: float, lost: float) -> Any:
    """Draw 4 to 12 frames of each clip, whose own rates spread with an intraclass correlation of 0.2."""
    precision = (1 - 0.2) / 0.2
    alphas = precision * np.array([gained, lost, 1 - gained - lost])
    rates = rng.dirichlet(alphas, groups)
    sizes = rng.integers(4, 13, groups)
    number = np.repeat(np.arange(groups), sizes)
    chance = rng.random(len(number))
    is_gained = chance < rates[number, 0]
    is_lost = ~is_gained & (chance < rates[number, :2].sum(axis=1))
    right = ~is_lost  # what both answer alike doesn't matter
    return right, right & ~is_gained | is_lost, number


@pytest.mark.parametrize(
    ("groups", "gained", "lost"),
    [(6, 0.05, 0.02), (12, 0.04, 0.02), (63, 0.04, 0.02), (250, 0.01, 0.01)],
)
def test_the_interval_holds_the_truth(groups: int, gained: float, lost: float) -> None:
    rng = np.random.default_rng(groups)
    intervals = [measure_change(*draw(rng, groups, gained, lost)).interval for _ in range(400)]
    held = np.mean([low <= gained - lost <= high for low, high in intervals])
    assert held >= 0.94


@pytest.mark.parametrize(
    ("difference", "groups", "margin", "right"),
    [
        (0.02, 900, 0.005, BETTER),
        (-0.02, 900, 0.005, WORSE),
        (0.0, 14_000, 0.005, NOT_WORSE),
        (0.0, 900, 0.02, NOT_WORSE),
    ],
)
def test_verdicts_are_right_in_19_of_20(
    difference: float, groups: int, margin: float, right: str
) -> None:
    """Two seeds of one recipe disagree on 6 % of photos; 8 frames a clip."""
    rng, repetitions = np.random.default_rng(1), 100
    verdicts = []
    for _ in range(repetitions):
        new, old, number = draw(rng, groups, 0.03 + difference / 2, 0.03 - difference / 2)
        verdicts.append(verdict_of(measure_change(new, old, number), margin))
    assert verdicts.count(right) >= 0.95 * repetitions


def judged(new: Any, old: Any, groups: Any, margin: float = 0.005) -> Comparison:
    truth = ["bird"] * len(new)
    said = [[Said("bird" if right else "drone", 0.9) for right in part] for part in (new, old)]
    labels = Labels([str(i) for i in range(len(new))], truth, groups, "clips")
    return judge(labels, *said, (("bird", "drone"), ("bird", "drone")), margin=margin)


def test_so_many_more_photos_do_give_a_verdict() -> None:
    rng = np.random.default_rng(2)
    few = judged(*draw(rng, 100, 0.04, 0.03))
    assert few.verdict == UNCLEAR
    assert few.more_groups
    assert few.more_photos == pytest.approx(8 * few.more_groups, rel=0.1)
    # if the difference is as it was seen
    seen = few.all.gained / few.all.photos, few.all.lost / few.all.photos
    for share, told in ((1, 0.8), (1 / 8, 0.0)):
        groups = 100 + int(share * few.more_groups)
        changes = [measure_change(*draw(rng, groups, *seen)) for _ in range(40)]
        clear = np.mean([verdict_of(change, few.margin) != UNCLEAR for change in changes])
        assert told <= clear <= told + 0.6


def test_a_margin_next_to_nothing_takes_more_photos_than_there_are() -> None:
    """As many were gained as lost, so only a sample of any size would tell that it is none."""
    new, old = np.arange(200) >= 5, (np.arange(200) < 5) | (np.arange(200) >= 10)
    found = judged(new, old, np.arange(200), margin=1e-6)
    assert (found.verdict, found.more_photos, found.more_groups) == (UNCLEAR, None, None)
    assert in_words(found, "A", "B") == (
        "these 200 photos can't tell whether A is better than B; no number of photos would be enough at "
        "this difference"
    )


def two_classes(
    bird: tuple[int, int, int], drone: tuple[int, int, int], **more: Any
) -> tuple[Comparison, Labels, list[Said], list[Said]]:
    """Judge photos of two classes, each (gained, lost, all), a group each."""
    truth, new, old = [], [], []
    for name, other, (gained, lost, photos) in (("bird", "drone", bird), ("drone", "bird", drone)):
        for i in range(photos):
            truth.append(name)
            answers = (
                (name, other) if i < gained else (other, name) if i < gained + lost else (name, name)
            )
            new.append(Said(answers[0], 0.9))
            old.append(Said(answers[1], 0.8))
    labels = Labels([f"{i}.jpg" for i in range(len(truth))], truth, np.arange(len(truth)), "photos")
    classes = more.pop("classes", (("bird", "drone"), ("bird", "drone")))
    return judge(labels, new, old, classes, **more), labels, new, old


def test_a_class_that_got_worse_is_not_hidden_by_another() -> None:
    c, *_ = two_classes(bird=(0, 40, 500), drone=(160, 0, 1500))
    assert c.verdict == BETTER
    assert c.worse_classes == ("bird",)
    assert not c.acceptable
    assert in_words(c, "2.0", "1.0") == "2.0 is better than 1.0, but worse for bird"
    with pytest.raises(FlyobjError, match=r"but worse for bird; the default stays 1\.0"):
        require_acceptable(c, "2.0", "1.0", "; the default stays 1.0")
    fine, *_ = two_classes(bird=(2, 3, 500), drone=(160, 0, 1500))
    assert fine.acceptable
    require_acceptable(fine, "2.0", "1.0")


def test_the_more_classes_the_surer_a_loss_of_one_must_be() -> None:
    """What a single class would lose by more than chance (2.07 errors) is chance among two (2.24)."""
    c, labels, new, old = two_classes(bird=(3, 11, 500), drone=(160, 0, 1500))
    own = np.array(labels.truth) == "bird"
    ours, theirs = (np.array([s.answer == "bird" for s in said])[own] for said in (new, old))
    assert measure_change(ours, theirs, labels.groups[own]).interval[1] < 0
    assert c.worse_classes == ()


def test_flips_and_figures() -> None:
    c, labels, new, old = two_classes(bird=(2, 1, 100), drone=(0, 0, 100))
    flips = find_flips(labels, new, old)
    assert [(f.photo, f.truth, f.after, f.before, f.gained, f.lost) for f in flips] == [
        ("0.jpg", "bird", "bird", "drone", True, False),
        ("1.jpg", "bird", "bird", "drone", True, False),
        ("2.jpg", "bird", "drone", "bird", False, True),
    ]
    assert c.verdict == UNCLEAR
    assert "these 200 photos can't tell whether 2.0 is better than 1.0; about" in in_words(
        c, "2.0", "1.0"
    )
    line = figures(c)
    assert line.startswith("accuracy 0.995, before 0.990: +0.005 (95 %: ")
    assert line.endswith("2 photos gained, 1 lost, McNemar's exact p 1")


def test_unknown_is_not_right() -> None:
    """Or a version that says so of every photo would take the place of one that knows them."""
    labels = Labels(["a.jpg"] * 60, ["bird"] * 60, np.arange(60), "photos")
    new, old = [Said("unknown", 0.9)] * 60, [Said("bird", 0.9)] * 60
    c = judge(labels, new, old, (("bird", "drone"), ("bird", "drone")), largest_difference=0.0)
    assert (c.verdict, c.all.gained, c.all.lost, c.same_answers) == (WORSE, 0, 60, False)
    assert in_words(c, "2.0", "1.0") == "2.0 is worse than 1.0, for bird above all"


def test_classes_that_one_of_them_lacks() -> None:
    c, *_ = two_classes(bird=(0, 0, 900), drone=(0, 5, 5), classes=(("bird",), ("bird", "drone")))
    assert c.only_old == c.worse_classes == ("drone",)  # five photos would be too few to tell
    assert not c.acceptable
    more = two_classes(bird=(0, 0, 90), drone=(90, 0, 90), classes=(("bird", "drone"), ("bird",)))[0]
    assert (more.only_new, more.only_old, more.verdict) == (("drone",), (), BETTER)
    with pytest.raises(InputError, match=r"classes \['drone'\] of the photos are known to neither"):
        two_classes(bird=(0, 0, 9), drone=(0, 0, 9), classes=(("bird",), ("bird",)))


def test_the_same_answers_need_no_photos() -> None:
    c, *_ = two_classes(bird=(0, 0, 5), drone=(0, 0, 5), largest_difference=1e-4)
    assert (c.verdict, c.same_answers, c.more_photos) == (NOT_WORSE, True, None)
    assert in_words(c, "A", "B") == "A gives the same answers as B"


@pytest.mark.parametrize("margin", [-0.1, 1.0, float("nan")])
def test_a_margin_that_is_none(margin: float) -> None:
    with pytest.raises(InputError, match="must be from 0 to less than 1"):
        two_classes(bird=(0, 0, 5), drone=(0, 0, 5), margin=margin)
