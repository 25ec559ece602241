"""Archives: what is in one, and which ones are refused."""

import copy
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.bundle import ARCHITECTURES, Bundle, read_bundle, write_bundle
from model.engines import ENGINES
from model.errors import FlyobjError, InputError
from model.golden import TOLERANCE
from model.network import Network
from model.openvino_engine import write_graph
from serving.archive import layout
from serving.archive.build import build_archive, read_archive, sha256
from serving.archive.isolated import check_archive
from serving.archive.layout import unpack
from training.calibrate import answer_golden

pytestmark = pytest.mark.slow

Repack = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[3]


def test_what_an_archive_holds(archive_path: Path, run: Path) -> None:
    assert archive_path.name == "flying_objects-1.0.mar"
    with zipfile.ZipFile(archive_path) as files:
        names = set(files.namelist())
        model = json.loads(files.read("MAR-INF/MANIFEST.json"))["model"]
        assert (model["modelName"], model["modelVersion"]) == ("flying_objects", "1.0")
        assert model["handler"] == "flyobj_handler.py"
        assert model["configFile"] == "model-config.yaml"
        for path in (p for p in (run / "bundle").rglob("*") if p.is_file()):
            name = f"bundle/{path.relative_to(run / 'bundle').as_posix()}"
            assert files.read(name) == path.read_bytes(), name
        for package in ("model", "handler"):
            for path in (ROOT / package).glob("*.py"):
                assert files.read(f"{package}/{path.name}") == path.read_bytes()
        config = (ROOT / "handler" / "model-config.yaml").read_bytes()
        assert files.read("model-config.yaml") == config
        classes = read_bundle(run / "bundle").spec.classes
        index = {str(i): name for i, name in enumerate(classes)}
        assert json.loads(files.read("index_to_name.json")) == index
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc")]
    tops = {n.split("/")[0] for n in names}
    assert tops == {
        "MAR-INF",
        "bundle",
        "engines",
        "model",
        "handler",
        "flyobj_handler.py",
        "index_to_name.json",
        "model-config.yaml",
    }


def test_read_archive(archive_path: Path, run: Path) -> None:
    archive = read_archive(archive_path)
    assert (archive.model, archive.version) == ("flying_objects", "1.0")
    assert archive.golden == read_bundle(run / "bundle").golden
    assert archive.sha256 == sha256(archive_path)


def test_an_existing_version_is_refused_and_kept(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "flying_objects-1.0.mar"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already; give another --version or remove it"):
        build_archive(run, "1.0", tmp_path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("version", ["", "v1", "1.", "1.0-rc1", "../1.0", "1.0\n", "\uff11", "1 0"])
def test_what_is_no_version_is_refused(run: Path, tmp_path: Path, version: str) -> None:
    with pytest.raises(InputError, match="must be numbers and dots"):
        build_archive(run, version, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run' doesn't exist; give a run folder"):
        build_archive(tmp_path / "run", "1.0", tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_on_the_way_leaves_nothing_in_the_store(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise FlyobjError("refused")

    monkeypatch.setattr("serving.archive.isolated.check_archive", refuse)
    with pytest.raises(FlyobjError, match="refused"):
        build_archive(run, "1.0", tmp_path, "torch")
    assert list(tmp_path.iterdir()) == []


def edit_mean(run: Path) -> None:
    path = run / "bundle" / "model.json"
    document = json.loads(path.read_text())
    document["preprocessing"]["mean"] = [0.9, 0.1, 0.4]
    path.write_text(json.dumps(document))


def test_a_bundle_that_was_changed_by_hand_is_refused(run_copy: Path, tmp_path: Path) -> None:
    edit_mean(run_copy)
    store = tmp_path / "store"
    with pytest.raises(FlyobjError, match=r"differently from training.*differ by up to") as e:
        build_archive(run_copy, "1.0", store, "torch")
    assert "4 of 4 golden photos" in str(e.value)
    assert list(store.iterdir()) == []


def test_an_engine_with_another_network_is_not_packaged(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_another(bundle: Bundle, path: Path) -> None:
        network = copy.deepcopy(bundle.network)
        with torch.no_grad():
            for parameter in network.head.parameters():
                parameter.neg_()
        write_graph(replace(bundle, source=network), path)

    monkeypatch.setattr("model.openvino_engine.write_graph", write_another)
    store = tmp_path / "store"
    reason = r"doesn't run by itself: model\.errors\.FlyobjError: the model answers 4 of 4 golden photos"
    with pytest.raises(FlyobjError, match=reason):
        build_archive(run, "1.0", store, "openvino")
    assert list(store.iterdir()) == []


@pytest.mark.parametrize(("engine", "description"), [("torch", "PyTorch"), ("openvino", "OpenVINO")])
def test_answers_of_each_engine_are_held_against_training(
    run: Path, archive_path: Path, repack: Repack, tmp_path: Path, engine: str, description: str
) -> None:
    """A handler that answers right while it is loaded, and swaps classes of one engine from then on."""

    def swap(text: str) -> str:
        return text.replace(
            "photo.succeed(prediction,",
            f"step = -1 if {description!r} in self._predictor.engine.description else 1; "
            "photo.succeed(prediction._replace(row=prediction.row[::step]),",
        )

    path = repack(tmp_path / "a.mar", {"flyobj_handler.py": swap}, archive_path)
    golden = read_bundle(run / "bundle").golden
    with pytest.raises(FlyobjError, match=f"^with {engine} the archive answers 4 of 4 golden photos"):
        check_archive(path, golden, ENGINES)


def test_an_archive_that_resizes_otherwise_is_refused(run: Path, repack: Repack, tmp_path: Path) -> None:
    def nearest(text: str) -> str:
        return text.replace("INTER_LINEAR", "INTER_NEAREST")

    path = repack(tmp_path / "a.mar", {"model/preprocessing.py": nearest})
    with pytest.raises(FlyobjError, match="differently from training"):
        check_archive(path, read_bundle(run / "bundle").golden)


def test_a_module_missing_in_the_archive_is_not_taken_from_the_checkout(
    run: Path, repack: Repack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.syspath_prepend(ROOT)
    path = repack(tmp_path / "a.mar", {"model/image.py": None})
    with pytest.raises(FlyobjError, match=r"doesn't run by itself: .*model\.image"):
        check_archive(path, read_bundle(run / "bundle").golden)


def test_packages_may_lie_in_another_site_directory(
    run: Path, repack: Repack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of the system do under a virtual environment that sees them."""
    site = tmp_path / "site"
    (site / "only_there-1.0.dist-info").mkdir(parents=True)
    (site / "only_there.py").touch()
    path = repack(tmp_path / "a.mar", {"model/image.py": lambda text: f"import only_there\n{text}"})
    golden = read_bundle(run / "bundle").golden
    monkeypatch.syspath_prepend(site)
    (site / "pyproject.toml").touch()  # a checkout, which a server doesn't have
    with pytest.raises(FlyobjError, match=r"doesn't run by itself: .*only_there"):
        check_archive(path, golden)
    (site / "pyproject.toml").unlink()
    check_archive(path, golden)


def test_an_archive_with_fewer_golden_photos_is_refused(
    run: Path, repack: Repack, tmp_path: Path
) -> None:
    def without_last(text: str) -> str:
        return json.dumps(json.loads(text)[:-1])

    path = repack(tmp_path / "a.mar", {"bundle/golden/golden.json": without_last})
    with pytest.raises(FlyobjError, match="has 3 golden photos, training made 4"):
        check_archive(path, read_bundle(run / "bundle").golden)


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.mar': no such file; `flyobj archive` makes one"):
        read_archive(tmp_path / "a.mar")


def as_text(path: Path) -> None:
    path.write_text("no archive")


def as_empty(path: Path) -> None:
    path.write_bytes(b"")


def as_other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("README", "hello")


def as_list(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("MAR-INF/MANIFEST.json", "[]")


def without_name(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelVersion": "1.0"}}')


@pytest.mark.parametrize("make", [as_text, as_empty, as_other_zip, as_list, without_name])
def test_what_is_no_archive_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "a.mar"
    make(path)
    with pytest.raises(InputError, match=r"a\.mar'"):
        read_archive(path)


def cut(content: bytearray) -> None:
    del content[len(content) // 2 :]


def scribble(content: bytearray) -> None:
    """Over the compressed golden photos, found by the header of the first one."""
    start = content.index(b"bundle/golden/")
    content[start + 40 : start + 1000] = b"\xff" * 960


@pytest.mark.parametrize("damage", [cut, scribble])
def test_a_damaged_archive_is_refused(
    archive_path: Path, tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    content = bytearray(archive_path.read_bytes())
    damage(content)
    path = tmp_path / "a.mar"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mar' isn't a valid archive"):
        read_archive(path)


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "bundle/../../outside.txt"])
def test_nothing_is_unpacked_outside_the_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.mar"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr(name, "x")
    with pytest.raises(InputError, match=r"a valid archive \(.*outside its folder"):
        unpack(path, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_too_large_to_be_ours_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_FILES", 2)
    monkeypatch.setattr(layout, "MAX_BYTES", 5000)
    for number, contents in enumerate([[b"", b"", b""], [bytes(5001)]]):
        path = tmp_path / f"{number}.mar"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as files:
            for name, content in enumerate(contents):
                files.writestr(str(name), content)
        with pytest.raises(InputError, match=r"files of \d+ bytes; 2 of 5000 are allowed"):
            unpack(path, tmp_path / "folder")


def test_a_linear_head_answers_as_in_training_with_each_engine(run_copy: Path, tmp_path: Path) -> None:
    before = read_bundle(run_copy / "bundle")
    torch.manual_seed(0)
    network = Network(len(before.spec.classes), "linear").eval()
    network.features = before.network.features
    bundle = replace(
        before, spec=replace(before.spec, architecture=ARCHITECTURES["linear"]), source=network
    )
    answered = answer_golden(bundle)
    for own, theirs in zip(answered.golden, before.golden, strict=True):
        assert own.probabilities != pytest.approx(theirs.probabilities, abs=10 * TOLERANCE)
    write_bundle(answered, run_copy / "bundle", replace=True)
    build_archive(run_copy, "2.0", tmp_path, "openvino")  # which compares both
