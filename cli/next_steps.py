"""What comes after each command, as commands that can be pasted: with the paths and names of this run.

data prepare ─▶ train ─▶ evaluate ─▶ archive ─▶ serve ─▶ models deploy ─▶ predict, page, curl ─▶ promote
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import FlyobjError
from model.text import shell_quote, shorten
from serving.names import DEFAULT_STORE
from serving.server.homes import command, default_home

if TYPE_CHECKING:
    from serving.server.client import Client
    from serving.server.versions import Version
    from training.run import Report


def next_steps(*commands: str) -> list[str]:
    """Lay out the commands that may come next, a line for each."""
    return [f"{'  or' if number else 'next'}: {typed}" for number, typed in enumerate(commands)]


def after_prepare(data: Path) -> list[str]:
    """Train on what was prepared."""
    return next_steps(command("train", data))


def after_suspects(data: Path, table: Path) -> list[str]:
    """Make a data set with what was decided."""
    new = f"{shorten(data)}-decided"
    typed = f"{command('data prepare', data)} --out {shell_quote(new)}"
    return next_steps(f"{typed} --decisions {shell_quote(shorten(table))}")


def after_train(report: "Report") -> list[str]:
    """Evaluate; what else to try if there is more to gain."""
    from model.layout import TEST, read_layout
    from training.evaluation.history import data_of, read_history
    from training.fit.schedule import ENOUGH, best_stage_index

    settings, data = read_history(report.run).settings, data_of(report.run)
    best = report.stages[best_stage_index(report.stages)].val_accuracy
    tested = data is not None and data.is_dir() and TEST in read_layout(data).splits
    first = command("evaluate", report.run) if tested else _package(report.run, DEFAULT_STORE)
    lines = [] if tested else ["there are no test photos to evaluate it with"]
    if data is None or best >= (settings.get("target") or ENOUGH):
        return [*lines, *next_steps(first)]
    lines.append(
        "to get further: look at the mistakes (wrong labels, classes that look alike), add photos where "
        "there are few, or train longer"
    )
    longer = {**settings, "epochs": 2 * settings["epochs"]}
    return [*lines, *next_steps(first, f"{command('train', shorten(data))}{_changed(longer)}")]


def after_quantize(run: Path) -> list[str]:
    """Evaluate it as any other run."""
    return next_steps(command("evaluate", run))


def after_evaluate(run: Path) -> list[str]:
    """Package the run."""
    return next_steps(_package(run, DEFAULT_STORE))


def after_archive(path: Path) -> list[str]:
    """Deploy on the server that reads this store, or start one."""
    from serving.server.lifecycle import find, list_running

    store = path.parent.resolve()
    servers = list_running()
    with suppress(FlyobjError):
        servers += [server for server in [find(default_home())] if server]
    home = next((s.home for s in servers if Path(s.model_store) == store), None)
    deploy = command("models deploy", path, home=home)
    return next_steps(deploy) if home else next_steps(f"{_serve(store)} && {deploy}")


def after_serve(client: "Client") -> list[str]:
    """Deploy an archive of the store, or package a run first; nothing if something is served."""
    from serving.rollout.store import how_to_deploy, list_archives

    if list_archives(client.store):
        return next_steps(how_to_deploy(client))
    return after_listing(client)


def after_listing(client: "Client") -> list[str]:
    """Package the newest run, where the store holds nothing else to deploy; nothing if there is none."""
    runs = sorted(Path("runs").glob("*/bundle/model.json"), key=lambda path: path.stat().st_mtime)
    return next_steps(_package(runs[-1].parents[1], client.store)) if runs else []


def after_deploy(client: "Client", version: "Version") -> list[str]:
    """Ask it for an answer; make it the default if it isn't."""
    from serving.rollout.store import write_example

    if (photo := write_example(client, version.archive)) is None:
        return []
    if not version.default:
        one = client.command("predict", shorten(photo))
        promote = client.command("models promote", version.version)
        return next_steps(f"{one} --version {version.version}", promote)
    url = f"{client.server.inference}{client.path()}"
    token = f'-H "Authorization: Bearer $({client.command("token")})" ' if client.server.key_file else ""
    curl = f"curl {token}-T {shell_quote(shorten(photo))} {url}"
    return next_steps(client.command("predict", shorten(photo)), client.command("page"), curl)


def _package(run: Path, store: Path) -> str:
    from serving.rollout.store import next_version

    typed = f"{command('archive', run)} --version {next_version(store)}"
    return typed if store.resolve() == DEFAULT_STORE.resolve() else f"{typed}{_store(store)}"


def _serve(store: Path) -> str:
    typed = command("serve --detach")
    return typed if store.resolve() == DEFAULT_STORE.resolve() else f"{typed}{_store(store)}"


def _store(store: Path) -> str:
    return f" --model-store {shell_quote(shorten(store))}"


def _changed(settings: Mapping[str, Any]) -> str:
    """Write the settings of a training that aren't the defaults, as options."""
    from training.fit.settings import TrainSettings

    defaults = {field.name: field.default for field in fields(TrainSettings)}
    typed = ""
    for name, value in settings.items():
        if value != defaults.get(name):
            option = f"{'no-' if value is False else ''}{name.replace('_', '-')}"
            typed += f" --{option}" + ("" if isinstance(value, bool) else f" {shell_quote(str(value))}")
    return typed
