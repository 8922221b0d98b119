"""The ``fixstream`` command."""

from __future__ import annotations

import sys

import typer

from stream_app.cli import (
    assemble,
    compare,
    demo,
    deploy,
    dlq,
    evaluate,
    export,
    follow,
    live_map,
    locate,
    model,
    record,
    replay,
    simulate,
    status,
    track,
    watch,
    worker,
)
from stream_app.errors import FixStreamError

app = typer.Typer(
    help="FixStream: IQ captures of receiver networks in, emitter positions with honest error ellipses out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(model.app, name="model")
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("assemble")(assemble.assemble)
app.command("watch")(watch.watch)
app.command("map")(live_map.live_map)
app.command("locate")(locate.locate)
app.command("record")(record.record)
app.command("replay")(replay.replay)
app.command("simulate")(simulate.simulate)
app.command("track")(track.track)
app.command("export")(export.export)
app.command("evaluate")(evaluate.evaluate)
app.command("deploy")(deploy.deploy)
app.command("reload")(deploy.reload)
app.command("rollback")(deploy.rollback)
app.command("status")(status.status)
app.command("compare")(compare.compare)
app.add_typer(follow.app, name="control")
app.add_typer(dlq.app, name="dlq")


def main() -> None:
    """Runs the command; what is wrong with its input is one line and exit code 2."""
    try:
        app()
    except FixStreamError as error:
        print(f"fixstream: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
