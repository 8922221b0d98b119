"""Every option once. Environment: FIXSTREAM_<NAME>; a .env file and files in FIXSTREAM_SECRETS_DIR are read too."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stream_app.errors import SettingsError
from stream_app.redact import redacted

_SECRETS_DIR = "FIXSTREAM_SECRETS_DIR"


class Guarantee(StrEnum):
    """What readers of positions and dead letters may rely on, whatever fails in between."""

    EXACTLY_ONCE = "exactly_once"  # of readers that read committed records only
    AT_LEAST_ONCE = "at_least_once"


class Settings(BaseSettings):
    """Options of a worker, with defaults that suit production on one Kafka cluster."""

    model_config = SettingsConfigDict(
        env_prefix="FIXSTREAM_", env_file=".env", extra="ignore", hide_input_in_errors=True
    )

    # Kafka
    bootstrap_servers: str = Field("localhost:9092", description="Kafka brokers, host:port, comma-separated")
    group_id: str = Field("fixstream", description="consumer group of the workers")
    receptions_topic: str = Field("iq.receptions", description="samples of single receivers in")
    captures_topic: str = Field("iq.captures", description="captures in")
    positions_topic: str = Field("positions", description="fixes out")
    tracks_topic: str = Field("tracks", description="fixes of one emitter over time, compacted, key = track")
    dead_letter_topic: str = Field("iq.captures.dlq", description="captures that cannot be answered")
    control_topic: str = Field("model.control", description="deployments of models, compacted, key = model name")
    status_topic: str = Field("model.status", description="what each worker made of them, compacted, key = worker")
    shadow_topic: str = Field("positions.shadow", description="fixes of shadow versions")
    worker_topic: str = Field("fixstream.worker", description="low-rate topic that Faust's own group subscribes to")
    partitions: int = Field(8, ge=1, description="partitions of topics that FixStream creates")
    replication_factor: int = Field(1, ge=1, description="replicas of topics that FixStream creates")
    max_message_bytes: int = Field(16 * 2**20, ge=1024, description="largest record, bytes")
    session_timeout_ms: int = Field(45_000, ge=1000, description="group session timeout, ms")
    max_poll_interval_ms: int = Field(300_000, ge=1000, description="longest pause between polls, ms")
    auto_offset_reset: str = Field("earliest", description="where a new group starts: earliest or latest")

    # Kafka's security
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = Field(
        "PLAINTEXT", description="what the brokers' port speaks; SSL with a certificate is mutual TLS"
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="how SASL proves the password"
    )
    kafka_username: str | None = Field(None, description="SASL user")
    kafka_password: SecretStr | None = Field(None, description="SASL password")
    kafka_ca_file: FilePath | None = Field(None, description="PEM of who signs brokers; default: the system's")
    kafka_cert_file: FilePath | None = Field(None, description="PEM of this client's certificate and its chain")
    kafka_key_file: FilePath | None = Field(None, description="PEM of the certificate's key")
    kafka_key_password: SecretStr | None = Field(None, description="password of the key, where it is encrypted")

    # Delivery
    delivery: Guarantee = Field(
        Guarantee.EXACTLY_ONCE,
        description="exactly_once: answers and offsets in one transaction; at_least_once: answers, then offsets",
    )
    transaction_timeout_ms: int = Field(
        10_000,
        ge=1000,
        description="after so long the broker ends the transaction of a worker that died in the middle, ms",
    )

    # Micro-batches
    max_batch: int = Field(32, ge=1, description="captures a micro-batch at most")
    max_wait_ms: float = Field(10.0, ge=0, description="age of the oldest capture at which a batch leaves, ms")
    max_in_flight: int = Field(4, ge=1, description="micro-batches that are worked on at a time")
    max_undelivered: int = Field(32, ge=1, description="micro-batches between consumer and acknowledgement")
    drain_timeout_s: float = Field(30.0, gt=0, description="longest drain on SIGTERM, s")

    # Assembly of receptions
    assembly_patience_ms: int = Field(1000, ge=0, description="how long a slot waits for receivers, event time, ms")
    assembly_lateness_ms: int = Field(2000, ge=0, description="how late receptions may come, event time, ms")
    assembly_idle_ms: int = Field(10_000, ge=100, description="longest life of a slot by the wall clock, ms")
    assembly_min_receivers: int = Field(2, ge=1, description="receivers that a capture needs at least")
    assembly_max_bytes: int = Field(256 * 2**20, ge=2**20, description="receptions held at most, bytes")
    assembly_max_span: int = Field(50_000, ge=100, description="receptions that a restart reads again at most")

    # Model
    registry_uri: str = Field("http://localhost:5000", description="MLflow tracking/registry URI, or sqlite:///...")
    model_name: str = Field("fixstream-tdoa", description="registered model")
    model_ref: str = Field("@champion", description="@alias, version number, or stage name")
    model_cache_dir: str = Field("~/.cache/fixstream/models", description="artifacts by digest")
    registry_token: SecretStr | None = Field(None, description="bearer token for an MLflow server at http(s)://")
    require_digest: bool = Field(False, description="refuse versions whose file's sha256 the registry does not state")
    max_model_bytes: int = Field(512 * 2**20, ge=1024, description="largest model file, bytes")
    max_model_memory_bytes: int = Field(2 * 2**30, ge=2**27, description="most memory a model may take, bytes")
    model_check_s: float = Field(30.0, gt=0, description="longest trial of a model before it is loaded, s")
    suspend_failures: int = Field(3, ge=1, description="failed inferences in a row that suspend a version")
    suspend_s: float = Field(30.0, gt=0, description="how long a version is suspended, s")
    shadow_queue: int = Field(4, ge=1, description="micro-batches that may wait for shadow versions; more are dropped")
    inference_threads: int = Field(1, ge=1, description="ONNX Runtime intra-op threads")
    inference_batches: int = Field(2, ge=1, description="micro-batches that are inferred at a time")

    # Cache
    cache_url: str = Field("memory://", description="memory://, redis://host:port/db, rediss://..., or none://")
    cache_ttl_s: int = Field(3600, ge=1, description="seconds an answer is remembered")
    cache_max_entries: int = Field(100_000, ge=1, description="bound of memory://")
    cache_timeout_ms: float = Field(50.0, gt=0, description="longest wait for redis, ms")
    cache_ca_file: str | None = Field(None, description="authorities to trust at rediss://, PEM; default: the system's")
    cache_cert_file: str | None = Field(None, description="client certificate for rediss://, PEM")
    cache_key_file: str | None = Field(None, description="its key, PEM; default: in the certificate's file")
    cache_secret: SecretStr | None = Field(
        None, description="what cached answers are sealed with, of all workers alike"
    )

    # Fixes
    ellipse_confidence: float = Field(0.95, gt=0, lt=1, description="probability the stated ellipse holds")
    geojson_outline: bool = Field(True, description="send the ellipse's outline as GeoJSON")
    border_mass_limit: float = Field(0.05, gt=0, lt=1, description="posterior mass on the rim that flags a fix")

    # Beacons and clocks
    network_file: str = Field(
        "", description="networks' YAML files, comma-separated, whose beacons and receivers' clocks are watched"
    )

    # Tracks
    track_acceleration: float = Field(
        2.0, gt=0, description="1-sigma of what emitters change their velocity by within a second, m/s²"
    )
    track_speed_m_s: float = Field(20.0, gt=0, description="1-sigma of each velocity component of a new track, m/s")
    track_gate: float = Field(0.999, gt=0, lt=1, description="probability that a track takes a fix of its own emitter")
    track_confirm_fixes: int = Field(3, ge=2, description="fixes that confirm a track ...")
    track_confirm_of: int = Field(5, ge=2, description="... of so many that it might have had")
    track_silence_s: float = Field(60.0, gt=0, description="a track that has had no fix for so long ends, s")
    track_max_sigma_m: float = Field(
        100_000.0, gt=0, description="fixes with a larger 1-sigma are left out of tracks: no plane holds them, m"
    )
    track_max_per_key: int = Field(16, ge=1, description="tracks of one network and frequency; old ones give way")
    track_max_per_partition: int = Field(10_000, ge=1, description="tracks of one partition; old ones give way")

    # HTTP
    web_host: str = Field("127.0.0.1", description="address of the worker's pages; 0.0.0.0 for all interfaces")
    web_port: int = Field(6066, ge=1, le=65535, description="port of the worker's pages")
    web_token: SecretStr | None = Field(None, description="bearer token that /predict, /model and /map ask for")
    web_max_connections: int = Field(1200, ge=1, description="open connections; the oldest idle one gives way to more")
    web_idle_s: float = Field(75.0, gt=0, description="longest wait for a request's headers, s")
    web_max_body_bytes: int = Field(16 * 2**20, ge=1024, description="largest body of a request, bytes")
    web_max_waiting: int = Field(256, ge=1, description="captures of requests that may wait; more are turned away")
    web_max_batch: int = Field(64, ge=1, description="captures in one POST /predict/batch")
    map_tiles: str | None = Field(None, description="images under the map, such as https://HOST/{z}/{x}/{y}.png")
    map_credit: str = Field("", description="whose they are, in words for the map")
    webhook_secret: SecretStr | None = Field(None, description="what MLflow signs its webhooks with")

    # Worker
    worker_name: str = Field("", description="name in model.status; default: host and process number")
    status_every_s: float = Field(10.0, gt=0, description="seconds between a worker's signs of life")
    schema_dir: str | None = Field(None, description="directory with further writer schemas (.avsc)")
    log_level: str = Field("INFO", description="log level")

    @model_validator(mode="after")
    def _security_fits(self) -> Self:
        protocol = self.kafka_security_protocol
        if protocol.startswith("SASL") and not (self.kafka_username and self.kafka_password):
            raise ValueError(
                f"FIXSTREAM_KAFKA_SECURITY_PROTOCOL={protocol} needs FIXSTREAM_KAFKA_USERNAME and "
                "FIXSTREAM_KAFKA_PASSWORD"
            )
        if (self.kafka_cert_file is None) != (self.kafka_key_file is None):
            raise ValueError("FIXSTREAM_KAFKA_CERT_FILE and FIXSTREAM_KAFKA_KEY_FILE go together")
        return self

    @model_validator(mode="after")
    def _tracks_can_be_confirmed(self) -> Self:
        if self.track_confirm_fixes > self.track_confirm_of:
            raise ValueError("FIXSTREAM_TRACK_CONFIRM_FIXES cannot be more than FIXSTREAM_TRACK_CONFIRM_OF")
        return self


# The fields whose values are never shown.
SECRETS = frozenset(name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation))


def load_settings(**values: Any) -> Settings:
    """The environment's settings; ``values`` go before them, but for None: an option that was not given.

    Raises SettingsError, which names the variable.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return Settings(_secrets_dir=_secrets_dir(), **given)
    except ValidationError as error:
        raise SettingsError(_said(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"a file of {_SECRETS_DIR} or .env cannot be read: {type(error).__name__}") from None


def _secrets_dir() -> Path | None:
    folder = os.environ.get(_SECRETS_DIR)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise SettingsError(f"{_SECRETS_DIR}={folder}: there is no such directory")
    return Path(folder)


def _said(error: ValidationError) -> str:
    """The first problem. A secret's value is left out, and so is the whole input, which holds all secrets."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    field = str(first["loc"][0])
    value = "" if field in SECRETS else f"={redacted(str(first['input']))!r}"
    return f"FIXSTREAM_{field.upper()}{value}: {message}"
