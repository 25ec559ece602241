"""Archives of a model store that could be deployed, for people."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from cli.next_steps import after_listing
from cli.options import emit
from report.terminal import new_table

if TYPE_CHECKING:
    from serving.server.client import Client


def list_archives(client: "Client", as_json: bool) -> NoReturn:
    """Show what could be deployed; which of it, has to be said."""
    from model.errors import InputError
    from serving.rollout import store
    from serving.rollout.deployment import read_deployment

    deployed = {version.archive for version in read_deployment(client.store).versions.values()}
    table = new_table("archive", "version", "deployed", "made (UTC)")
    rows = []
    for found in store.list_archives(client.store):
        made = datetime.fromtimestamp(found.path.stat().st_mtime, UTC).isoformat(" ", "seconds")[:16]
        rows.append({"archive": found.path.name, "version": found.version, "made": made})
        table.add_row(found.path.name, found.version, "yes" * (found.path.name in deployed), made)
    if not rows:
        empty = f"the model store {str(client.store)!r} holds no archive yet"
        raise InputError("; ".join([empty, *after_listing(client)]))
    emit(rows, as_json, table)
    if {row["archive"] for row in rows} <= deployed:
        raise InputError("; ".join(["all of them are deployed", *after_listing(client)]))
    raise InputError(f"say which archive to deploy, such as `{store.how_to_deploy(client)}`")
