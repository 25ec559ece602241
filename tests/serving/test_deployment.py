"""What should be served, as written and read again."""

import json
from pathlib import Path

import pytest

from model.errors import InputError
from serving.deployment import Deployed, Deployment, read_deployment, write_deployment

ONE, TWO = Deployed("a-1.0.mar", "1" * 64), Deployed("a-2.0.mar", "2" * 64)


def test_nothing_was_deployed_yet(tmp_path: Path) -> None:
    assert read_deployment(tmp_path) == Deployment(None, {})


def test_the_first_version_becomes_the_default() -> None:
    both = Deployment().with_version("1.0", ONE).with_version("2.0", TWO)
    assert both == Deployment("1.0", {"1.0": ONE, "2.0": TWO})
    assert both.with_default("2.0") == Deployment("2.0", {"1.0": ONE, "2.0": TWO})


def test_round_trip(tmp_path: Path) -> None:
    deployment = Deployment("2.0", {"1.0": ONE, "2.0": TWO})
    write_deployment(deployment, tmp_path)
    assert read_deployment(tmp_path) == deployment
    assert [p.name for p in tmp_path.iterdir()] == ["deployment.json"]


GOOD = {"archive": "a-1.0.mar", "sha256": "1" * 64}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must hold 'default' and 'versions'"),
        ({"default": None}, "must hold 'default' and 'versions'"),
        ({"default": "1.0", "versions": []}, "must hold 'default' and 'versions'"),
        ({"default": "1.0", "versions": {"1.0": {"archive": "x"}}}, "must hold .*sha256"),
        ({"default": "1.0", "versions": {"1.0": {**GOOD, "size": 1}}}, "must hold .*size"),
        ({"default": "2.0", "versions": {"1.0": GOOD}}, r"default '2.0' is none of .*\['1.0'\]"),
        ({"default": None, "versions": {"1.0": GOOD}}, "default None is none of"),
        ({"default": "1.0", "versions": {}}, "default '1.0' is none of"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, document: object, message: str) -> None:
    (tmp_path / "deployment.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        read_deployment(tmp_path)


def test_a_half_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deployment.json").write_text('{"default": ')
    with pytest.raises(InputError, match=r"deployment\.json' can't be read as JSON"):
        read_deployment(tmp_path)
