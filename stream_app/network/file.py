"""The receiver network's file: YAML in, a checked and frozen Network out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from stream_app.errors import NetworkFileError

# Speed of light over the refractive index of air near the ground (1.000315: ITU-R P.453, N of 315).
SPEED_IN_AIR_M_S = 299_792_458.0 / 1.000315

Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Modulation = Literal["noise", "qpsk", "gmsk", "fsk", "am"]
Datatype = Literal["cu8", "ci8", "ci16_le", "ci32_le", "cf32_le"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Receiver(_Part):
    """One receiver: where it stands (WGS 84 degrees, metres) and how well its own clock is known.

    ``sample_rate_hz``, ``datatype`` and ``samples`` are the simulator's: what this one sends otherwise than the rest.
    """

    receiver_id: str = Field(min_length=1)
    latitude: Latitude
    longitude: Longitude
    altitude_m: Finite = 0.0
    timing_sigma_us: NotNegative | None = None  # of its clock alone; enters captures as start_sigma_ns
    sample_rate_hz: Positive | None = None  # default: the network's
    datatype: Datatype | None = None  # default: the simulation's
    samples: int | None = Field(None, ge=16)  # default: as long as the simulation's, in seconds


class Area(_Part):
    """The area of interest, degrees. West of east: an area over the antimeridian is not supported."""

    south: Latitude
    west: Longitude
    north: Latitude
    east: Longitude

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.south >= self.north:
            raise ValueError(f"south ({self.south}) must be below north ({self.north})")
        if self.west >= self.east:
            raise ValueError(f"west ({self.west}) must be west of east ({self.east})")
        return self


class FeatureOptions(_Part):
    """How channels are correlated. ``band_hz``: the limits of |baseband frequency| that are kept, Hz."""

    band_hz: tuple[NotNegative, Positive] | None = None
    weighting: Literal["none", "phat", "coherence"] = "none"
    oversample: int = Field(4, ge=1, le=64)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.band_hz and self.band_hz[0] >= self.band_hz[1]:
            raise ValueError(f"band_hz must be [low, high] with low below high, not {list(self.band_hz)}")
        return self


class Waypoint(_Part):
    """A point of a moving emitter's way, WGS 84 degrees."""

    latitude: Latitude
    longitude: Longitude


class Emitter(_Part):
    """A simulated emitter. It stands, or goes to and fro: over its waypoints, or along its course for leg_m."""

    name: str = Field(min_length=1)
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    altitude_m: Finite | None = None  # default: the receivers' mean, where the reference models look
    course_deg: Finite = 0.0  # clockwise from true north
    speed_m_s: NotNegative = 0.0
    leg_m: Positive = 5_000.0
    waypoints: tuple[Waypoint, ...] = ()
    center_frequency_hz: Positive | None = None  # default: the network's
    modulation: Modulation = "qpsk"
    bandwidth_hz: Positive
    snr_db: Finite  # in the emitter's bandwidth, at the simulation's reference_distance_m

    @model_validator(mode="after")
    def _placed(self) -> Self:
        start = (self.latitude, self.longitude)
        if self.waypoints:
            if start != (None, None):
                raise ValueError("give either waypoints or latitude and longitude, not both")
            if len(self.waypoints) < 2 or self.speed_m_s == 0:
                raise ValueError("waypoints need at least two points and a speed_m_s above 0")
        elif None in start:
            raise ValueError("give latitude and longitude, or waypoints")
        return self


class Beacon(_Part):
    """An emitter that stands at a known place: its fixes tell whether the ellipses are honest."""

    name: str = Field(min_length=1)
    latitude: Latitude
    longitude: Longitude
    center_frequency_hz: Positive | None = None  # default: the network's; nothing else may send there


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Simulation(_Part):
    """What the simulator adds to the geometry."""

    samples: int = Field(4480, ge=16)  # of each channel
    datatype: Datatype = "ci16_le"
    interval_s: Positive = 0.1  # from one capture to the next
    start_time: Annotated[datetime, AfterValidator(_utc)] = datetime(2025, 1, 1, tzinfo=UTC)
    reference_distance_m: Positive = 10_000.0
    start_sigma_ns: NotNegative = 0.0  # clock error of receivers without a timing_sigma_us of their own
    start_spread_us: NotNegative = 20.0  # channels begin up to this long after the capture's time
    rate_sigma_ppm: Annotated[float, Field(ge=0, le=200)] = 0.0  # true sample rates off the nominal one
    clock_errors_us: dict[str, Finite] = {}  # by receiver_id: stamped so much too late, which no capture states
    missing: Annotated[float, Field(ge=0, lt=1)] = 0.0  # chance that a receiver is not in a capture; two always are


class Network(_Part):
    """Receivers, the area in which emitters are looked for, and how signals travel between them.

    ``timing_sigma_us`` is the 1-sigma of each arrival time from all that receivers do not state themselves,
    mostly propagation.
    """

    name: str = Field(min_length=1)
    receivers: tuple[Receiver, ...] = Field(min_length=1, max_length=32)
    area: Area
    center_frequency_hz: Positive
    sample_rate_hz: Positive
    timing_sigma_us: NotNegative = 0.0
    path_loss_exponent: Annotated[float, Field(ge=1, le=8)] = 2.0
    path: Literal["line_of_sight", "ground_wave"] = "line_of_sight"
    speed_m_s: Annotated[float, Field(gt=1e8, le=299_792_458.0)] = SPEED_IN_AIR_M_S
    features: FeatureOptions = FeatureOptions()
    simulation: Simulation = Simulation()
    emitters: tuple[Emitter, ...] = ()
    beacons: tuple[Beacon, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _once("receiver_id", [r.receiver_id for r in self.receivers])
        _once("emitter name", [e.name for e in self.emitters])
        _once("beacon name", [b.name for b in self.beacons])
        _once("beacons' center_frequency_hz", [f"{self.beacon_frequency_hz(b):.0f}" for b in self.beacons])
        for name in self.simulation.clock_errors_us:
            if self.receiver(name) is None:
                raise ValueError(f"simulation.clock_errors_us names {name!r}, which is none of the receivers")
        band = self.features.band_hz
        if band and band[1] > self.sample_rate_hz / 2:
            raise ValueError(f"features.band_hz ends at {band[1]} Hz, above half of sample_rate_hz")
        for emitter in self.emitters:
            if emitter.bandwidth_hz > 0.9 * self.sample_rate_hz:
                raise ValueError(f"emitter {emitter.name}: bandwidth_hz is above 0.9 of sample_rate_hz")
        return self

    def beacon_frequency_hz(self, beacon: Beacon) -> float:
        """Where the beacon sends, hertz."""
        return beacon.center_frequency_hz or self.center_frequency_hz

    def receiver(self, receiver_id: str) -> Receiver | None:
        """The receiver of that id, None where the network has none."""
        return next((r for r in self.receivers if r.receiver_id == receiver_id), None)


def _once(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is given twice")


def load_network(path: str | Path) -> Network:
    """The network of a YAML file. Raises NetworkFileError, one line that says what is wrong and where."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise NetworkFileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise NetworkFileError(f"{path}: is not UTF-8 text; give a network's YAML file") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        twice = _duplicate(root)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise NetworkFileError(f"{path}: {where}is not YAML: {problem}") from error
    if twice is not None:
        key, line = twice
        raise NetworkFileError(f"{path}: line {line}: {key} is given twice")
    if not isinstance(values, dict):
        raise NetworkFileError(f"{path}: holds no mapping; a network file begins with 'name: ...'")
    try:
        return Network.model_validate(values)
    except ValidationError as error:
        raise NetworkFileError(f"{path}: {_in_words(error, root)}") from None


def load_networks(paths: str) -> list[Network]:
    """The networks of files, comma-separated, as FIXSTREAM_NETWORK_FILE names them. Raises NetworkFileError."""
    networks = [load_network(path.strip()) for path in paths.split(",") if path.strip()]
    names = [network.name for network in networks]
    for name in names:
        if names.count(name) > 1:
            raise NetworkFileError(f"FIXSTREAM_NETWORK_FILE={paths}: two files name their network {name!r}")
    return networks


def _duplicate(node: yaml.Node | None) -> tuple[str, int] | None:
    """The first key that a mapping under node has twice, with its line."""
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    return key.value, key.start_mark.line + 1
                seen.add(key.value)
            below.append(value)
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    return next((found for found in map(_duplicate, below) if found), None)


def _in_words(error: ValidationError, root: yaml.Node | None) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = {"extra_forbidden": "is not a known key", "missing": "is missing"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    more = error.error_count() - 1
    return (
        f"line {_line(root, first['loc'])}: {where}{' ' if first['type'] in _BARE else ': ' if where else ''}"
        f"{message}" + (f" (and {more} more)" if more else "")
    )


_BARE = {"extra_forbidden", "missing"}


def _line(node: Any, location: Sequence[int | str]) -> int:
    """The line of the deepest part of location that the file has."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return int(line)
