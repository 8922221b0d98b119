"""``fixstream worker``: one worker, as ``faust -A faust_app worker`` starts it, with its settings checked first."""

from __future__ import annotations


def worker() -> None:
    """Run a worker until SIGTERM. Options come from FIXSTREAM_... variables or a .env file."""
    import gc

    gc.disable()  # it would look through what is imported again and again

    from stream_app.models.asking import RegistryProcess
    from stream_app.settings import Guarantee, load_settings

    settings = load_settings()
    registry = RegistryProcess(settings)
    registry.begin()  # the longest part of a start, beside all that follows

    import faust

    from stream_app.app import create_app
    from stream_app.dsp import spectrogram, tdoa  # noqa: F401  one of them the model will need
    from stream_app.kafka.rights import worker_rights
    from stream_app.kafka.topics import ensure_topics
    from stream_app.kafka.transactions import Transactions

    ensure_topics(settings, worker_rights(settings))
    if settings.delivery is Guarantee.EXACTLY_ONCE:
        Transactions(settings, "start").open()  # brokers tell of this right only when it is used
    app = create_app(settings, registry)
    gc.freeze()  # what there is now stays
    gc.enable()
    faust.Worker(app, loglevel=settings.log_level.lower(), redirect_stdouts=False).execute_from_commandline()
