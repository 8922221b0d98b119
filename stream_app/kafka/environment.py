"""The connection's part of the settings without pydantic, for processes that must stay light."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stream_app.errors import SettingsError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT")
_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")


class Secret:
    """A text that does not show itself."""

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """The text."""
        return self._value


@dataclass(frozen=True, slots=True)
class KafkaEnvironment:
    """Options of the same names as those of Settings, with the same meaning and defaults."""

    bootstrap_servers: str
    kafka_security_protocol: str
    kafka_sasl_mechanism: str
    kafka_username: str | None
    kafka_password: Secret | None
    kafka_ca_file: Path | None
    kafka_cert_file: Path | None
    kafka_key_file: Path | None
    kafka_key_password: Secret | None


def kafka_environment(bootstrap: str | None = None) -> KafkaEnvironment:
    """What FIXSTREAM_BOOTSTRAP_SERVERS, FIXSTREAM_KAFKA_* and FIXSTREAM_SECRETS_DIR say. Raises SettingsError."""
    username, password = _value("kafka_username"), _secret("kafka_password")
    protocol = _one_of("kafka_security_protocol", _PROTOCOLS)
    if protocol.startswith("SASL") and not (username and password):
        raise SettingsError(
            f"FIXSTREAM_KAFKA_SECURITY_PROTOCOL={protocol} needs FIXSTREAM_KAFKA_USERNAME and FIXSTREAM_KAFKA_PASSWORD"
        )
    certificate, key = _file("kafka_cert_file"), _file("kafka_key_file")
    if (certificate is None) != (key is None):
        raise SettingsError("FIXSTREAM_KAFKA_CERT_FILE and FIXSTREAM_KAFKA_KEY_FILE go together")
    return KafkaEnvironment(
        bootstrap_servers=bootstrap or _value("bootstrap_servers") or "localhost:9092",
        kafka_security_protocol=protocol,
        kafka_sasl_mechanism=_one_of("kafka_sasl_mechanism", _MECHANISMS),
        kafka_username=username,
        kafka_password=password,
        kafka_ca_file=_file("kafka_ca_file"),
        kafka_cert_file=certificate,
        kafka_key_file=key,
        kafka_key_password=_secret("kafka_key_password"),
    )


def receptions_topic() -> str:
    """Where receptions go."""
    return _value("receptions_topic") or "iq.receptions"


def _value(name: str) -> str | None:
    """Of the variable, or else of a file of that name, in any case, in the directory of secrets."""
    variable = f"FIXSTREAM_{name.upper()}"
    value, folder = os.environ.get(variable), os.environ.get("FIXSTREAM_SECRETS_DIR")
    if value is None and folder:
        try:
            found = next((path for path in Path(folder).iterdir() if path.name.upper() == variable), None)
            value = None if found is None else found.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"FIXSTREAM_SECRETS_DIR={folder} cannot be read: {type(error).__name__}") from None
    return value


def _secret(name: str) -> Secret | None:
    value = _value(name)
    return None if value is None else Secret(value)


def _one_of(name: str, known: tuple[str, ...]) -> str:
    """The value; the first of ``known`` where there is none."""
    value = _value(name)
    if value is not None and value not in known:
        raise SettingsError(f"FIXSTREAM_{name.upper()}={value!r}: give one of {', '.join(known)}")
    return value or known[0]


def _file(name: str) -> Path | None:
    value = _value(name)
    if value is not None and not Path(value).is_file():
        raise SettingsError(f"FIXSTREAM_{name.upper()}={value!r}: there is no such file")
    return None if value is None else Path(value)
