"""Any sequence of operations, each killed between any two of its steps, ends where it can be mended.

Operations work on a real store and on a management API that answers as TorchServe 0.12 was measured to.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from model.errors import FlyobjError
from serving.archive.build import sha256
from serving.rollout.deployment import Deployment, read_deployment, write_deployment
from serving.rollout.operations import deploy, promote, retire, rollback, scale
from serving.rollout.reconcile import apply, diff
from serving.server.client import Client
from serving.server.versions import list_versions
from tests.helpers.management import WRONG, Place, write_archive

VERSIONS = ("1.0", "2.0", "3.0", WRONG)
DONE, REFUSED, KILLED = "done", "refused", "killed"
Operation = Callable[[Client], object]

version = st.sampled_from(VERSIONS)
# After how many of its steps an operation is killed, if at all: the longest takes some forty.
kill = st.one_of(st.none(), st.integers(0, 40))


class Killed(BaseException):
    """The process is gone: nothing that it does from here on happens."""


def run(place: Place, operation: Operation, steps: int | None) -> str:
    """Run an operation that is killed after so many calls and changes of files; say how it ended."""
    left = 10**9 if steps is None else steps

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            step()
            done = change(*args, **options)
            step()
            return done

        return call

    with ExitStack() as stack:
        for module, name in ((os, "replace"), (os, "unlink"), (shutil, "copyfile")):
            stack.enter_context(patch.object(module, name, counted(getattr(module, name))))
        stack.enter_context(patch.object(os, "fsync"))  # no power is cut here
        try:
            with place.client(step) as client:
                operation(client)
        except FlyobjError:
            return REFUSED
        except Killed:
            return KILLED
    return DONE


class Rollouts(RuleBasedStateMachine):
    """What people do to versions, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.place = Place(Path(self.folder.name) / "place")
        self.place.make()
        self.archives = {name: write_archive(Path(self.folder.name), name) for name in VERSIONS}
        self.was_killed = False

    def teardown(self) -> None:
        self.folder.cleanup()

    def do(self, operation: Operation, steps: int | None) -> None:
        """Do something, perhaps killed; once more, it must end as if it hadn't been."""
        whole = self.copy("whole")
        refused = run(whole, operation, None) == REFUSED
        before = self.deployment()
        status = run(self.place, operation, steps)
        if status == KILLED:
            again = self.copy("again")
            assert run(again, operation, None) in (DONE, REFUSED)
            assert read_deployment(again.store) == read_deployment(whole.store)
            self.was_killed = True
        else:
            assert status == (REFUSED if refused else DONE)
            if refused:
                assert self.deployment() == before

    @rule(name=version, workers=st.sampled_from([None, 1, 3]), steps=kill)
    def deploy(self, name: str, workers: int | None, steps: int | None) -> None:
        self.do(lambda client: deploy(client, self.archives[name], workers, wait_s=0), steps)

    @rule(name=version, steps=kill)
    def promote(self, name: str, steps: int | None) -> None:
        self.do(lambda client: promote(client, name, wait_s=0), steps)

    @rule(steps=kill)
    def rollback(self, steps: int | None) -> None:
        self.do(lambda client: rollback(client, wait_s=0), steps)

    @rule(name=version, steps=kill)
    def retire(self, name: str, steps: int | None) -> None:
        self.do(lambda client: retire(client, name, timeout_s=1, wait_s=0), steps)

    @rule(name=version, workers=st.integers(1, 3), steps=kill)
    def scale(self, name: str, workers: int, steps: int | None) -> None:
        self.do(lambda client: scale(client, name, workers, timeout_s=1, wait_s=0), steps)

    @rule(steps=kill)
    def apply(self, steps: int | None) -> None:
        if run(self.place, lambda client: apply(client, timeout_s=1, wait_s=0), steps) == DONE:
            self.was_killed = False

    @invariant()
    def what_should_be_served_is_whole_and_right(self) -> None:
        deployment = self.deployment()
        assert WRONG not in deployment.versions
        for name, deployed in deployment.versions.items():
            archive = self.place.store / deployed.archive
            assert sha256(archive) == deployed.sha256, name

    @invariant()
    def requests_are_answered_by_a_version_that_is_right(self) -> None:
        """Also while an operation that was killed waits for somebody to finish it."""
        deployment = self.deployment()
        if deployment.default is None:
            return
        with self.place.client() as client:
            answered = client.predict(b"photo")["model_version"]
            served = {v.version for v in list_versions(client) if v.ready}
        assert answered != WRONG
        assert self.was_killed or answered == deployment.default
        assert self.was_killed or served == set(deployment.versions)

    @invariant()
    def apply_completes_it(self) -> None:
        copy = self.copy("applied")
        assert run(copy, lambda client: apply(client, timeout_s=1, wait_s=0), None) == DONE
        with copy.client() as client:
            assert diff(client) == []
            assert {v.version for v in list_versions(client)} == set(self.deployment().versions)
            assert client.default_version() == self.deployment().default

    def deployment(self) -> Deployment:
        return read_deployment(self.place.store)

    def copy(self, name: str) -> Place:
        target = self.place.root.with_name(name)
        shutil.rmtree(target, ignore_errors=True)
        return Place(shutil.copytree(self.place.root, target))


Rollouts.TestCase.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
TestRollouts = pytest.mark.slow(Rollouts.TestCase)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where 1.0, the default, and 2.0 are deployed."""
    place = Place(tmp_path / "place")
    place.make()
    for name in ("1.0", "2.0"):
        archive = write_archive(tmp_path, name)
        assert run(place, partial(deploy, path=archive, wait_s=0), None) == DONE
    return place


def test_the_servers_default_is_removed_last(place: Place) -> None:
    """Where nothing is to be served any more: TorchServe keeps its default while there are others."""
    write_deployment(Deployment(None, {}), place.store)
    assert run(place, partial(apply, timeout_s=1, wait_s=0), None) == DONE
    with place.client() as client:
        assert list_versions(client) == []


def test_after_a_restart_the_default_is_brought_up_first(place: Place) -> None:
    """TorchServe answers whoever names no version by the first that it gets."""
    assert run(place, partial(promote, version="2.0", wait_s=0), None) == DONE
    defaults, ended, steps = set[str | None](), KILLED, 0
    while ended == KILLED:
        place.save({"default": None, "versions": {}})
        ended = run(place, partial(apply, timeout_s=1, wait_s=0), steps)
        defaults.add(place.load()["default"])
        steps += 1
    assert (ended, defaults) == (DONE, {None, "2.0"})
