"""How every client of this project reaches the brokers, and as whom."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING

from stream_app.errors import SettingsError

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT
    from pydantic import SecretStr

    from stream_app.kafka.environment import KafkaEnvironment, Secret
    from stream_app.settings import Settings

ClientConfig = dict[str, str | int | float | bool]


def connection(settings: Settings | KafkaEnvironment) -> ClientConfig:
    """The part of a librdkafka configuration that says where the brokers are, and how to be let in."""
    config: ClientConfig = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
    }
    if _uses_sasl(settings):
        config |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_username or "",
            "sasl.password": _value(settings.kafka_password),
        }
    if _uses_tls(settings):
        files = {
            "ssl.ca.location": settings.kafka_ca_file,
            "ssl.certificate.location": settings.kafka_cert_file,
            "ssl.key.location": settings.kafka_key_file,
        }
        config |= {option: str(file) for option, file in files.items() if file is not None}
        config["ssl.key.password"] = _value(settings.kafka_key_password)
    return config


def faust_credentials(settings: Settings) -> CredentialsT | None:
    """The same for Faust's own clients; None for a connection without TLS and SASL. Raises SettingsError."""
    from faust import SASLCredentials, SSLCredentials

    context = _ssl_context(settings) if _uses_tls(settings) else None
    if not _uses_sasl(settings):
        return None if context is None else SSLCredentials(context)
    # At level debug, aiokafka would log each request in full; with the mechanism PLAIN one holds the password.
    logging.getLogger("aiokafka.conn").setLevel(logging.INFO)
    return SASLCredentials(
        username=settings.kafka_username,
        password=_value(settings.kafka_password),
        ssl_context=context,
        mechanism=settings.kafka_sasl_mechanism,
    )


def principal(settings: Settings) -> str:
    """Who this client is to the brokers, as far as it can know."""
    if _uses_sasl(settings):
        return f"User:{settings.kafka_username}"
    if settings.kafka_security_protocol == "SSL" and settings.kafka_cert_file is not None:
        return f"the owner of {settings.kafka_cert_file}"
    return "User:ANONYMOUS"


def _uses_sasl(settings: Settings | KafkaEnvironment) -> bool:
    return settings.kafka_security_protocol.startswith("SASL")


def _uses_tls(settings: Settings | KafkaEnvironment) -> bool:
    return settings.kafka_security_protocol.endswith("SSL")


def _value(secret: SecretStr | Secret | None) -> str:
    return "" if secret is None else secret.get_secret_value()


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    certificate, key = settings.kafka_cert_file, settings.kafka_key_file
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
        if certificate is not None:
            # A callable, as OpenSSL would ask at the terminal for a password that is None.
            context.load_cert_chain(certificate, key, lambda: _value(settings.kafka_key_password))
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"FIXSTREAM_KAFKA_CA_FILE, _CERT_FILE, _KEY_FILE or _KEY_PASSWORD cannot be used: {error}"
        ) from error
    return context
