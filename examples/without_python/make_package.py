"""Deploys a network, compiles it into a package for C++, and prints the package's output on a fixed input.

python make_package.py package.pt2
"""

import sys

import torch

import hetconv
import hetconv.lab

SIZE = (2, 3, 32, 32)


def make_input(size: tuple[int, ...]) -> torch.Tensor:
    """The same numbers as run.cpp's: multiples of 1/512 in [-1, 1)."""
    count = torch.Size(size).numel()
    return (torch.arange(count) * 389 % 1024 - 512).float().div(512).reshape(size)


torch.manual_seed(0)
x = make_input(SIZE)
deployed = hetconv.deploy(hetconv.lab.create_model("resnet20_cifar", "het-p4"), x)
with torch.no_grad():
    exported = torch.export.export(deployed, (x,))
    torch._inductor.aoti_compile_and_package(exported, package_path=sys.argv[1])
    for value in deployed(x).flatten().tolist():
        print(f"{value:.9g}")
