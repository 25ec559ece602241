"""What answers a folder of photos, and what it says of those that it can't answer."""

from pathlib import Path

import pytest

from model.errors import InputError
from serving.batch import models
from serving.batch.models import ServedModel, open_run
from serving.batch.photos import PhotoSource
from serving.batch.sorting import Sorter
from serving.rollout.operations import deploy
from tests.helpers.management import MAX_BYTES, Place, write_archive


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "place")
    place.make()
    return place


def test_a_version_that_is_not_there_is_wrong_input(place: Place, tmp_path: Path) -> None:
    with place.client() as client:
        with pytest.raises(InputError, match="nothing is deployed yet; `flyobj models deploy"):
            ServedModel(client, None)
        deploy(client, write_archive(tmp_path, "1.0"))
        assert ServedModel(client, None).classes == ("a", "b")
        with pytest.raises(
            InputError, match=r"version '9\.0' isn't on the server; see `flyobj models li"
        ):
            ServedModel(client, "9.0")


def test_photos_that_are_gone_or_too_large_have_their_reason(place: Place, tmp_path: Path) -> None:
    sources = [
        PhotoSource("gone.jpg", "gone.jpg"),
        PhotoSource("-", "-", content=bytes(MAX_BYTES + 1)),
        PhotoSource("-", "-", content=b"photo"),
    ]
    with place.client() as client:
        deploy(client, write_archive(tmp_path, "1.0"))
        gone, large, good = ServedModel(client, None).classify(sources)
    assert (gone.sha256, gone.error) == ("", "can't be read (No such file or directory)")
    assert large.error == f"the photo has {MAX_BYTES + 1} bytes, {MAX_BYTES} are allowed"
    assert (good.error, good.answer["predicted"]) == ("", "a")


def test_a_bundle_that_lacks_a_file_is_none(run_copy: Path) -> None:
    (run_copy / "bundle" / "weights.safetensors").unlink()
    with (
        pytest.raises(InputError, match=r"has no weights\.safetensors; give a run folder of `flyobj tr"),
        open_run(run_copy / "bundle", 1),
    ):
        pass


def test_a_run_is_converted_for_openvino_if_there_is_much_to_do(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "WORTH_CONVERTING", 3)
    asked: list[Path] = []
    monkeypatch.setattr(models, "write_engines", lambda _, folder, __: asked.append(folder))
    for photos, converted in ((2, 0), (3, 1)):
        with open_run(run / "bundle", photos) as model:
            assert model.description == f"bundle {run / 'bundle'}"
        assert len(asked) == converted


def test_classes_that_cannot_name_folders_are_not_sorted_into(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"classes \['\.\.', 'a/b'\] can't name folders"):
        Sorter(tmp_path / "out", [], ("bird", "..", "a/b"), "m", copy=False)
    assert not (tmp_path / "out").exists()


def test_a_photo_from_a_pipe_is_not_sorted(tmp_path: Path) -> None:
    folder = Sorter(tmp_path / "out", [], ("bird",), "m", copy=False)
    folder.place(PhotoSource("-", "-", content=b"photo"), "bird")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []
