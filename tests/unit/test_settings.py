"""Options as an operator gives them, and what is never said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from stream_app.errors import RegistryUnavailable, SettingsError
from stream_app.models.registry import Registry
from stream_app.redact import redacted
from stream_app.settings import SECRETS, Settings, load_settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            "needs FIXSTREAM_KAFKA_USERNAME and FIXSTREAM_KAFKA_PASSWORD",
        ),
        ({"KAFKA_CERT_FILE": __file__}, "FIXSTREAM_KAFKA_CERT_FILE and FIXSTREAM_KAFKA_KEY_FILE go together"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "FIXSTREAM_KAFKA_SECURITY_PROTOCOL='TLS': "),
        ({"KAFKA_CA_FILE": "/no/such.pem"}, "FIXSTREAM_KAFKA_CA_FILE='/no/such.pem': "),
        ({"SECRETS_DIR": "/no/such"}, "FIXSTREAM_SECRETS_DIR=/no/such: there is no such directory"),
    ],
)
def test_what_does_not_fit_is_said_without_a_secret(
    given: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {name.upper(): f"hidden-{name}" for name in SECRETS - {"kafka_password"}}
    hidden["CACHE_URL"] = "redis://someone:hidden-url@localhost"
    for name, value in (hidden | given).items():
        monkeypatch.setenv(f"FIXSTREAM_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert words in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_settings_error_of_pydantics_own_holds_no_value() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(kafka_security_protocol="SASL_SSL", web_token="hidden", web_port=-1)
    assert "hidden" not in str(refused.value)
    assert "-1" not in str(refused.value)


def test_secrets_come_from_files_and_the_environment_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*SECRETS, "cache_url"):
        (tmp_path / f"FIXSTREAM_{name.upper()}").write_text(f"file-{name}\n")
    monkeypatch.setenv("FIXSTREAM_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("FIXSTREAM_WEB_TOKEN", "from the environment")
    found = load_settings()
    values = {name: getattr(found, name).get_secret_value() for name in SECRETS}
    assert values == {name: f"file-{name}" for name in SECRETS} | {"web_token": "from the environment"}
    assert found.cache_url == "file-cache_url"
    assert "file-kafka_password" not in repr(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://someone:secret@host:6379/0", "redis://***@host:6379/0"),
        ("cannot reach http://someone:se/cr@et@host/api: refused", "cannot reach http://***@host/api: refused"),
        ("redis://:secret@host and http://token@other", "redis://***@host and http://***@other"),
        ("sqlite:////home/me@work/registry.db", "sqlite:////home/me@work/registry.db"),
        ("http://mlflow:5000 has no model m @champion", "http://mlflow:5000 has no model m @champion"),
    ],
)
def test_a_url_is_shown_without_its_user_and_password(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_registry_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable) as refused:
        Registry("http://someone:secret@127.0.0.1:1", tmp_path).fetch("model", "@champion")
    assert "registry http://***@127.0.0.1:1 does not answer" in str(refused.value)
    assert "secret" not in str(refused.value)
