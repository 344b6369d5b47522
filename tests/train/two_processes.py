"""One of two processes, or the only one: the gradients of its share of a batch, which DDP averages.

Two processes then train, once undisturbed and once from a checkpoint, which only the first one has.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from hetconv.models import create_model
from hetconv.train import Recipe, load_data, train
from hetconv.train.sync_norm import synchronized

rank, world, out = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
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
if world > 1:
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
    torch.distributed.destroy_process_group()
