"""`molyneux app`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def app(
    *,
    folder: Annotated[Path, Parameter(help="Where everything is kept: lessons, models, packs, uploads.")] = Path(
        "runs/app"
    ),
    model: Annotated[
        tuple[str, ...],
        Parameter(
            help="The models that the page offers, as 'molyneux list models' explains; may be given several times."
        ),
    ] = ("mini",),
    host: Annotated[
        str, Parameter(help="The address to listen at. The default is reached from this machine alone.")
    ] = LOOPBACK[0],
    port: Annotated[int | None, Parameter(help="By default the first that is free from 7860 on.")] = None,
    share: Annotated[
        bool,
        Parameter(negative=(), help="Also make a public link, through gradio's servers: whoever has it can teach."),
    ] = False,
    browser: Annotated[bool, Parameter(help="Open the page in a browser.")] = True,
    running: flags.RunningFlags = flags.RUNNING,
) -> None:
    """Open a page in the browser: teach, recognise, packs and reports. Ctrl-C ends it."""
    from molyneux.app.server import AppSettings, served, wait

    settings = AppSettings(
        folder=folder,
        names=model,
        host=host,
        port=port,
        share=share,
        browser=browser,
        running=flags.placed(running),
    )
    with served(settings) as address:
        print(f"{address} (everything is kept in {folder}; Ctrl-C ends)", flush=True)
        if share or host not in LOOPBACK:
            print("whoever reaches this address can teach, and can read what is in the folder", flush=True)
        wait()
