"""Which archive is meant by what is typed."""

from pathlib import Path

import pytest

from model.errors import InputError
from serving.rollout.store import find_archive, list_archives, next_version


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in (
        "flying_objects-2.0.mar",
        "flying_objects-10.0.mar",
        "birds-30.0.mar",
        "odd.mar",
        "a.txt",
    ):
        (tmp_path / "store" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "store" / name).touch()
    return tmp_path / "store"


def test_versions_are_numbers(store: Path) -> None:
    assert [archive.version for archive in list_archives(store)] == ["2.0", "10.0", "30.0"]
    assert (next_version(store), next_version(store, "birds"), next_version(store, "new")) == (
        *("11.0", "31.0", "1.0"),
    )


def test_a_file_of_the_store_is_found_by_its_name(store: Path, tmp_path: Path) -> None:
    assert find_archive("birds-30.0.mar", store) == store / "birds-30.0.mar"
    assert find_archive(str(store / "odd.mar"), tmp_path) == store / "odd.mar"


def test_what_is_none_leads_on(store: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no such file; .*birds-30.0.mar; did you mean 'birds-30.0.mar'"
    ):
        find_archive("birds-3.0.mar", store)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "settings.json").touch()
    with pytest.raises(InputError, match="interrupted"):
        find_archive(str(tmp_path / "run"), store)
    (tmp_path / "run" / "bundle").mkdir()
    (tmp_path / "run" / "bundle" / "model.json").touch()
    with pytest.raises(InputError, match=r"is a run, .*`flyobj archive .*/run --version 11.0`"):
        find_archive(str(tmp_path / "run"), store)
