"""``fixstream assemble``: receptions of single receivers to captures, on Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def assemble(
    network: Annotated[list[Path], typer.Option(help="a network's YAML file; repeatable, one a network")],
) -> None:
    """Join receptions of one slot into captures until SIGTERM. Options come from FIXSTREAM_... variables or .env."""
    from collections import Counter

    from stream_app.assembly.metrics import AssemblyMetrics
    from stream_app.assembly.work import Assembler
    from stream_app.cli.staging import run_stage
    from stream_app.errors import NetworkFileError
    from stream_app.kafka.rights import assembler_rights
    from stream_app.kafka.stage import Stage
    from stream_app.kafka.topics import ensure_topics
    from stream_app.network.file import load_network
    from stream_app.records.codec import Codecs
    from stream_app.settings import load_settings

    networks = [load_network(file) for file in network]
    name, times = Counter(each.name for each in networks).most_common(1)[0]
    if times > 1:
        raise NetworkFileError(f"{times} of the files are of the network {name}: give one file a network")
    settings = load_settings()
    settings = settings.model_copy(update={"group_id": f"{settings.group_id}-assemble"})
    ensure_topics(settings, assembler_rights(settings))
    metrics = AssemblyMetrics()
    work = Assembler(settings, networks, Codecs(settings.schema_dir), metrics)
    stage = Stage(settings, settings.receptions_topic, work, "assembler")

    def refresh() -> None:
        metrics.open_slots.set(work.open_slots)
        metrics.held_bytes.set(work.held_bytes)

    run_stage(settings, stage, metrics.registry, metrics.consumer_lag, refresh)
