"""``fixstream export`` at its edges: files, pipes, sockets, Ctrl-C."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from stream_app.cli.fixes import SeenFix
from stream_app.cli.main import app
from stream_app.errors import ExportFailed, FixesFileError
from tests.unit.tracks.fixes import a_fix

_COMMAND = [sys.executable, "-m", "stream_app.cli.main", "export", "--format"]


def _lines(count: int) -> bytes:
    """As ``watch --json`` writes them."""
    fixes = (SeenFix(a_fix(f"c{number}", number, 47.7, 9.0)) for number in range(count))
    return b"".join(json.dumps(seen.as_json()).encode() + b"\n" for seen in fixes)


@pytest.fixture
def fixes(tmp_path: Path) -> Path:
    file = tmp_path / "fixes.jsonl"
    file.write_bytes(_lines(3))
    return file


@pytest.mark.parametrize(
    ("form", "mark", "rows"),
    [("geojson", b'{"type":"Feature"', 3), ("kml", b"<Placemark>", 3), ("csv", b"\r\n", 4), ("cot", b"<event ", 3)],
)
def test_a_file_of_fixes_becomes_a_file_of_another_format(
    fixes: Path, tmp_path: Path, form: str, mark: bytes, rows: int
) -> None:
    out = tmp_path / "out"
    found = CliRunner().invoke(app, ["export", "--format", form, "--out", str(out), str(fixes)])
    assert found.exit_code == 0, found.output
    assert out.read_bytes().count(mark) == rows


def test_count_ends_it_and_the_document_is_whole(fixes: Path) -> None:
    found = CliRunner().invoke(app, ["export", "--format", "kml", "--count", "2", str(fixes)])
    assert found.exit_code == 0
    assert found.stdout.count("<Placemark>") == 2
    ElementTree.fromstring(found.stdout)


def test_a_bad_line_is_named_and_what_came_before_is_whole(fixes: Path, tmp_path: Path) -> None:
    fixes.write_bytes(_lines(2) + b'\n{"capture_id": "x"}\n')
    out = tmp_path / "out.kml"
    found = CliRunner().invoke(app, ["export", "--format", "kml", "--out", str(out), str(fixes)])
    assert isinstance(found.exception, FixesFileError)
    assert str(found.exception) == f"{fixes}: line 4 is no fix: 'covariance' is missing"
    ElementTree.fromstring(out.read_bytes())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--topic", "tracks", "x.jsonl"],
        ["--follow", "x.jsonl"],
        ["--send", "udp://localhost:1", "x.jsonl"],
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str]) -> None:
    found = CliRunner().invoke(app, ["export", "--format", "csv", *arguments])
    assert found.exit_code == 2


def test_what_cannot_be_written_is_said(fixes: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "no" / "folder", Path("/dev/full")):
        found = CliRunner().invoke(app, ["export", "--format", "csv", "--out", str(out), str(fixes)])
        assert isinstance(found.exception, ExportFailed), found.output
        assert str(out) in str(found.exception)


def test_ctrl_c_at_a_pipe_that_is_silent_closes_the_document() -> None:
    with subprocess.Popen([*_COMMAND, "kml", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_lines(1))
        process.stdin.flush()
        head = b""
        while b"</Placemark>" not in head:  # it is passed on at once
            line = process.stdout.readline()
            assert line, head
            head += line
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    assert ElementTree.fromstring(head + rest).tag.endswith("kml")


@pytest.mark.parametrize("form", ["csv", "geojson"])
def test_a_reader_that_has_enough_ends_it_quietly(fixes: Path, form: str) -> None:
    fixes.write_bytes(_lines(2000))
    with subprocess.Popen([*_COMMAND, form, str(fixes)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_events_go_to_a_socket_each_in_a_datagram(fixes: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        url = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        found = CliRunner().invoke(app, ["export", "--format", "cot", "--send", url, str(fixes)])
        assert found.exit_code == 0, found.output
        events = [ElementTree.fromstring(receiver.recv(65_536)) for _ in range(3)]
    assert [event.get("time", "")[17:19] for event in events] == ["20", "21", "22"]


def test_events_go_to_a_server_one_after_the_other(fixes: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        found = CliRunner().invoke(app, ["export", "--format", "cot", "--send", url, str(fixes)])
        assert found.exit_code == 0, found.output
        with server.accept()[0] as connection, connection.makefile("rb") as stream:
            assert len([ElementTree.fromstring(line) for line in stream]) == 3


@pytest.mark.parametrize("url", ["http://a:1", "udp://a", "tcp://:1", "tcp://127.0.0.1:1", "udp://[:1"])
def test_a_receiver_that_is_none_is_named(fixes: Path, url: str) -> None:
    found = CliRunner().invoke(app, ["export", "--format", "cot", "--send", url, str(fixes)])
    assert isinstance(found.exception, ExportFailed), found.output
    assert url in str(found.exception)
