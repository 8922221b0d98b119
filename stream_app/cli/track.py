"""``fixstream track``: fixes of one emitter over time to tracks, on Kafka."""

from __future__ import annotations


def track() -> None:
    """Follow emitters over their fixes until SIGTERM. Options come from FIXSTREAM_... variables or .env."""
    from stream_app.cli.staging import run_stage
    from stream_app.kafka.rights import tracker_rights
    from stream_app.kafka.stage import Stage
    from stream_app.kafka.topics import ensure_topics
    from stream_app.records.codec import Codecs
    from stream_app.settings import load_settings
    from stream_app.tracks.metrics import TrackMetrics
    from stream_app.tracks.restore import check_partitions
    from stream_app.tracks.work import Tracker

    settings = load_settings()
    settings = settings.model_copy(update={"group_id": f"{settings.group_id}-track"})
    ensure_topics(settings, tracker_rights(settings))
    check_partitions(settings)
    metrics = TrackMetrics()
    work = Tracker(settings, Codecs(settings.schema_dir), metrics)
    stage = Stage(settings, settings.positions_topic, work, "tracker")
    run_stage(settings, stage, metrics.registry, metrics.consumer_lag, lambda: metrics.held.set(len(work)))
