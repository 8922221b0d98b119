"""``fixstream map``: the fixes of a running system on a map, live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def live_map(
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka brokers, host:port; default: FIXSTREAM_BOOTSTRAP_SERVERS")
    ] = None,
    network: Annotated[
        list[Path] | None,
        typer.Option(
            help="a network's YAML file: its receivers are shown; repeatable; default: FIXSTREAM_NETWORK_FILE"
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen at; 0.0.0.0 for all interfaces")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port; 0: any that is free")] = 6080,
    tiles: Annotated[
        str | None, typer.Option(help="images under the map, such as https://HOST/{z}/{x}/{y}.png")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="open the map in the browser")] = False,
) -> None:
    """Show fixes, ellipses, tracks and the state of a running system on a map in the browser."""
    import asyncio

    from stream_app.cli.browser import open_in_browser
    from stream_app.kafka.connection import connection
    from stream_app.kafka.topics import check_broker
    from stream_app.mapview.server import serve
    from stream_app.network.file import load_network, load_networks
    from stream_app.settings import load_settings

    settings = load_settings(bootstrap_servers=bootstrap, map_tiles=tiles)
    networks = [load_network(file) for file in network] if network else load_networks(settings.network_file)
    check_broker(connection(settings))

    def ready(address: str) -> None:
        print(f"The map is at {address}", flush=True)
        if open_page:
            open_in_browser(address)

    asyncio.run(serve(settings, networks, host, port, ready))
