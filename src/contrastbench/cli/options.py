"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from contrastbench.cli.completion import (
    complete_dataset,
    complete_device,
    complete_logger,
    complete_method,
    complete_preset,
    complete_track,
)
from contrastbench.params.root import TRACKS
from contrastbench.pipeline.device import DEVICE_VARIABLE, DEVICES_VARIABLE
from contrastbench.pipeline.loggers import LOG_VARIABLE, LOGGERS

Track = Annotated[str, typer.Argument(help=f"{', '.join(TRACKS)}.", autocompletion=complete_track)]
Dataset = Annotated[str, typer.Argument(help="A data set; see `contrastbench list`.", autocompletion=complete_dataset)]
Pair = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="A data set, or TRAINED-to-JUDGED.", autocompletion=complete_dataset),
]
MethodName = Annotated[
    str,
    typer.Argument(metavar="METHOD", help="A method, or a variant from params.yaml.", autocompletion=complete_method),
]
Seed = Annotated[int, typer.Argument(help="The seed: 0, 1, 2, ...")]
OptionalSeeds = Annotated[
    list[int] | None, typer.Argument(metavar="SEED...", help="One seed or several; all of the track if none is given.")
]
Preset = Annotated[
    str,
    typer.Option(help="default (params.yaml alone) or the name of a file in presets/.", autocompletion=complete_preset),
]
DeclaringPreset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="The preset that declares the data set; found if it is not given.",
        autocompletion=complete_preset,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="cpu, cuda, or auto: cuda where there is one.", envvar=DEVICE_VARIABLE, autocompletion=complete_device
    ),
]
Devices = Annotated[int, typer.Option(help="How many devices train one encoder together.", envvar=DEVICES_VARIABLE)]
Log = Annotated[
    str | None,
    typer.Option(
        help=f"Follow training live with {', '.join(LOGGERS[:-1])} or {LOGGERS[-1]}.",
        envvar=LOG_VARIABLE,
        autocompletion=complete_logger,
    ),
]
Mirror = Annotated[
    Path | None, typer.Option(help="Folder with official archives; else the variable CONTRASTBENCH_MIRROR.")
]
State = Annotated[str | None, typer.Option(hidden=True, help="What Snakemake saw of the job's code and parameters.")]
