"""What is where in a `.mar`, how one is named, and unpacking one within limits."""

import zipfile
from pathlib import Path, PurePosixPath

from model.errors import InputError
from serving.names import MODEL, VERSION

MANIFEST, CONFIG = "MAR-INF/MANIFEST.json", "model-config.yaml"
BUNDLE, GOLDEN = "bundle", "bundle/golden"
# Ours have some 100 files of 20 MB, with OpenVINO's graph; what is far from that is no archive.
MAX_FILES, MAX_BYTES = 10_000, 2 << 30


def file_name(model: str, version: str) -> str:
    """Name the archive of a version; raises `InputError` if no model or version can be called so."""
    check_model(model)
    check_version(version)
    return f"{model}-{version}.mar"


def check_model(name: str) -> None:
    """Raise `InputError` if no model can be called so."""
    if not (isinstance(name, str) and MODEL.fullmatch(name)):
        raise InputError(
            f"model name {name!r} must be lower-case letters, digits and underscores and begin with a "
            f"letter ({MODEL.pattern}), such as flying_objects"
        )


def check_version(version: str) -> None:
    """Raise `InputError` if no version can be called so."""
    if not VERSION.fullmatch(version):
        raise InputError(f"version {version!r} must be numbers and dots, such as 1.0 or 2.1.3")


def unpack(archive: Path, folder: Path, *wanted: str) -> Path:
    """Unpack an archive into `folder`, which is returned; only the files under `wanted` if given.

    Raises:
        InputError: it is damaged, too large for one of ours, or would write outside `folder`.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            entries = [e for e in files.infolist() if e.filename.startswith(wanted or ("",))]
            size = sum(entry.file_size for entry in entries)  # which zipfile holds each entry to
            if len(entries) > MAX_FILES or size > MAX_BYTES:
                allowed = f"{MAX_FILES} of {MAX_BYTES} are allowed"
                raise ValueError(f"it holds {len(entries)} files of {size} bytes; {allowed}")
            for path in (PurePosixPath(entry.filename) for entry in entries):
                if path.is_absolute() or ".." in path.parts:
                    raise ValueError(f"{str(path)!r} would be written outside its folder")
            files.extractall(folder, entries)
    except Exception as error:  # zipfile raises whatever a damaged file leads it to
        raise not_ours(archive, error) from error
    return folder


def not_ours(archive: Path, error: Exception) -> InputError:
    """Say that a file is no archive of ours."""
    return InputError(f"{str(archive)!r} isn't a valid archive ({error}); `flyobj archive` makes one")
