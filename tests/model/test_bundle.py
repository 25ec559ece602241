"""The bundle on disk: what is written is read again, and what is wrong is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.bundle import Bundle, ModelSpec, read_bundle, write_bundle
from model.calibration import Calibration
from model.errors import InputError
from model.golden import Golden
from model.network import Network
from model.preprocessing import Preprocessing

SPEC = ModelSpec(
    ("bird", "Flügel"),
    Preprocessing(64, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    "f" * 64,
    "1a2b3c",
    "2025-01-31T00:00:00+00:00",
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    golden = Golden("00.jpg", b"\xff\xd8a photo", "bird", {"bird": 0.25, "Flügel": 0.75})
    return Bundle(SPEC, Network(2), (golden,))


@pytest.fixture(scope="module")
def written(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "bundle"
    write_bundle(bundle, path)
    return path


@pytest.fixture
def spoiled(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "bundle")


def test_round_trip(bundle: Bundle, written: Path) -> None:
    read = read_bundle(written)
    assert read.spec == bundle.spec
    assert read.golden == bundle.golden
    assert not read.network.training
    assert read.network.state_dict().keys() == bundle.network.state_dict().keys()
    for name, value in bundle.network.state_dict().items():
        assert torch.equal(read.network.state_dict()[name], value), name


def test_the_head_is_read_back(bundle: Bundle, tmp_path: Path) -> None:
    spec = replace(SPEC, architecture="mobilenet_v2-linear")
    linear = replace(bundle, spec=spec, source=Network(2, "linear"))
    write_bundle(linear, tmp_path / "bundle")
    read = read_bundle(tmp_path / "bundle")
    assert (read.spec.head, SPEC.head) == ("linear", "mlp")
    for one in (read, bundle, linear):  # from the file, and from the network
        layers = [m for m in one.network.head if isinstance(m, torch.nn.Linear)]
        for (weight, bias), layer in zip(one.head, layers, strict=True):
            np.testing.assert_array_equal(weight, layer.weight.detach())
            np.testing.assert_array_equal(bias, layer.bias.detach())
    assert read.network.state_dict().keys() == linear.network.state_dict().keys()
    with pytest.raises(InputError, match="doesn't hold this model's weights"):  # it is not the other's
        _ = replace(read, spec=SPEC).network


def test_nothing_but_the_bundle_is_written(written: Path) -> None:
    files = {p.relative_to(written).as_posix() for p in written.rglob("*") if p.is_file()}
    assert files == {"weights.safetensors", "model.json", "golden/golden.json", "golden/00.jpg"}
    assert [p.name for p in written.parent.iterdir()] == ["bundle"]


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("classes"), r"missing keys \['classes'\], unknown keys \[\]"),
        (lambda d: d.update(colour="red"), r"missing keys \[\], unknown keys \['colour'\]"),
        (lambda d: d.update(format=2), "format 2 of 'mobilenet_v2' is not the one"),
        (lambda d: d.update(architecture="vit"), "format 1 of 'vit' is not the one"),
        (lambda d: d.update(classes=["bird"]), r"classes \['bird'\] must be two or more"),
        (lambda d: d.update(classes=["bird", "bird"]), "must be two or more different names"),
        (lambda d: d.update(classes=["bird", "kite", "bird"]), "must be two or more different names"),
        (lambda d: d.update(classes="birds"), "classes 'birds' isn't of the type tuple"),
        (lambda d: d["preprocessing"].pop("mean"), r"preprocessing: missing keys \['mean'\]"),
        (lambda d: d["preprocessing"].update(crop=1), r"preprocessing: .*unknown keys \['crop'\]"),
        (lambda d: d["preprocessing"].update(size="big"), "isn't of the type Preprocessing"),
        (lambda d: d["preprocessing"].update(mean=None), "isn't of the type Preprocessing"),
        (lambda d: d["preprocessing"].update(size=16), "size 16 must be from 32"),
        (lambda d: d.update(preprocessing=[]), "preprocessing .* isn't of the type Preprocessing"),
        (lambda d: d.update(calibration={"t": 1}), r"calibration: .*unknown keys \['t'\]"),
        (lambda d: d.update(calibration={"temperature": None}), "isn't of the type Calibration"),
        (lambda d: d.update(calibration={"temperature": -1}), "temperature -1 must be"),
        (lambda d: d.update(calibration={"reject_below": 2}), "reject_below 2 must be"),
        (
            lambda d: d.update(calibration={"reject_below": 0.5}, classes=["bird", "unknown"]),
            "needs the name 'unknown', which is a class",
        ),
    ],
)
def test_a_wrong_model_json_is_refused(spoiled: Path, change: Change, message: str) -> None:
    path = spoiled / "model.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        read_bundle(spoiled)


def test_calibration_is_read_back(tmp_path: Path, bundle: Bundle) -> None:
    spec = replace(SPEC, calibration=Calibration(1.5, 0.4))
    write_bundle(replace(bundle, spec=spec), tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle").spec == spec


def test_a_bundle_of_before_there_was_calibration_is_uncalibrated(spoiled: Path) -> None:
    path = spoiled / "model.json"
    document = json.loads(path.read_text())
    assert document.pop("calibration") == {"temperature": 1.0, "reject_below": None, "reject_rate": None}
    path.write_text(json.dumps(document))
    assert read_bundle(spoiled).spec == SPEC


def test_what_is_no_json_is_refused(spoiled: Path) -> None:
    (spoiled / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json' can't be read as JSON"):
        read_bundle(spoiled)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"isn't a bundle .*`flyobj train` makes one"):
        read_bundle(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path: Path) -> None:
    path.write_bytes(b"\xff" * 1000)


@pytest.mark.parametrize("damage", [cut, scribble, Path.unlink])
def test_damaged_weights_are_refused(spoiled: Path, damage: Callable[[Path], None]) -> None:
    damage(spoiled / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors' doesn't hold this model's weights"):
        _ = read_bundle(spoiled).network


def test_weights_of_another_number_of_classes_are_refused(spoiled: Path) -> None:
    path = spoiled / "model.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "classes": ["a", "b", "c"]}))
    with pytest.raises(InputError, match="doesn't hold this model's weights"):
        _ = read_bundle(spoiled).network


def test_a_missing_golden_photo_is_refused(spoiled: Path) -> None:
    (spoiled / "golden" / "00.jpg").unlink()
    with pytest.raises(InputError, match=r"golden photo .*00\.jpg' is missing"):
        read_bundle(spoiled)


@pytest.mark.parametrize(
    ("document", "message"), [("[]", "lists no golden photos"), ("{}", "must hold a JSON list")]
)
def test_a_bundle_without_golden_photos_is_refused(spoiled: Path, document: str, message: str) -> None:
    (spoiled / "golden" / "golden.json").write_text(document)
    with pytest.raises(InputError, match=message):
        read_bundle(spoiled)


def test_an_existing_folder_is_refused_and_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").write_text("mine")
    with pytest.raises(InputError, match="bundle' exists already; give another folder or remove"):
        write_bundle(bundle, tmp_path / "bundle")
    assert [p.name for p in (tmp_path / "bundle").iterdir()] == ["mine"]


@pytest.mark.parametrize("step", ["safetensors.torch.save", "model.bundle.write_json"])
def test_a_crash_half_way_leaves_nothing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(step, crash)
    with pytest.raises(OSError, match="no space left"):
        write_bundle(bundle, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
