"""The command that packs images into tar shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hetconv.cli.option_values import say


def shards(
    folder: Annotated[Path, typer.Argument(help="Image folder: train/<class>/<image> and val/<class>/<image>.")],
    out: Annotated[Path, typer.Argument(help="Where train/*.tar and val/*.tar are put.")],
    images_per_shard: Annotated[int, typer.Option(min=1)] = 1000,
) -> None:
    """Pack an image folder into tar shards. For sets so large that single files are slow to read."""
    from hetconv.lab.train.write_shards import write_shards

    written = write_shards(folder.expanduser(), out.expanduser(), images_per_shard)
    say(f"{written['train']} images for training and {written['val']} held out; --data shards:{out}")
