"""One of two processes, or the only one: the gradients of its share of a batch, which DDP averages."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from hetconv.models import create_model
from hetconv.train.sync_norm import synchronized

rank, world, port, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
torch.set_num_threads(1)
torch.manual_seed(0)
network = create_model("resnet20_cifar", "het-p2", width=0.25).double()
images, labels = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8) % 10
model: nn.Module = network
if world > 1:
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    network = synchronized(network, torch.device("cpu"))
    model = nn.parallel.DistributedDataParallel(network)
share = slice(rank * 8 // world, (rank + 1) * 8 // world)
nn.functional.cross_entropy(model.train()(images[share]), labels[share]).backward()
found = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
found |= {name: buffer.double() for name, buffer in network.named_buffers()}
save_file({name: tensor.contiguous() for name, tensor in found.items()}, out / f"{world}-{rank}.safetensors")
if world > 1:
    torch.distributed.destroy_process_group()
