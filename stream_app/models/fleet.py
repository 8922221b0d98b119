"""The loaded versions of one deployment, and which of them answers which capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from stream_app.breaker import CircuitBreaker
from stream_app.models.base import LocatingModel
from stream_app.models.registry import VersionDetails
from stream_app.records.deployment import (
    SETTINGS_REVISION,
    Deployment,
    Route,
    RouteMode,
    RunningVersion,
    Split,
)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedVersion:
    """A route with its model loaded; the breaker opens where the model fails again and again."""

    route: Route
    model: LocatingModel
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    details: VersionDetails | None = None  # None: the registry did not say

    def running(self) -> RunningVersion:
        """The version as model.status shows it."""
        route, model = self.route, self.model
        suspended = self.breaker.resting
        return RunningVersion(route.version, model.version, model.info.digest, route.weight, route.mode, suspended)


class Fleet:
    """Draws among the versions of a deployment. The draw is a hash: a replay gives every capture the same version."""

    def __init__(self, deployment: Deployment, versions: Sequence[LoadedVersion]) -> None:
        """``versions``: one for each route, in order."""
        self.deployment = deployment
        self.live = tuple(v for v in versions if v.route.mode is RouteMode.LIVE)
        self.shadows = tuple(v for v in versions if v.route.mode is RouteMode.SHADOW)
        total, reached = deployment.live_weight, 0.0
        self._shares = [v.route.weight / total for v in self.shadows]
        self._limits: list[float] = []
        for version in self.live:
            reached += version.route.weight / total
            self._limits.append(reached)
        # Rounding must not leave a gap at the top of the last version that has a weight.
        last = max(n for n, version in enumerate(self.live) if version.route.weight > 0)
        self._limits[last:] = [1.0] * (len(self._limits) - last)

    @classmethod
    def of(cls, model: LocatingModel) -> Fleet:
        """All captures to one model."""
        route = Route(model.version, 1.0)
        return cls(Deployment(model.name, SETTINGS_REVISION, (route,)), [LoadedVersion(route, model)])

    @property
    def versions(self) -> tuple[LoadedVersion, ...]:
        """Live ones first."""
        return self.live + self.shadows

    def order(self, capture_id: str, key: bytes) -> list[LoadedVersion]:
        """The live version that is to answer, then those that stand in for it, in their order."""
        if len(self.live) == 1:
            return list(self.live)
        drawn = self._draw(b"live", capture_id, key)
        first = next(n for n, limit in enumerate(self._limits) if drawn < limit)
        return [*self.live[first:], *self.live[:first]]

    def shadowed_by(self, capture_id: str, key: bytes) -> list[LoadedVersion]:
        """The shadow versions that see a capture, too. One's draw does not depend on the live one's."""
        return [
            version
            for version, share in zip(self.shadows, self._shares, strict=True)
            if self._draw(b"shadow" + version.route.version.encode(), capture_id, key) < share
        ]

    def _draw(self, what: bytes, capture_id: str, key: bytes) -> float:
        """Uniform in [0, 1). Without the revision: a changed weight moves only as many captures as it must."""
        source = key if self.deployment.split is Split.KEY else capture_id.encode()
        name = self.deployment.model_name.encode()
        parts = b"".join(len(part).to_bytes(4, "little") + part for part in (what, name, source))
        return float(int.from_bytes(blake3(b"fixstream/route/1" + parts).digest(length=6), "little") / 2**48)
