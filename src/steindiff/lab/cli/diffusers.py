"""`steindiff bench diffusers`: the schedulers of diffusers, plain and relaxed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..._provenance import command_line
from ..bench.tables import cells_sheet, terminal_table


def diffusers(
    out: Annotated[Path, typer.Option(help="JSON file; a run that stopped goes on.")],
    nfe: Annotated[list[int] | None, typer.Option(min=1, help="Repeatable: 5, 8, 12.")] = None,
    count: Annotated[int, typer.Option(min=20, help="Samples a cell.")] = 1000,
    guidance: Annotated[float, typer.Option(help="Scale of classifier-free guidance.")] = 1.0,
    only: Annotated[
        list[str] | None, typer.Option(help="Schedulers whose title holds this text; repeatable.")
    ] = None,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first sample.")] = 0,
) -> None:
    """Measure every supported scheduler of diffusers on the shipped pipeline, base and relaxed.

    Needs the extra `diffusers`.
    """
    try:
        from ..bench.diffusers import PEERS, measure_peers
    except ImportError as error:
        raise ValueError(str(error)) from error
    peers = [peer for peer in PEERS if not only or any(text in peer.title for text in only)]
    if not peers:
        raise ValueError(f"only is {only}; one of {', '.join(peer.title for peer in PEERS)}")
    console = Console(stderr=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with console.status("fine solution") as status:
        found = measure_peers(
            out,
            nfes=nfe or [5, 8, 12],
            count=count,
            first_seed=first_seed,
            guidance=guidance,
            peers=peers,
            command=command_line(),
            tell=status.update,
        )
    Console().print(
        terminal_table("Fréchet distance", cells_sheet(found["cells"], ["energy"], ["nfe"]))
    )
    typer.echo(f"figures: {out}")
