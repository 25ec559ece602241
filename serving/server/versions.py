"""The versions on a server: which ones, how many workers, who is the default, what waits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.names import VARIANT
from serving.server.client import Client


@dataclass(frozen=True)
class Version:
    """A version on the server."""

    version: str
    default: bool
    ready: int  # workers that are READY
    workers: int  # workers that should be
    batch_size: int
    max_batch_delay_ms: int
    archive: str
    waiting: int  # requests in the queue; those that a worker has got aren't counted

    @property
    def is_ready(self) -> bool:
        """Whether every worker is READY."""
        return self.workers > 0 and self.ready >= self.workers


def list_versions(client: Client) -> list[Version]:
    """List the registered versions."""
    default = client.default_version()
    return [
        Version(
            name,
            name == default,
            sum(worker["status"] == "READY" for worker in entry["workers"]),
            int(entry["minWorkers"]),
            int(entry["batchSize"]),
            int(entry["maxBatchDelay"]),
            Path(entry["modelUrl"]).name.removesuffix(VARIANT),
            int((entry.get("jobQueueStatus") or {}).get("pendingRequests", 0)),
        )
        for name, entry in sorted(client.versions().items(), key=_sort_key)
    ]


def find_version(client: Client, version: str) -> Version | None:
    """Look one version up."""
    return next((v for v in list_versions(client) if v.version == version), None)


def _sort_key(item: tuple[str, Any]) -> tuple[list[int], str]:
    """Sort 10.0 after 9.0."""
    return [int(part) for part in item[0].split(".") if part.isdecimal()], item[0]
