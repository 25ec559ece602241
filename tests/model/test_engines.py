"""Engines answer alike, and the rule which one runs."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundle import Bundle, read_bundle
from model.engines import ENGINES, FOLDER, VARIABLE, TorchEngine, choose_engine, write_engines
from model.errors import FlyobjError, InputError
from model.network import Network
from model.openvino_engine import OpenVinoEngine
from model.predictor import Predictor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(run: Path) -> Bundle:
    return read_bundle(run / "bundle")


@pytest.fixture(scope="module")
def engines(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what OpenVINO needs."""
    folder = tmp_path_factory.mktemp("archive") / FOLDER
    assert write_engines(bundle, folder, "auto") == ENGINES
    return folder


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_openvino_answers_as_the_reference_does(
    bundle: Bundle, engines: Path, photos: list[bytes], n: int
) -> None:
    reference, other = Predictor(bundle), Predictor(bundle, OpenVinoEngine(engines / "openvino.xml"))
    prepared = [reference.prepare(photo) for photo in photos[:n]]
    expected, answers = reference.predict(prepared), other.predict(prepared)
    assert (answers.shape, answers.dtype) == (expected.shape, np.float32)
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-5)
    assert [other.name(row) for row in answers] == [reference.name(row) for row in expected]


def test_a_linear_head_goes_through_openvino_too(
    bundle: Bundle, photos: list[bytes], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    spec = replace(bundle.spec, architecture="mobilenet_v2-linear")
    linear = replace(bundle, spec=spec, source=Network(len(spec.classes), "linear").eval())
    folder = tmp_path / FOLDER
    assert write_engines(linear, folder, "auto") == ENGINES
    reference, other = Predictor(linear), Predictor(linear, OpenVinoEngine(folder / "openvino.xml"))
    prepared = [reference.prepare(photo) for photo in photos[:3]]
    expected = reference.predict(prepared)
    np.testing.assert_allclose(other.predict(prepared), expected, rtol=0, atol=1e-5)


def test_an_answer_stays_when_the_next_is_computed(
    bundle: Bundle, engines: Path, photos: list[bytes]
) -> None:
    predictor = Predictor(bundle, OpenVinoEngine(engines / "openvino.xml"))
    one, other = (predictor.prepare(photo) for photo in photos[:2])
    scores = predictor.engine(np.stack([one]))
    before = scores.copy()
    predictor.engine(np.stack([other]))
    assert np.array_equal(scores, before)


def test_openvino_explains_with_the_reference(
    bundle: Bundle, engines: Path, photos: list[bytes]
) -> None:
    reference, other = Predictor(bundle), Predictor(bundle, OpenVinoEngine(engines / "openvino.xml"))
    prepared = [reference.prepare(photos[0])]
    np.testing.assert_array_equal(other.explain(prepared), reference.explain(prepared))


@pytest.mark.parametrize(
    ("wanted", "graph", "expected"),
    [
        (None, True, "OpenVINO"),
        (None, False, "PyTorch"),
        ("auto", True, "OpenVINO"),
        ("torch", True, "PyTorch"),
        ("openvino", True, "OpenVINO"),
    ],
)
def test_the_rule(
    bundle: Bundle,
    engines: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str | None,
    graph: bool,
    expected: str,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if wanted:
        monkeypatch.setenv(VARIABLE, wanted)
    engine = choose_engine(bundle, engines if graph else tmp_path)
    assert engine.description.startswith(expected)


def test_an_engine_that_cannot_run_is_an_error_where_it_was_asked_for(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "openvino")
    with pytest.raises(FlyobjError, match=r"no graph for OpenVINO.*--engine openvino"):
        choose_engine(bundle, tmp_path)
    monkeypatch.setenv(VARIABLE, "tpu")
    with pytest.raises(InputError, match="FLYOBJ_ENGINE is 'tpu'; allowed are auto, torch, openvino"):
        choose_engine(bundle, tmp_path)


def test_the_setting_counts_unless_the_variable_does(
    bundle: Bundle, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert isinstance(choose_engine(bundle, engines, setting="torch"), TorchEngine)
    with pytest.raises(FlyobjError, match=r"model-config\.yaml.* asks for OpenVINO"):
        choose_engine(bundle, tmp_path, setting="openvino")
    monkeypatch.setenv(VARIABLE, "openvino")
    assert choose_engine(bundle, engines, setting="torch").description.startswith("OpenVINO")


@pytest.mark.parametrize("installed", [True, False])
def test_pytorch_steps_in_and_says_so(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    installed: bool,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "openvino.xml").write_text("<net>")  # which OpenVINO can't read
    if not installed:
        monkeypatch.setitem(sys.modules, "model.openvino_engine", None)
    with caplog.at_level(logging.WARNING):
        assert isinstance(choose_engine(bundle, tmp_path), TorchEngine)
    assert "PyTorch answers, as OpenVINO can't run here" in caplog.text


def test_what_is_packaged(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_engines(bundle, tmp_path / "torch", "torch") == ("torch",)
    assert not (tmp_path / "torch").exists()
    with pytest.raises(InputError, match="engine 'onnx' is unknown; allowed are auto, torch, openvino"):
        write_engines(bundle, tmp_path / "onnx", "onnx")
    monkeypatch.setitem(sys.modules, "model.openvino_engine", None)
    with pytest.raises(InputError, match=r"can't be packaged .*or --engine torch"):
        write_engines(bundle, tmp_path / "openvino", "openvino")


def test_a_worker_imports_what_it_needs(run: Path, engines: Path) -> None:
    """In a process of its own: nothing of training, no torchvision, nothing that reports to others."""
    code = f"""
import sys
from pathlib import Path
import handler.flyobj_handler
from model.bundle import read_bundle
from model.engines import choose_engine
from model.predictor import Predictor
engine = choose_engine(read_bundle(Path({str(run / "bundle")!r})), Path({str(engines)!r}))
Predictor(read_bundle(Path({str(run / "bundle")!r})), engine).warm_up(2)
assert engine.description.startswith("OpenVINO")
print([m for m in ("torchvision", "lightning", "albumentations", "matplotlib", "sklearn", "scipy",
       "pandas", "openvino_telemetry") if sys.modules.get(m)])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
