"""The one training loop. It knows networks, data and a recipe, and nothing of HetConv."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, set_seed
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hetconv.errors import DamagedFileError, NotFiniteError, UsageError
from hetconv.files import set_aside
from hetconv.foreign import foreign
from hetconv.lab.results import Epoch
from hetconv.lab.settings import Recipe
from hetconv.lab.train.checkpoint import load_checkpoint, previous, save_checkpoint
from hetconv.lab.train.data import Data
from hetconv.lab.train.lookahead import Lookahead
from hetconv.lab.train.objective import Objective
from hetconv.lab.train.pace import Pace
from hetconv.lab.train.processes import accelerator_of, own_forward
from hetconv.lab.train.share import Share
from hetconv.lab.train.sync_norm import synchronized

EVALUATION_BATCH = 500
FIRST_IMAGES = 5000


class Progress:
    """What the loop tells while it runs; this one keeps silent."""

    def resumed(self, epochs: tuple[Epoch, ...]) -> None:
        """Training goes on from a checkpoint with these epochs behind it."""

    def step(self, epoch: int, step: int, steps: int) -> None:
        """`step` of `steps` of this epoch is done."""

    def may_store(self) -> bool:
        """Asked before a checkpoint is written; one that may not be is left out."""
        return True

    def stored(self, found: Epoch) -> None:
        """A checkpoint was written after this epoch, which is told of next; not of every epoch: see `Pace`."""

    def epoch(self, found: Epoch) -> None:
        """An epoch is done and evaluated."""

    def notice(self, text: str) -> None:
        """Something that the user should know."""


def train(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    seed: int,
    *,
    checkpoint: Path | None = None,
    identity: dict[str, Any] | None = None,
    progress: Progress | None = None,
    objective: Objective | None = None,
) -> tuple[Epoch, ...]:
    """Train a classifier in place and evaluate it on the held-out split after every epoch.

    All randomness of an epoch comes from (seed, epoch), so that a run continued from its checkpoint ends as an
    undisturbed one does, bit for bit on a CPU.

    A network may have `before_training(images)`, which is called once with up to 5,000 training images, and
    `before_epoch(epoch)`, where one process trains it.

    Args:
        checkpoint: written after the last epoch, and after others as `Pace` says; if it is there already, training goes
            on from it, or from the one before it where it is damaged. Of many processes only the main one reads and
            writes it.
        identity: what the checkpoint is of; one of another identity is refused.
        objective: what is asked of the network beside right answers; nothing by default.

    Returns:
        One record an epoch. The result of the training is the last one's accuracy.

    Raises:
        NotFiniteError: the loss became NaN or infinite.
        HetconvError: a checkpoint could not be written.
    """
    progress = progress or Progress()
    objective = Objective() if objective is None else objective
    AcceleratorState._reset_state()  # a run's precision must not bind the next one's in the same process
    accelerator = accelerator_of(recipe.mixed_precision)
    processes = accelerator.num_processes
    share = Share(accelerator.process_index, processes)
    batch_size = _batch_size(recipe, data, processes)
    if processes > 1:
        model = synchronized(model, accelerator.device)
    before_training = getattr(model, "before_training", None) if objective.from_scratch else None
    if before_training is not None:
        with _networks_own_errors(accelerator, "prepared by its before_training"):
            before_training(data.first_images(FIRST_IMAGES))
    before_epoch = getattr(model, "before_epoch", None) if objective.from_scratch and processes == 1 else None
    model = model.to(memory_format=torch.channels_last)
    optimizer = objective.optimizer(model, recipe)
    kept = checkpoint if accelerator.is_main_process else None
    epochs = _done_before(kept, model, optimizer, identity or {}, progress, processes)
    with own_forward(model):
        prepared, optimizer = accelerator.prepare(model, optimizer)
        test = data.test_loader(EVALUATION_BATCH, share)
        training = _Training(accelerator, prepared, optimizer, recipe, objective, progress)
        pace = Pace()
        for epoch in range(len(epochs), recipe.epochs):
            set_seed((seed * 100_003 + epoch) % 2**32)
            begin = time.perf_counter()
            if before_epoch is not None:
                before_epoch(epoch)
            batches = data.of_epoch(recipe.augmentation, seed, epoch).train_loader(batch_size, share)
            found = training.epoch(epoch, batches, test, begin)
            epochs = (*epochs, found)
            due = pace.is_due() or len(epochs) == recipe.epochs
            if kept is not None and due and progress.may_store():
                with pace.storing():
                    save_checkpoint(kept, accelerator.unwrap_model(prepared), optimizer, identity or {}, epochs)
                    progress.stored(found)
            progress.epoch(found)
    return epochs


@dataclass(frozen=True)
class _Training:
    """What every epoch of a training has in common; the model and its optimizer as Accelerate prepared them."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    objective: Objective
    progress: Progress

    def epoch(self, epoch: int, batches: Any, test: Iterable[tuple[Tensor, Tensor]], begin: float) -> Epoch:
        """One epoch, trained and evaluated; its seconds count from `begin`."""
        train_loss = self._train(epoch, batches)
        _check_finite(train_loss, epoch, self.recipe)
        validation_loss, accuracy = evaluate(self.accelerator, self.model, test)
        _check_finite(validation_loss, epoch, self.recipe)
        seconds = time.perf_counter() - begin
        views = None
        if self.recipe.test_views and epoch + 1 == self.recipe.epochs:
            views = evaluate(self.accelerator, self.model, test, of_views=True)[1]
        rate = self.recipe.learning_rate_at(epoch + 1)
        return Epoch(epoch + 1, rate, train_loss, validation_loss, accuracy, seconds, views)

    def _train(self, epoch: int, batches: Any) -> float:
        """One pass over the training images; returns the mean loss, without what the objective adds."""
        accelerator, recipe = self.accelerator, self.recipe
        network = accelerator.unwrap_model(self.model)
        self.objective.begin(network)
        lookahead = Lookahead(network) if recipe.lookahead_steps else None
        total = torch.zeros((), device=accelerator.device)
        steps = len(batches)
        for step, (images, labels) in enumerate(_placed(batches, accelerator.device)):
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch + step / steps) * group.get("lr_scale", 1.0)
            with _networks_own_errors(accelerator, f"trained on a batch of {len(images)}"):
                loss = self._loss(images, labels)
                self.optimizer.zero_grad(set_to_none=True)
                penalty = self.objective.penalty(network)
                accelerator.backward(loss if penalty is None else loss + penalty)
            self.optimizer.step()
            self.objective.after_step(network)
            if lookahead is not None and ((step + 1) % recipe.lookahead_steps == 0 or step + 1 == steps):
                lookahead.move_back(recipe.lookahead_share_at(epoch + (step + 1) / steps))
            total += loss.detach()
            self.progress.step(epoch + 1, step + 1, steps)
        if accelerator.num_processes > 1:
            total = accelerator.reduce(total, "mean")
        return float(total) / steps

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.accelerator.autocast():
            logits = self.model(images)
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            what = f"{tuple(logits.shape)}" if isinstance(logits, Tensor) else _in_words(logits)
            raise UsageError(f"in training, the network gives {what}; it must give one tensor of (batch, classes)")
        with self.accelerator.autocast():
            return self.objective.loss(images, logits.float(), labels, self.recipe)


def evaluate(
    accelerator: Accelerator, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, of_views: bool = False
) -> tuple[float, float]:
    """Mean cross-entropy and share of right answers on the held-out split, of which each process has its share; with
    `of_views` of the mean logits of several views of each image."""
    network = accelerator.unwrap_model(model).eval()  # DDP would wait for the others at every batch
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in _placed(batches, accelerator.device):
            with _networks_own_errors(accelerator, f"evaluated on a batch of {len(images)}"):
                logits = _logits_of_views(network, images) if of_views else network(images).float()
            loss += cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(1) == labels).sum())
            count += len(labels)
    if accelerator.num_processes > 1:
        loss, right, count = _summed(accelerator, (loss, right, count))
    return loss / count, right / count


def _logits_of_views(network: nn.Module, images: Tensor) -> Tensor:
    """Half of the logits are the image's and its mirror's, a quarter each those of the image moved by a pixel along
    both axes, one way and the other, and of their mirrors; borders are reflected."""
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (1,) * 4, mode="reflect")
    views = ((0.5, images), (0.25, padded[..., :height, :width]), (0.25, padded[..., 2:, 2:]))
    logits = [share / 2 * network(side).float() for share, view in views for side in (view, view.flip(3))]
    return torch.stack(logits).sum(0)


def _summed(accelerator: Accelerator, numbers: tuple[float, int, int]) -> tuple[float, int, int]:
    """The sums over all processes."""
    loss, right, count = accelerator.gather(
        torch.tensor([numbers], dtype=torch.float64, device=accelerator.device)
    ).sum(0)
    return float(loss), int(right), int(count)


def _batch_size(recipe: Recipe, data: Data, processes: int) -> int:
    """Of all processes together: a recipe's batch is split among them."""
    batch_size = min(recipe.batch_size, data.train_images)
    if batch_size % processes:
        raise UsageError(f"batch_size={batch_size} must be divisible by the {processes} processes")
    return batch_size


def _done_before(checkpoint: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any],
                 progress: Progress, processes: int) -> tuple[Epoch, ...]:  # fmt: skip
    """The epochs that a checkpoint has, in every process; its state is the model's and the optimizer's now."""
    epochs, damaged = _resume(checkpoint, model, optimizer, identity, progress)
    if processes > 1:
        epochs = _as_main(optimizer, epochs)
    for path in damaged:
        set_aside(path)  # or the next checkpoint would make it the one before
    return epochs


def _resume(checkpoint: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any],
            progress: Progress) -> tuple[tuple[Epoch, ...], list[Path]]:  # fmt: skip
    """The epochs of the last checkpoint that can be read, put into the model, and the checkpoints that cannot."""
    damaged: list[Path] = []
    if checkpoint is None:
        return (), damaged
    kept = [path for path in (checkpoint, previous(checkpoint)) if path.exists()]
    for path in kept:
        try:
            epochs = load_checkpoint(path, model, optimizer, identity)
        except DamagedFileError as error:
            goes_on = "starting this run afresh" if path == kept[-1] else "going on from the checkpoint before it"
            progress.notice(f"{path} is damaged: {error.why}; set aside as {path.name}.damaged, and {goes_on}")
            damaged.append(path)
            continue
        progress.resumed(epochs)
        return epochs, damaged
    return (), damaged


def _as_main(optimizer: torch.optim.Optimizer, epochs: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """Go on where the main process does, which alone reads the checkpoint; DDP brings the weights."""
    shared: list[Any] = broadcast_object_list([epochs, optimizer.state_dict()], from_process=0)
    optimizer.load_state_dict(shared[1])
    return tuple(shared[0])


def _networks_own_errors(accelerator: Accelerator, what: str) -> AbstractContextManager[None]:
    """Around what runs the network's own code. Of many processes, one that is gone is told of here too, by errors that
    whoever has started the processes must see as they are."""
    return nullcontext() if accelerator.num_processes > 1 else foreign(f"the network cannot be {what}")


def _check_finite(loss: float, epoch: int, recipe: Recipe) -> None:
    if not math.isfinite(loss):
        raise NotFiniteError(
            f"the loss became {loss} in epoch {epoch + 1}; lower the learning rate (now {recipe.learning_rate}) or "
            f"lengthen the warm-up (now {recipe.warmup_epochs} epochs)"
        )


def _in_words(output: object) -> str:
    return f"a {type(output).__name__}" + (f" of {len(output)}" if isinstance(output, tuple | list | dict) else "")


def _placed(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches on the device; images as channels_last."""
    for images, labels in batches:
        yield images.to(device, memory_format=torch.channels_last), labels.to(device)
