"""Several servers brought to one `deployment.json`, one after another.

Before anything is changed, every server must answer and run our version of TorchServe, and every archive
must be the one that was deployed. Then each in turn: out of the balancer if there is one, changed as
`reconcile` does it, asked for the golden photos of each version, and put back. It stops at the first
that fails: that one stays out of the balancer, later ones are unchanged, and the same command resumes.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from model.errors import FlyobjError, InputError
from report.progress import track
from serving.archive.build import Archive
from serving.fleet.balancer import Balancer
from serving.fleet.inventory import FleetServer
from serving.rollout.deployment import LOCK_WAIT_S, Deployment, lock_deployment, read_deployment
from serving.rollout.history import record
from serving.rollout.operations import DRAIN_S
from serving.rollout.readiness import check_golden
from serving.rollout.reconcile import Change, archives_of, diff, reconcile
from serving.server.client import Client

_LOOK_S = 10.0  # for a server to answer before anything is changed


@dataclass(frozen=True)
class Outcome:
    """What became of a server: the changes that were made, or would have been, and why it failed."""

    server: str
    state: Literal["done", "as it should be", "failed", "not tried"]
    changes: tuple[Change, ...]
    error: str | None = None


class FleetApplyFailed(FlyobjError):
    """A server failed, and those after it weren't tried."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        """Keep what became of each."""
        failed = next(o for o in outcomes if o.state == "failed")
        left = [o.server for o in outcomes if o.state == "not tried"]
        super().__init__(
            f"stopped at {failed.server}: {failed.error}; not tried: {', '.join(left) or 'none'}; "
            "fix it and run the same command again"
        )
        self.outcomes = tuple(outcomes)


def apply_to_fleet(
    members: Sequence[FleetServer],
    store: Path,
    balancer: Balancer | None = None,
    timeout_s: float = DRAIN_S,
    wait_s: float = LOCK_WAIT_S,
) -> list[Outcome]:
    """Bring all servers to what the store's deployment.json says.

    Args:
        members: the servers, in their order.
        store: the model store that all of them serve, or a copy of it.
        balancer: takes a server out of the traffic while it is changed.
        timeout_s: for the last answers of a server.
        wait_s: for another operation to end.

    Raises:
        InputError: nothing was changed: an archive isn't the one that was deployed, or a server runs
            another version of the software.
        FleetApplyFailed: a server failed.
        FlyobjError: nothing was changed: a server doesn't answer.
    """
    deployment = read_deployment(store)
    archives = archives_of(store, deployment, deployment.versions)
    plans = {m.name: _plan(m) for m in track(members, "looking at the servers")}
    with ExitStack() as stack:
        if any(plans.values()):  # otherwise without a lock: the store may be read-only
            stack.enter_context(lock_deployment(store, "apply", wait_s))
            stack.enter_context(record(store, f"apply to {len(members)} servers", None))
        outcomes: list[Outcome] = []
        for number, member in enumerate(track(members, "changing the servers"), 1):
            plan = plans[member.name]
            outcomes.append(_apply_to(member, plan, deployment, archives, balancer, timeout_s))
            if outcomes[-1].error:
                rest = members[number:]
                outcomes += [Outcome(m.name, "not tried", plans[m.name]) for m in rest]
                raise FleetApplyFailed(outcomes)
    return outcomes


def differences(members: Sequence[FleetServer]) -> list[Outcome]:
    """List what `apply_to_fleet` would do; nothing is changed."""
    return [Outcome(m.name, "not tried", _plan(m)) for m in track(members, "looking at the servers")]


def _plan(member: FleetServer) -> tuple[Change, ...]:
    """Ask a server for what is to be done; it must run the software that we know."""
    ours = version("torchserve")
    try:
        with Client(member.server, timeout_s=_LOOK_S) as client:
            if (theirs := client.software()) != ours:
                raise InputError(
                    f"it runs TorchServe {theirs}, this machine has {ours}; install the same on both"
                )
            return tuple(diff(client))
    except FlyobjError as error:
        message = f"{member.name}: {error}; nothing was changed"
        raise (InputError if isinstance(error, InputError) else FlyobjError)(message) from error


def _apply_to(
    member: FleetServer,
    plan: tuple[Change, ...],
    deployment: Deployment,
    archives: Mapping[str, Archive],
    balancer: Balancer | None,
    timeout_s: float,
) -> Outcome:
    out_of_it = balancer.take_out(member.upstream) if balancer and plan else nullcontext()
    try:
        with Client(member.server) as client, out_of_it:
            changes = reconcile(client, timeout_s)
            for archive in archives.values():
                check_golden(client, archive)
            if default := deployment.default:
                photo = archives[default].golden[0].photo
                if (found := client.predict(photo)["model_version"]) != default:
                    raise FlyobjError(f"version {found} answers where {default} is the default")
        if balancer:
            balancer.put_back(member.upstream)  # from a run before, which failed
    except FlyobjError as error:
        out = "; the balancer sends it no requests" if balancer and plan else ""
        return Outcome(member.name, "failed", plan, f"{error}{out}")
    return Outcome(member.name, "done" if changes else "as it should be", tuple(changes))
