"""An archive with other settings than its own.

TorchServe takes batching and workers from the archive's `model-config.yaml` and nothing else once it is
there. So an archive that should be served differently is unpacked, and the folder registered with that
file changed.
"""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from model.errors import InputError
from model.files import read_json, write_json
from serving.archive.build import Archive
from serving.rollout.deployment import DeployedVersion

SUFFIX = ".as-deployed"
_CONFIG, _MANIFEST = "model-config.yaml", "MAR-INF/MANIFEST.json"


def archive_to_register(archive: Archive, deployed: DeployedVersion, scratch: Path | None) -> str:
    """Name what to register: the archive in the store, or a folder with another configuration.

    Args:
        archive: in the model store.
        deployed: what is asked for.
        scratch: the server's temporary folder; None for a server elsewhere.
    """
    changes = {
        key: value
        for key, value in (
            ("batchSize", deployed.batch_size),
            ("maxBatchDelay", deployed.max_batch_delay_ms),
        )
        if value is not None
    }
    if not changes:
        return archive.path.name
    if scratch is None:
        raise InputError(
            f"version {archive.version}: {', '.join(changes)} can only be changed on the server's own "
            "machine; run `flyobj models apply` there, or set it in handler/model-config.yaml and "
            "package the run under another --version"
        )
    # Not the archive's own name: TorchServe would take the file of that name from its store.
    folder = scratch / f"{archive.path.name}{SUFFIX}"
    unpack_variant(archive, folder, changes)
    return str(folder)


def unpack_variant(
    archive: Archive, folder: Path, changes: Mapping[str, int | str], version: str | None = None
) -> None:
    """Unpack an archive into `folder`, which is replaced, with other settings or also another version.

    Those of the configuration's section `handler` are named `handler.NAME`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(archive.path) as files:
        files.extractall(folder)
    config = yaml.safe_load((folder / _CONFIG).read_text(encoding="utf-8"))
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        (config[section] if section else config)[key] = value
    (folder / _CONFIG).write_text(yaml.safe_dump(config), encoding="utf-8")
    if version:
        manifest = read_json(folder / _MANIFEST)
        manifest["model"]["modelVersion"] = version
        write_json(manifest, folder / _MANIFEST)
