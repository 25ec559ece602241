"""An archive with other settings than its own.

TorchServe takes batching and workers from the archive's `model-config.yaml` and nothing else once it is
there. So an archive that should be served differently is unpacked, and the folder registered with that
file changed.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from model.errors import InputError
from model.files import read_json, write_json
from serving.archive.build import Archive
from serving.archive.layout import CONFIG, MANIFEST, unpack
from serving.names import VARIANT
from serving.rollout.deployment import DeployedVersion
from serving.server.lifecycle import Server
from serving.server.remote_server import RemoteServer


def archive_to_register(
    archive: Archive, deployed: DeployedVersion, server: Server | RemoteServer
) -> str:
    """Name what to register: the archive in the store, or a folder configured as `deployed` asks.

    Raises:
        InputError: a remote server can't be given another configuration.
    """
    asked = {"batchSize": deployed.batch_size, "maxBatchDelay": deployed.max_batch_delay_ms}
    changes = {key: value for key, value in asked.items() if value is not None}
    if not changes:
        return archive.path.name
    if isinstance(server, RemoteServer):
        raise InputError(
            f"version {archive.version}: {', '.join(changes)} can only be changed on the server's own "
            "machine; run `flyobj models apply` there, or set it in handler/model-config.yaml and "
            "package the run under another --version"
        )
    # Not the archive's own name: TorchServe would take the file of that name from its store.
    folder = server.scratch_folder / f"{archive.path.name}{VARIANT}"
    unpack_variant(archive, folder, changes)
    return str(folder)


def unpack_variant(
    archive: Archive, folder: Path, changes: Mapping[str, int | str], version: str | None = None
) -> None:
    """Unpack an archive into `folder`, which is replaced, with other settings or also another version.

    Those of the configuration's section `handler` are named `handler.NAME`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    unpack(archive.path, folder)
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        (config[section] if section else config)[key] = value
    (folder / CONFIG).write_text(yaml.safe_dump(config), encoding="utf-8")
    if version:
        manifest = read_json(folder / MANIFEST)
        manifest["model"]["modelVersion"] = version
        write_json(manifest, folder / MANIFEST)
