"""The command as its users start it: help, one clear line and exit code 2, and what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.kafka.embedded import free_port
from stream_app.resources import example_network

DEMO = str(example_network("demo"))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream_app.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "worker",
        "watch",
        "locate",
        "evaluate",
        "export",
        "track",
        "simulate",
        "record",
        "replay",
        "model build",
        "model check",
        "model register",
        "deploy",
        "reload",
        "rollback",
        "status",
        "compare",
        "control follow",
        "dlq list",
        "dlq show",
        "dlq replay",
    ],
)
def test_help_says_what_a_command_does(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_help_waits_for_no_library_that_it_does_not_need() -> None:
    heavy = "aiohttp asyncio confluent_kafka faust fastavro mlflow numpy onnx onnxruntime pydantic pyproj redis scipy"
    ask = (
        "import sys; from stream_app.cli.main import app; app(['--help'], standalone_mode=False); "
        f"sys.exit(' '.join(sys.modules.keys() & set('{heavy}'.split())))"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
    assert "Usage" in done.stdout
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["locate", "--network", "nowhere.yaml", "a.wav"], "nowhere.yaml"),
        (["locate", "--network", DEMO, "a.wav"], "a.wav"),
        (["model", "check", "nowhere.onnx"], "nowhere.onnx"),
        (["model", "register", "nowhere.onnx"], "nowhere.onnx"),
        (["evaluate", "--truth", "nowhere.jsonl"], "nowhere.jsonl"),
        (["watch", "--bootstrap", "127.0.0.1:1"], "127.0.0.1:1"),
        (["simulate", "--network", DEMO, "--count", "1", "--bootstrap", "127.0.0.1:1"], "127.0.0.1:1"),
        (["assemble", "--network", "nowhere.yaml"], "nowhere.yaml"),
        (["assemble", "--network", DEMO, "--network", DEMO], "one file a network"),
        (["demo", "--network", "nowhere.yaml"], "nowhere.yaml"),
        (["demo", "--network", DEMO, "--recordings", "/nowhere"], "/nowhere"),
    ],
)
def test_what_is_missing_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_worker_without_a_broker_or_with_a_wrong_option_says_so() -> None:
    done = run("worker", FIXSTREAM_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "no Kafka broker answers" in done.stderr
    done = run("worker", FIXSTREAM_MAX_BATCH="many")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "FIXSTREAM_MAX_BATCH='many'" in done.stderr


def test_a_model_is_built_checked_and_registered(tmp_path: Path) -> None:
    file, uri = str(tmp_path / "model.onnx"), f"sqlite:///{tmp_path / 'registry.db'}"
    for kind in ("power", "tdoa"):
        assert run("model", "build", "--network", DEMO, "--kind", kind, "--out", file).returncode == 0
        assert "keeps the contract" in run("model", "check", file).stdout
    done = run("model", "register", "--uri", uri, "--name", "demo", "--alias", "champion", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demo version 1, @champion")
    assert len(done.stdout.splitlines()) == 1
