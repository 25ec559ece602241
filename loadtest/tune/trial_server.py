"""A server to try settings on: real TorchServe, in a folder that is gone afterwards.

Each trial is the archive unpacked, with settings of its own in `model-config.yaml` and a version of its
own, as `serving.rollout.archive_variant` does it for a deployment. Several may be up at once and be
asked by turns.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from model.errors import FlyobjError
from serving.archive.build import Archive, read_archive
from serving.archive.layout import CONFIG, MANIFEST, unpack
from serving.archive.model_config import Value, apply_changes
from serving.rollout.readiness import check_golden, wait_ready
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.ports import free_port


class TrialServer:
    """A running server without versions; made by `trial_server`."""

    def __init__(self, server: lifecycle.Server, client: Client, archive: Archive, folder: Path) -> None:
        """Unpack the archive into `folder`."""
        self.client = client
        self.port = server.port
        self._server = server
        self._archive, self._folder, self._count = archive, folder, 0
        unpack(archive.path, folder / "archive")

    @property
    def process(self) -> psutil.Process:
        """The server's own process; its workers descend from it."""
        process = self._server.process()
        if process is None:
            raise FlyobjError("the trial's server has ended by itself")
        return process

    @property
    def has_openvino(self) -> bool:
        """Whether the archive can be run by OpenVINO, too."""
        return (self._folder / "archive" / "engines" / "openvino.xml").is_file()

    def up(self, settings: Mapping[str, Value]) -> str:
        """Serve the model with these settings until `down`; returns the version to ask.

        Raises:
            FlyobjError: it doesn't become ready, or answers otherwise than training did.
        """
        self._count += 1
        version = f"{self._count}.0"
        folder = self._folder / f"trial-{version}"
        shutil.copytree(self._folder / "archive", folder, copy_function=os.link)
        text = (folder / CONFIG).read_text(encoding="utf-8")
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest["model"]["modelVersion"] = version
        _replace(
            folder / CONFIG,
            apply_changes(
                text, settings, f"{CONFIG} in {self._archive.path}, which is to be packaged anew"
            ),
        )
        _replace(folder / MANIFEST, json.dumps(manifest))
        self.client.register(str(folder))
        try:
            wait_ready(self.client, version)
            check_golden(self.client, replace(self._archive, version=version))
        except FlyobjError:
            self.down(version)
            raise
        return version

    def down(self, version: str) -> None:
        """Stop serving a version that nobody asks any more."""
        versions = self.client.versions()
        if version in versions:
            others = [other for other in versions if other != version]
            if others and self.client.default_version() == version:  # which can't be removed
                self.client.set_default(others[0])
            self.client.unregister(version)
        shutil.rmtree(self._folder / f"trial-{version}", ignore_errors=True)


@contextmanager
def trial_server(path: Path) -> Iterator[TrialServer]:
    """Start a server for trials of an archive, and stop it when the block ends, however it does."""
    archive = read_archive(path)
    with tempfile.TemporaryDirectory(prefix="flyobj-trial-") as name:
        folder = Path(name)
        running = lifecycle.start(folder / "home", free_port(), folder / "store")
        try:
            with Client(running) as client:
                client.model = archive.model
                yield TrialServer(running, client, archive, folder)
        finally:
            lifecycle.stop(folder / "home")


def _replace(path: Path, text: str) -> None:
    path.unlink()  # or the archive's own, of which it is a link, would change with it
    path.write_text(text, encoding="utf-8")
