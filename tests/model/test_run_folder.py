"""What a folder that isn't a finished run is called."""

from pathlib import Path

import pytest

from model.errors import InputError
from model.run_folder import find_bundle


def test_the_bundle_of_a_run_or_of_itself(tmp_path: Path) -> None:
    bundle = tmp_path / "run" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "model.json").write_text("{}")
    assert find_bundle(tmp_path / "run") == find_bundle(bundle) == bundle
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(InputError, match="its training was interrupted"):
        find_bundle(tmp_path)


@pytest.mark.parametrize(
    ("files", "name", "said"),
    [
        ({"first run/settings.json": "{}"}, "first run", "--resume '{}/first run'`"),
        ({"a/settings.json": "{}", "a/failed.json": '{"error": "no room"}'}, "a", "failed (no room);"),
        (
            {"a/settings.json": "{}", "a/bundle/x": ""},
            "a",
            "has a bundle without model.json; put it back",
        ),
        ({"a/1/bundle/model.json": "{}", "a/x": ""}, "a", "give one of {}/a/1"),
        ({"first/x": ""}, "frist", "did you mean 'first'?"),
        ({"first/x": ""}, "first", "holds no model"),
        ({"first/x": ""}, "first/x", "is a file"),
        ({}, "second", "doesn't exist; give a run folder of `flyobj train`"),
    ],
)
def test_why_there_is_none(tmp_path: Path, files: dict[str, str], name: str, said: str) -> None:
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    with pytest.raises(InputError) as error:
        find_bundle(tmp_path / name)
    assert said.replace("{}", str(tmp_path)) in str(error.value)
