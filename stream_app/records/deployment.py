"""The desired state of a model, and what each worker made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from stream_app.errors import DeploymentRefused

NO_REVISION = -1
SETTINGS_REVISION = 0  # the settings' own model, as long as no deployment was issued


class RouteMode(StrEnum):
    """Where a version answers."""

    LIVE = "LIVE"
    SHADOW = "SHADOW"


class Split(StrEnum):
    """What the draw among the routes is made by."""

    CAPTURE = "CAPTURE"
    KEY = "KEY"


class DeploymentState(StrEnum):
    """What became of a deployment at a worker."""

    LOADING = "LOADING"
    APPLIED = "APPLIED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Route:
    """A version (number or @alias) and its share, relative to the sum of LIVE weights."""

    version: str
    weight: float
    mode: RouteMode = RouteMode.LIVE


@dataclass(frozen=True, slots=True)
class Deployment:
    """Field meanings are those of ``schemas/deployment``."""

    model_name: str
    revision: int
    routes: tuple[Route, ...]
    split: Split = Split.CAPTURE
    issued_by: str = ""
    issued_at_us: int = 0
    note: str = ""

    def check(self) -> None:
        """Raises DeploymentRefused where names, revision or weights make no sense."""
        what = f"deployment {self.revision} of model {self.model_name!r}"
        if not self.model_name:
            raise DeploymentRefused(f"{what} names no model: set model_name")
        if self.revision < 0:
            raise DeploymentRefused(f"{what}: a revision cannot be negative")
        for route in self.routes:
            number, alias = route.version.isdecimal(), route.version.startswith("@") and len(route.version) > 1
            if not (number or alias):
                raise DeploymentRefused(f"{what}: version {route.version!r} is neither a number nor an @alias")
            if not (math.isfinite(route.weight) and route.weight >= 0):
                raise DeploymentRefused(f"{what}: the weight {route.weight} of version {route.version} makes no sense")
        pairs = [(route.version, route.mode) for route in self.routes]
        for pair in pairs:
            if pairs.count(pair) > 1:
                raise DeploymentRefused(f"{what} has version {pair[0]} twice as {pair[1]}: add the weights up")
        live = self.live_weight
        if not 0 < live < math.inf:
            raise DeploymentRefused(f"{what} has no LIVE route with a weight above 0: nobody would answer")
        for route in self.routes:
            if route.mode is RouteMode.SHADOW and not 0 < route.weight <= live:
                raise DeploymentRefused(
                    f"{what}: SHADOW version {route.version} has the weight {route.weight}; give one above 0 and "
                    f"up to {live}, the sum of the LIVE weights, which is all of the traffic"
                )

    @property
    def live_weight(self) -> float:
        """The sum of the LIVE weights: all of the traffic."""
        return math.fsum(route.weight for route in self.routes if route.mode is RouteMode.LIVE)


@dataclass(frozen=True, slots=True)
class RunningVersion:
    """One loaded version."""

    ref: str
    version: str
    digest: str
    weight: float
    mode: RouteMode
    suspended: bool = False


class BeaconLevel(StrEnum):
    """What the shares of a beacon's fixes amount to."""

    WAITING = "WAITING"
    OK = "OK"
    WATCH = "WATCH"
    ALERT = "ALERT"


@dataclass(frozen=True, slots=True)
class BeaconStatus:
    """The newest fixes of an emitter whose place is known."""

    network: str
    name: str
    fixes: int
    share_68: float
    share_95: float
    bias_east_m: float
    bias_north_m: float
    rms_m: float
    level: BeaconLevel


@dataclass(frozen=True, slots=True)
class ReceiverClock:
    """One receiver's clock against the others of its network."""

    network: str
    receiver_id: str
    offset_ns: float  # above 0: its samples are stamped too late
    sigma_ns: float
    captures: int
    distrusted: bool


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Field meanings are those of ``schemas/model_status``."""

    worker: str
    model_name: str
    revision: int
    state: DeploymentState
    running_revision: int
    versions: tuple[RunningVersion, ...]
    reason: str
    at_us: int
    beacons: tuple[BeaconStatus, ...] = ()
    clocks: tuple[ReceiverClock, ...] = ()
