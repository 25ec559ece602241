"""The section `handler` of model-config.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import handler
from handler.settings import HandlerSettings, read_settings
from model.errors import InputError
from model.limits import PhotoLimits


def test_what_ships_says_the_defaults() -> None:
    config = yaml.safe_load(Path(handler.__file__).with_name("model-config.yaml").read_text())
    assert read_settings(config) == HandlerSettings()


@pytest.mark.parametrize("config", [None, {}, {"handler": None}, {"handler": {"limits": None}}])
def test_nothing_given(config: Any) -> None:
    assert read_settings(config) == HandlerSettings()


def test_given() -> None:
    limits = {"max_bytes": 5, "max_cpu_s": 0.5}
    section = {"threads": 2, "engine": "torch", "metrics": False, "formats": ["PNG"], "limits": limits}
    assert read_settings({"handler": section}) == HandlerSettings(
        2, "torch", metrics=False, limits=PhotoLimits(max_bytes=5, max_cpu_s=0.5, formats=("PNG",))
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"thread": 1}, "no setting 'thread'; it has .*'threads'"),
        ({"limits": {"bytes": 1}}, "no setting 'bytes'"),
        ({"max_photos": 0}, "max_photos 0 must be a whole number from 1"),
        ({"limits": {"max_side": "20k"}}, "max_side '20k' must be a whole number"),
        ({"metrics": 1}, "metrics 1 must be true or false"),
        ({"formats": "JPEG"}, "formats 'JPEG' must be all, or a list of JPEG, PNG, "),
        ({"formats": []}, "formats .* must be all, or a list"),
        ({"formats": ["JPEG", "PCX"]}, "'PCX'.* must be all, or a list"),
        ({"limits": {"max_cpu_s": 0}}, "max_cpu_s 0 must be a number of seconds from 0.1"),
        ({"engine": "tpu"}, "engine 'tpu' must be auto, torch or openvino"),
        ({"threads": True}, "threads True must be a whole number"),
    ],
)
def test_what_is_wrong(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_settings({"handler": section})
