"""The receiver network's YAML file: who listens where, over which area, and how well it knows the time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stream_app.errors import NetworkFileError
from stream_app.records.capture import MAX_CHANNELS

Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Receiver(_Part):
    """A receiver at a known place (WGS 84 degrees, metres above the ellipsoid)."""

    receiver_id: str = Field(min_length=1)
    latitude: Latitude
    longitude: Longitude
    altitude_m: float = 0.0
    timing_sigma_us: float | None = Field(None, ge=0, description="1-sigma of its clock; None: the network's")


class Area(_Part):
    """Where emitters are looked for, degrees. An area across the antimeridian is not supported."""

    south: Latitude
    west: Longitude
    north: Latitude
    east: Longitude

    @model_validator(mode="after")
    def _ordered(self) -> Area:
        if self.south >= self.north or self.west >= self.east:
            raise ValueError("south must be below north and west below east")
        return self


class FeatureOptions(_Part):
    """How coherences between receivers are made."""

    band_hz: tuple[float, float] | None = Field(None, description="limits of |baseband frequency| that are used")
    weighting: Literal["none", "phat"] = "none"
    oversample: int = Field(4, ge=1, le=16)

    @model_validator(mode="after")
    def _ordered(self) -> FeatureOptions:
        if self.band_hz is not None and not 0 <= self.band_hz[0] < self.band_hz[1]:
            raise ValueError("band_hz must be [low, high] with 0 <= low < high")
        return self


class Emitter(_Part):
    """A transmitter of the simulator; it starts at its place and keeps course and speed."""

    name: str = Field(min_length=1)
    latitude: Latitude
    longitude: Longitude
    bandwidth_hz: float = Field(gt=0)
    modulation: Literal["noise", "qpsk", "am"] = "noise"
    snr_db: float = Field(10.0, description="signal to noise in its band at reference_distance_m")
    reference_distance_m: float = Field(10_000.0, gt=0)
    speed_m_s: float = Field(0.0, ge=0)
    course_deg: float = Field(0.0, ge=0, lt=360)


class Network(_Part):
    """A receiver network. Frequencies in Hz, sigmas in microseconds, speed in m/s."""

    name: str = Field(min_length=1)
    receivers: tuple[Receiver, ...] = Field(min_length=2, max_length=MAX_CHANNELS)
    area: Area
    center_frequency_hz: float = Field(gt=0)
    sample_rate_hz: float = Field(gt=0)
    timing_sigma_us: float = Field(0.1, ge=0, description="1-sigma of clock and propagation a receiver")
    path_loss_exponent: float = Field(2.0, gt=0)
    path: Literal["line_of_sight", "ground_wave"] = "line_of_sight"
    speed_m_s: float = Field(299_792_458.0, gt=0, le=299_792_458.0)
    features: FeatureOptions = FeatureOptions()
    emitters: tuple[Emitter, ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Network:
        names = [receiver.receiver_id for receiver in self.receivers]
        if len(set(names)) < len(names):
            raise ValueError("receiver_id values must differ")
        band = self.features.band_hz
        if band is not None and band[0] >= self.sample_rate_hz / 2:
            raise ValueError("features.band_hz lies above half the sample rate")
        return self

    def receiver(self, receiver_id: str) -> Receiver:
        """The receiver of that name. Raises NetworkFileError where there is none."""
        for receiver in self.receivers:
            if receiver.receiver_id == receiver_id:
                return receiver
        known = ", ".join(r.receiver_id for r in self.receivers)
        raise NetworkFileError(f"receiver {receiver_id!r} is not in network {self.name!r} (it has {known}): add it")


def load_network(path: str | Path) -> Network:
    """Reads and checks a network file. Raises NetworkFileError, one line that names the file and the key."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NetworkFileError(f"cannot read network file {path}: {error}") from error
    except yaml.YAMLError as error:
        raise NetworkFileError(f"network file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise NetworkFileError(f"network file {path} must be a mapping with name, receivers, area, ...")
    try:
        return Network(**found)
    except (ValidationError, TypeError) as error:
        raise NetworkFileError(f"network file {path}: {_in_words(error)}") from error


def _in_words(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'network'}: {e['msg']}" for e in error.errors())
