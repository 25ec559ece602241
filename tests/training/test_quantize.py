"""A run in fewer bits: what it holds, that its own graph answers everywhere, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from model import openvino_engine
from model import precision as precision_module
from model.bundle import Bundle, ModelSpec, read_bundle
from model.engines import VARIABLE, choose_engine
from model.errors import FlyobjError, InputError
from model.predictor import Predictor
from serving.archive.build import build_archive
from serving.archive.isolated import open_archive
from training import quantize as module
from training.calibrate import recalibrate
from training.quantize import _reject_rate, quantize

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def few_photos_will_do() -> Iterator[None]:
    """The run has learned from fewer than a real calibration needs; its graph is made once."""
    convert, graphs = openvino_engine.convert, dict[Path | None, ov.Model]()

    def convert_once(bundle: Bundle) -> ov.Model:
        if bundle.source not in graphs:
            graphs[bundle.source] = convert(bundle)
        return graphs[bundle.source]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MIN_PHOTOS", 10)
        patch.setattr(module, "_FLOAT_LAYERS", (3,))
        patch.setattr(openvino_engine, "convert", convert_once)
        yield


@pytest.fixture(scope="module")
def int8(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quantized") / "int8"
    result = quantize(run, out, force=True)
    assert (result.run, result.parent, result.precision) == (str(out), str(run), "int8")
    return out


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let this machine's processor say that it has these instructions."""

    def make(flags: str) -> None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n\n")
        monkeypatch.setattr(precision_module, "_CPU_INFO", tmp_path / "cpuinfo")

    return make


def test_its_own_graph_gives_every_answer(int8: Path, run: Path, photos: list[bytes]) -> None:
    bundle, parent = read_bundle(int8 / "bundle"), read_bundle(run / "bundle")
    assert bundle.spec.precision == "int8"
    predictor, reference = Predictor(bundle), Predictor(parent)
    assert predictor.engine.description.endswith("in int8")
    predictor.check(bundle.golden)
    pixels = [predictor.prepare(photo) for photo in photos[:9]]
    together = predictor.answer(pixels, [True] * len(pixels))
    alone = np.concatenate([predictor.predict([one]) for one in pixels])
    # Whatever else is in the batch; the head is in float32.
    np.testing.assert_allclose([one.row for one in together], alone, rtol=0, atol=1e-6)
    apart = np.abs(alone - reference.predict(pixels)).max()
    assert 1e-4 < apart < 0.2
    for own, theirs in zip(together, reference.answer(pixels, [True] * len(pixels)), strict=True):
        assert own.heatmap is not None
        assert theirs.heatmap is not None
        assert own.heatmap.shape == theirs.heatmap.shape
        assert own.name != theirs.name or np.abs(own.heatmap - theirs.heatmap).mean() < 0.25
    with pytest.raises(InputError, match="use the float32 run"):
        _ = bundle.network


def test_products_of_the_weights_fit_into_16_bits_where_a_processor_adds_them_in_those(
    int8: Path,
) -> None:
    graph = ov.Core().read_model(int8 / "bundle" / "graph.xml")
    constants = [op for op in graph.get_ordered_ops() if op.get_type_name() == "Constant"]
    weights = [op.get_data() for op in constants if op.get_output_element_type(0) == ov.Type.i8]
    assert len(weights) == 52 - 3  # convolutions; the head stays too
    summed = [weight for weight in weights if weight.ndim != 5]  # others are depthwise: nine products
    assert len(summed) > 25
    assert (
        max(int(np.abs(weight.astype(int)).max()) for weight in summed) == 64
    )  # 2 x 255 x 64 < 2 ** 15


def test_an_older_processor_gives_the_same_answers(int8: Path) -> None:
    code = (
        "from pathlib import Path; from model.bundle import read_bundle; from model.predictor import "
        f"Predictor; b = read_bundle(Path({str(int8 / 'bundle')!r})); Predictor(b).check(b.golden)"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}  # hides VNNI and AVX-512 from OpenVINO
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


def test_the_run_says_what_it_is(int8: Path, run: Path) -> None:
    document, parent = (json.loads((path / "run.json").read_text()) for path in (int8, run))
    assert document["precision"] == "int8"
    assert document["train_files"] == parent["train_files"]
    told = document["quantized"]
    assert (told["parent"], told["accepted"]) == (str(run), False)  # so few photos can't tell
    assert 0 < told["kept"]["divergence"] < 0.5
    assert (int8 / document["data_from_run"]).resolve() == Path(document["data"]).resolve()


def test_an_archive_answers_with_it(int8: Path, tmp_path: Path, photos: list[bytes]) -> None:
    with pytest.raises(InputError, match="leave out --engine torch"):
        build_archive(int8, "1.0", tmp_path, "torch")
    archive = build_archive(int8, "1.0", tmp_path)
    predictor = Predictor(read_bundle(int8 / "bundle"))
    with open_archive(archive) as packaged:
        (answer,) = packaged.answer(photos[:1])
    row = predictor.predict([predictor.prepare(photos[0])])[0]
    assert list(answer["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-6)


def test_a_new_calibration_keeps_the_graph(int8: Path, tmp_path: Path) -> None:
    run = shutil.copytree(int8, tmp_path / "run")
    recalibrate(run, None, 0.1)
    before, after = read_bundle(int8 / "bundle"), read_bundle(run / "bundle")
    assert after.spec.calibration.reject_rate == 0.1
    assert after.novelty is not None
    assert before.graph
    assert after.graph
    assert before.graph.read_bytes() == after.graph.read_bytes()
    Predictor(after).check(after.golden)


def test_what_isnt_shown_to_be_as_good_is_not_written(
    run: Path, tmp_path: Path, processor: Callable[[str], None]
) -> None:
    processor("avx512_bf16")
    out = tmp_path / "bf16"
    with pytest.raises(FlyobjError, match=r"can't tell whether the model in bf16 is .*nothing is writ"):
        quantize(run, out, "bf16")
    assert not out.exists()
    assert quantize(run, out, "bf16", force=True).kept.how == "all layers"
    bundle = read_bundle(out / "bundle")
    Predictor(bundle).check(bundle.golden)


def test_a_processor_that_only_imitates_bfloat16_is_refused(
    run: Path, int8: Path, tmp_path: Path, processor: Callable[[str], None]
) -> None:
    processor("avx2 avx512f")
    message = "this processor doesn't compute in bf16"
    with pytest.raises(FlyobjError, match=message):
        quantize(run, tmp_path / "bf16", "bf16")
    bundle = read_bundle(int8 / "bundle")
    choose_engine(bundle, tmp_path)
    with pytest.raises(FlyobjError, match=message):  # as a worker would of such an archive
        choose_engine(replace(bundle, spec=replace(bundle.spec, precision="bf16")), tmp_path)


def test_pytorch_is_not_asked_for_it(int8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    with pytest.raises(InputError, match=r"FLYOBJ_ENGINE asks for PyTorch.* it is in int8"):
        choose_engine(read_bundle(int8 / "bundle"), int8)


def test_a_damaged_graph(int8: Path, tmp_path: Path) -> None:
    run = shutil.copytree(int8, tmp_path / "run")
    (run / "bundle" / "graph.xml").write_text("<net")
    bundle: Bundle = read_bundle(run / "bundle")
    with pytest.raises(FlyobjError, match="only OpenVINO computes, and that can't run it here"):
        Predictor(bundle)


def test_what_cant_be_quantised(
    run: Path, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"is in int8 already; quantise '.*' instead"):
        quantize(int8, out)
    with pytest.raises(InputError, match="exists already"):
        quantize(run, int8)
    with pytest.raises(InputError, match="precision 'int4' is none of bf16, int8"):
        quantize(run, out, "int4")
    monkeypatch.setattr(module, "MIN_PHOTOS", 50)
    with pytest.raises(InputError, match="int8 needs at least 50 photos to measure ranges on"):
        quantize(run, out)
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(InputError, match=r"int8 needs 'nncf'.* pip install -e '\.\[quantize\]'"):
        quantize(run, out)
    assert not out.exists()


def test_an_unknown_precision_is_refused(run: Path) -> None:
    document = json.loads((run / "bundle" / "model.json").read_text())
    assert (
        ModelSpec.from_json({k: v for k, v in document.items() if k != "precision"}, "old").precision
        == "f32"
    )
    with pytest.raises(InputError, match="precision 'int4' is none of f32, bf16, int8"):
        ModelSpec.from_json({**document, "precision": "int4"}, "model.json")


def test_the_threshold_of_an_older_run_rejects_as_many_of_its_photos() -> None:
    older = {"reject_below": 0.6, "rejected": 3, "photos": 60, "reject_rate": None}
    assert _reject_rate({"calibration": older}) == 0.05
    assert _reject_rate({"calibration": {**older, "reject_below": None, "reject_rate": 0.1}}) == 0.1
    assert _reject_rate({}) is None
