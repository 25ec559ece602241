"""Engines answer alike, and the rule which one runs."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
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
    expected, answers = (
        reference.engine(np.stack(prepared), True),
        other.engine(np.stack(prepared), True),
    )
    for wanted, found in zip(expected, answers, strict=True):
        assert wanted is not None
        assert found is not None
        assert (found.shape, found.dtype) == (wanted.shape, np.float32)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
    assert answers.maps is not None
    np.testing.assert_allclose(answers.maps.mean(axis=(2, 3)), answers.features, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.exp(answers.scores), np.exp(expected.scores), rtol=0, atol=1e-5)
    for own, same in zip(*(p.answer(prepared, [True] * n) for p in (reference, other)), strict=True):
        assert own.name == same.name
        np.testing.assert_allclose(own.heatmap, same.heatmap, rtol=0, atol=1e-4)
    assert reference.outputs(prepared).maps is other.outputs(prepared).maps is None


@pytest.mark.slow
def test_signals_are_handled_when_models_have_come_and_gone(engines: Path) -> None:
    """In the order in which they came, as a comparison's models do; Ctrl-C would crash otherwise."""
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from model.openvino_engine import OpenVinoEngine
        first, second = (OpenVinoEngine(Path(sys.argv[1])) for _ in range(2))
        del first
        del second
        signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
        os.kill(os.getpid(), signal.SIGUSR1)
    """
    command = [sys.executable, "-c", code, str(engines / "openvino.xml")]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "handled\n")


@pytest.mark.slow
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
    outputs = predictor.engine(np.stack([one]), maps=True)
    before = [part.copy() for part in outputs if part is not None]
    predictor.engine(np.stack([other]), maps=True)
    assert all(np.array_equal(*pair) for pair in zip(outputs, before, strict=True))


def test_an_older_graph_gives_scores_and_the_reference_explains(
    bundle: Bundle, engines: Path, photos: list[bytes], tmp_path: Path
) -> None:
    """As of an archive from before there were features: one output."""
    graph = ov.Core().read_model(engines / "openvino.xml")
    for result in graph.get_results()[1:]:
        graph.remove_result(result)
    ov.save_model(graph, tmp_path / "old.xml", compress_to_fp16=False)
    predictor = Predictor(bundle, OpenVinoEngine(tmp_path / "old.xml"))
    prepared = [predictor.prepare(photo) for photo in photos[:3]]
    predictor.warm_up(2)
    assert "_reference" not in vars(predictor)  # PyTorch isn't loaded before it is asked for
    outputs = predictor.engine(np.stack(prepared), maps=True)
    assert outputs.features is outputs.maps is None
    found = predictor.answer(prepared, [False, True, False])
    (expected,) = Predictor(bundle).answer(prepared[1:2], [True])
    assert found[0].heatmap is found[2].heatmap is None
    np.testing.assert_array_equal(found[1].heatmap, expected.heatmap)


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


@pytest.mark.slow
def test_a_worker_imports_what_it_needs(run: Path, engines: Path) -> None:
    """In a process of its own, explanations too: no PyTorch, no training, nothing that reports."""
    code = f"""
import sys
import numpy as np
from pathlib import Path
from model.bundle import read_bundle
from model.engines import choose_engine
from model.predictor import Predictor
engine = choose_engine(read_bundle(Path({str(run / "bundle")!r})), Path({str(engines)!r}))
predictor = Predictor(read_bundle(Path({str(run / "bundle")!r})), engine)
predictor.warm_up(2)
assert predictor.answer([np.zeros((64, 64, 3), np.uint8)], [True])[0].heatmap is not None
assert engine.description.startswith("OpenVINO")
assert "torch" not in sys.modules
import handler.flyobj_handler  # TorchServe, which it imports, imports PyTorch
print([m for m in ("torchvision", "lightning_fabric", "albumentations", "matplotlib", "sklearn",
       "scipy", "pandas", "openvino_telemetry") if sys.modules.get(m)])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
