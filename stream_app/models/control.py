"""What operators' commands decide about deployments, without Kafka and without a registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stream_app.errors import DeploymentRefused
from stream_app.records.deployment import (
    NO_REVISION,
    SETTINGS_REVISION,
    Deployment,
    DeploymentState,
    ModelStatus,
    Route,
    RouteMode,
    Split,
)

_ALL = 100.0  # the weight of a route that names none
_SIGNS = 3  # signs of life a worker may miss before it counts as gone


def parse_route(text: str, mode: RouteMode = RouteMode.LIVE) -> Route:
    """The route of VERSION=WEIGHT, or of VERSION alone. Raises DeploymentRefused where the weight is no number."""
    version, given, weight = text.partition("=")
    try:
        return Route(version, float(weight) if given else _ALL, mode)
    except ValueError:
        raise DeploymentRefused(
            f"route {text!r}: the weight {weight!r} is no number; give VERSION=WEIGHT, as 7=90 or @challenger=10"
        ) from None


def described(deployment: Deployment) -> str:
    """Model, revision and routes in one line."""
    parts = [" ".join(f"{r.version}={r.weight:g}" for r in deployment.routes if r.mode is RouteMode.LIVE)]
    parts += [f"shadow {r.version}={r.weight:g}" for r in deployment.routes if r.mode is RouteMode.SHADOW]
    if deployment.split is Split.KEY:
        parts.append("split by key")
    return f"{deployment.model_name} revision {deployment.revision}: {', '.join(parts)}"


def settings_deployment(model_name: str, model_ref: str) -> Deployment:
    """What runs as long as nothing was deployed: the settings' own model, alone."""
    return Deployment(model_name, SETTINGS_REVISION, (Route(model_ref, _ALL),))


def to_return_to(history: Sequence[Deployment], first: Deployment, revision: int | None = None) -> Deployment:
    """The newest earlier deployment that differs from the newest in routes or split; or the one of ``revision``.

    ``first`` is what ran before revision 1. Raises DeploymentRefused where there is none.
    """
    # Where compaction has taken revision 1, what came before the oldest that is left is not known.
    known = [first, *history] if not history or history[0].revision == 1 else list(history)
    newest = known[-1]
    for earlier in reversed(known):
        if revision == earlier.revision:
            return earlier
        if revision is None and (earlier.routes, earlier.split) != (newest.routes, newest.split):
            return earlier
    kept = ", ".join(str(deployment.revision) for deployment in known)
    wanted = "earlier deployment that differs from the newest" if revision is None else f"revision {revision}"
    raise DeploymentRefused(f"model {newest.model_name!r} has no {wanted} (revisions kept: {kept}): use deploy instead")


def silence_us(status_every_s: float) -> int:
    """The silence after which a worker counts as gone, microseconds."""
    return round(_SIGNS * status_every_s * 1e6)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the workers made of one deployment."""

    applied: list[ModelStatus]
    refused: list[ModelStatus]
    missing: list[ModelStatus]


def answers_to(deployment: Deployment, statuses: Iterable[ModelStatus], now_us: int, gone_us: int) -> Answers:
    """Of each worker that is alive, and of each that fell silent only after the deployment was issued.

    A worker that runs a later revision has applied this one, too, or need not any more.
    """
    found = Answers([], [], [])
    for status in statuses:
        if now_us - status.at_us > gone_us and status.at_us < deployment.issued_at_us:
            continue
        if status.running_revision >= deployment.revision:
            found.applied.append(status)
        elif status.revision >= deployment.revision and status.state is DeploymentState.REFUSED:
            found.refused.append(status)
        else:
            found.missing.append(status)
    return found


def agreement(alive: Sequence[ModelStatus], newest: int) -> tuple[bool, str]:
    """Whether all workers run the deployment ``newest`` with the same versions of the same files; and in words."""
    if not alive:
        return False, "No worker gives a sign of life."
    revisions = sorted({status.running_revision for status in alive})
    who = "The worker runs" if len(alive) == 1 else f"All {len(alive)} workers run"
    if len(revisions) > 1:
        listed = ", ".join("none" if revision == NO_REVISION else str(revision) for revision in revisions)
        return (
            False,
            f"The {len(alive)} workers do not agree: they run revisions {listed}; {_called(newest)} is newest.",
        )
    if revisions[0] == NO_REVISION:
        return False, f"{who} no version yet; {_called(newest)} is newest."
    if len({frozenset((v.version, v.digest) for v in status.versions) for status in alive}) > 1:
        return False, f"The {len(alive)} workers do not agree: revision {revisions[0]} has other versions at some."
    if revisions[0] != newest:
        return False, f"{who} {_called(revisions[0])}, but {_called(newest)} is newest."
    return True, f"{who} {_called(newest)}, the newest deployment."


def _called(revision: int) -> str:
    return "the settings' own model" if revision == SETTINGS_REVISION else f"revision {revision}"


def aliases_of(deployment: Deployment) -> list[str]:
    """The aliases that a deployment's routes name."""
    return sorted({route.version for route in deployment.routes if route.version.startswith("@")})


def moves(
    deployment: Deployment, resolved: Mapping[str, str], statuses: Iterable[ModelStatus], last: Mapping[str, str]
) -> list[str]:
    """In words, each alias that now names another version than workers run or than it named at the last look."""
    running = [version for status in statuses if _runs(status, deployment) for version in status.versions]
    found = []
    for alias, now in resolved.items():
        before = {version.version for version in running if version.ref == alias}
        if alias in last:
            before.add(last[alias])
        if before - {now}:
            found.append(f"{alias} moved from version {' and '.join(sorted(before - {now}))} to {now}")
    return found


def _runs(status: ModelStatus, deployment: Deployment) -> bool:
    return status.running_revision == deployment.revision
