"""A study's curves for TensorBoard: one line a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from hetconv.errors import HetconvError
from hetconv.lab.results import StudyResults

CURVES = ("accuracy", "train_loss", "validation_loss", "learning_rate", "seconds")


def write_tensorboard(study: StudyResults, folder: Path) -> Path:
    """Write the curves of every run under tensorboard/, in the place of what stood there; returns that folder.

    Raises:
        HetconvError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise HetconvError("--tensorboard needs tensorboard: pip install 'hetconv[tensorboard]'") from error
    out = folder / "tensorboard"
    shutil.rmtree(out, ignore_errors=True)
    for results in study.networks:
        network = results.settings.network.replace("/", ".")
        for run in results.runs:
            with SummaryWriter(str(out / network / run.variant / f"seed-{run.seed}")) as writer:
                for epoch in run.epochs:
                    for curve in CURVES:
                        writer.add_scalar(curve, getattr(epoch, curve), epoch.epoch)
    return out
