"""``fixstream model``: build and check models."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stream_app.errors import ModelError

app = typer.Typer(
    help="Build a network's reference model, check any ONNX model, put it into the registry.", no_args_is_help=True
)


class Kind(StrEnum):
    """The reference models."""

    TDOA = "tdoa"
    POWER = "power"


@app.command()
def build(
    network: Annotated[Path, typer.Option(help="the network's YAML file: receivers, area, timing uncertainty")],
    out: Annotated[Path, typer.Option(help="where to write the ONNX file")],
    kind: Annotated[Kind, typer.Option(help="tdoa: from arrival times; power: coarse, from levels")] = Kind.TDOA,
) -> None:
    """Build a reference model from a network's geometry. It needs no training."""
    import onnx

    from stream_app.models.check import check_model
    from stream_app.models.reference import build_power, build_tdoa
    from stream_app.network.file import load_network

    maker = build_tdoa if kind is Kind.TDOA else build_power
    try:
        onnx.save(maker(load_network(network)), str(out))
    except OSError as error:
        raise ModelError(f"cannot write {out}: {error}") from error
    typer.echo(f"{out}: {kind} model, sha256 {check_model(out).digest[:12]}")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="an ONNX file, yours or a reference model")]) -> None:
    """Check a model against the contract, and say in words what is wrong with it."""
    from stream_app.models.check import read_model
    from stream_app.models.trial import try_model
    from stream_app.settings import load_settings

    settings = load_settings()
    info = try_model(read_model(file, settings.max_model_bytes), str(file), settings)
    typer.echo(
        f"{file} keeps the contract: extractor {info.feature_spec['extractor']}, network {info.network or 'any'}, "
        f"inputs {', '.join(info.inputs)}, outputs {', '.join(info.outputs)}, sha256 {info.digest[:12]}"
    )


@app.command()
def register(
    file: Annotated[Path, typer.Argument(help="an ONNX file that keeps the contract")],
    name: Annotated[str | None, typer.Option(help="the model's name; default: FIXSTREAM_MODEL_NAME")] = None,
    alias: Annotated[
        str | None, typer.Option(help="what is to name this version from now on, such as champion")
    ] = None,
    uri: Annotated[
        str | None, typer.Option(help="MLflow's URI, http://... or sqlite:///...; default: FIXSTREAM_REGISTRY_URI")
    ] = None,
) -> None:
    """Check a model and put it into the MLflow registry as a new version."""
    from stream_app.models.check import read_model
    from stream_app.models.registry import Registry
    from stream_app.models.trial import try_model
    from stream_app.settings import load_settings

    settings = load_settings(registry_uri=uri, model_name=name)
    digest = try_model(read_model(file, settings.max_model_bytes), str(file), settings).digest
    registry = Registry.of(settings)
    version = registry.register(settings.model_name, file, alias)
    named = f", @{alias.removeprefix('@')}" if alias else ""
    typer.echo(f"{settings.model_name} version {version}{named} in {registry.where}, sha256 {digest[:12]}")
