"""Two processes, and one alone: the gradients of their shares of a batch, which DDP averages.

The two then train, once undisturbed and once from a checkpoint, which only the first one has. All three are forked
from one, so that PyTorch is imported once.
"""

import multiprocessing
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from hetconv.lab.models import create_model
from hetconv.lab.settings import Recipe
from hetconv.lab.train import load_data, train
from hetconv.lab.train.sync_norm import synchronized


def gradients(rank: int, world: int, out: Path) -> None:
    torch.manual_seed(0)
    network = create_model("resnet20_cifar", "het-p2", width=0.25).double()
    images, labels = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8) % 10
    model: nn.Module = network
    if world > 1:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
        network = synchronized(network, torch.device("cpu"))
        model = nn.parallel.DistributedDataParallel(network)
    share = slice(rank * 8 // world, (rank + 1) * 8 // world)
    nn.functional.cross_entropy(model.train()(images[share]), labels[share]).backward()
    found = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    found |= {name: buffer.double() for name, buffer in network.named_buffers()}
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, out / f"{world}-{rank}.safetensors")


def trainings(rank: int, out: Path) -> None:
    data = load_data("digits", train_limit=64)
    for run, epochs, at in (("undisturbed", 2, None), ("first", 1, "c"), ("resumed", 2, "c")):
        torch.manual_seed(0)
        network = create_model("resnet20_cifar", "het-p2", width=0.25)
        checkpoint = None if at is None else out / f"rank-{rank}" / f"{at}.safetensors"
        found = train(
            network, data, Recipe(epochs=epochs, batch_size=32, schedule="constant"), 3, checkpoint=checkpoint
        )
        state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file(state, out / f"{run}-{rank}.safetensors")
        (out / f"{run}-{rank}.txt").write_text(repr([replace(epoch, seconds=0.0) for epoch in found]))


def process(rank: int, world: int, out: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    gradients(rank, world, out)
    if world > 1:
        trainings(rank, out)
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    fork = multiprocessing.get_context("fork")
    places = ((0, 1), (0, 2), (1, 2))
    processes = [fork.Process(target=process, args=(rank, world, Path(sys.argv[1]))) for rank, world in places]
    for started in processes:
        started.start()
    for started in processes:
        started.join()
    sys.exit(max(abs(started.exitcode or 0) for started in processes))
