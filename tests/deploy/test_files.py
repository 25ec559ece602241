"""The files that other tools read: Dockerfiles, SAM's template, requirements."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAMBDA = ROOT / "deploy" / "aws_lambda"


def run(tool: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name(tool)), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_template_is_valid() -> None:
    result = run("cfn-lint", LAMBDA / "template.yaml")
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("MemorySize: !Ref", "Memory: !Ref"), "E3002"),
        (("!Ref MemorySize", "!Ref Nothing"), "E1020"),
    ],
)
def test_a_wrong_template_is_not(tmp_path: Path, change: tuple[str, str], rule: str) -> None:
    text = (LAMBDA / "template.yaml").read_text()
    assert change[0] in text
    (tmp_path / "template.yaml").write_text(text.replace(*change))
    result = run("cfn-lint", tmp_path / "template.yaml")
    assert result.returncode != 0
    assert rule in result.stdout


@pytest.mark.parametrize("name", ["aws_lambda/Dockerfile"])
def test_dockerfiles(name: str) -> None:
    result = run("hadolint", ROOT / "deploy" / name)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_dockerfile_copies_what_there_is() -> None:
    text = (LAMBDA / "Dockerfile").read_text()
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M)
        for source in line.split()[:-1]
        if not source.startswith("$")
    ]
    assert "model/" in sources
    for source in sources:
        assert list(ROOT.glob(source.rstrip("/"))), source
    handler = re.search(r'CMD \["([\w.]+)"\]', text)
    assert handler
    module, _, name = handler[1].rpartition(".")
    assert re.search(rf"^def {name}\(", (ROOT / f"{module.replace('.', '/')}.py").read_text(), re.M)


def test_what_the_image_installs_has_a_version() -> None:
    lines = (LAMBDA / "requirements.txt").read_text().splitlines()
    wanted = {line.lower() for line in lines if not line.startswith("#")}
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.M)
    assert wanted
    assert wanted <= {name.lower().replace("_", "-") for name in pins}
