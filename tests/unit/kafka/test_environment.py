"""The light way to the connection's options says what the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.errors import SettingsError
from stream_app.kafka.connection import connection
from stream_app.kafka.environment import kafka_environment, receptions_topic
from stream_app.settings import load_settings

_SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "p"}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("pem")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"BOOTSTRAP_SERVERS": "a:1,b:2"},
        _SASL,
        {**_SASL, "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CA_FILE": "ca", "KAFKA_CERT_FILE": "cert", "KAFKA_KEY_FILE": "key"},
        {**_SASL, "KAFKA_CA_FILE": "ca", "KAFKA_KEY_PASSWORD": "k"},
    ],
)
@pytest.mark.parametrize("by_file", [False, True])
def test_both_ways_give_the_same_connection(
    variables: dict[str, str], by_file: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name, value in variables.items():
        if by_file and "PASSWORD" in name:
            (folder / f"FIXSTREAM_{name}").write_text(f"{value}\n")
            monkeypatch.setenv("FIXSTREAM_SECRETS_DIR", str(folder))
        else:
            monkeypatch.setenv(f"FIXSTREAM_{name}", value)
    assert connection(kafka_environment()) == connection(load_settings())
    assert receptions_topic() == load_settings().receptions_topic


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "FIXSTREAM_KAFKA_SECURITY_PROTOCOL='TLS'"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_USERNAME": "u"}, "needs FIXSTREAM_KAFKA_USERNAME"),
        ({"KAFKA_CERT_FILE": "cert"}, "go together"),
        ({"KAFKA_CA_FILE": "nowhere"}, "FIXSTREAM_KAFKA_CA_FILE='nowhere'"),
        ({"SECRETS_DIR": "nowhere"}, "FIXSTREAM_SECRETS_DIR=nowhere"),
    ],
)
def test_what_the_settings_refuse_is_refused(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"FIXSTREAM_{name}", value)
    with pytest.raises(SettingsError, match=words):
        load_settings()
    with pytest.raises(SettingsError, match=words):
        kafka_environment()


def test_a_password_does_not_show_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (_SASL | {"KAFKA_PASSWORD": "hush"}).items():
        monkeypatch.setenv(f"FIXSTREAM_{name}", value)
    assert "hush" not in repr(kafka_environment())
