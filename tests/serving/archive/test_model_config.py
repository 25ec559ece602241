"""Settings changed in a file that people have commented."""

from pathlib import Path

import pytest
import yaml

from model.errors import InputError
from serving.archive.model_config import apply_changes, read_settings, write_settings
from serving.stock import ROOT

OURS = ROOT / "handler" / "model-config.yaml"


def test_only_the_values_change_and_comments_stay_in_their_column() -> None:
    text = OURS.read_text(encoding="utf-8")
    new = apply_changes(text, {"batchSize": 16, "handler.threads": 2, "handler.engine": "torch"}, "it")
    before, after = text.splitlines(), new.splitlines()
    different = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert [b.split("#")[0].split() for _, b in different] == [
        ["batchSize:", "16"],
        ["threads:", "2"],
        ["engine:", "torch"],
    ]
    for a, b in different:
        assert b.partition("#")[2] == a.partition("#")[2] != ""
        assert b.index("#") == a.index("#")
    expected = yaml.safe_load(text)
    expected["batchSize"] = 16
    expected["handler"] |= {"threads": 2, "engine": "torch"}
    assert yaml.safe_load(new) == expected


def test_a_longer_value_keeps_a_space_before_its_comment() -> None:
    assert (
        apply_changes("batchSize: 8 # many\n", {"batchSize": 1024}, "it") == "batchSize: 1024 # many\n"
    )
    assert apply_changes("batchSize: 8\n", {"batchSize": 16}, "it") == "batchSize: 16\n"


@pytest.mark.parametrize(
    "text",
    [
        "minWorkers: 2\n",
        "{minWorkers: 2, batchSize: 8}\n",
        "other:\n  batchSize: 8\n",
        "# batchSize: 8\nminWorkers: 2\n",
        "handler:\n  batchSize: 8\n",
    ],
)
def test_a_setting_without_a_line_of_its_own_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"my\.yaml: batchSize can't be set; give each a line"):
        apply_changes(text, {"batchSize": 16}, "my.yaml")


def test_a_file_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "model-config.yaml"
    path.write_bytes(OURS.read_bytes())
    before = read_settings(path)
    assert (before["minWorkers"], before["handler.threads"], before["handler.engine"]) == (2, 1, "auto")
    write_settings(path, {"minWorkers": 3, "maxWorkers": 3})
    assert read_settings(path) == before | {"minWorkers": 3, "maxWorkers": 3}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"a: [\n", b"\xff\xfe"])
def test_what_is_no_such_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model-config.yaml"
    path.write_bytes(content)
    with pytest.raises(
        InputError,
        match=r"model-config\.yaml' (can't be read|isn't as it was written .it doesn't hold settings)",
    ):
        read_settings(path)
    with pytest.raises(InputError, match="nowhere"):
        read_settings(tmp_path / "nowhere.yaml")
