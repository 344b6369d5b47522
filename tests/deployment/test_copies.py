"""Copies of deployed networks, in this process and in others: the same numbers."""

import copy
import io
import multiprocessing
import pickle

import pytest
import torch
from torch import nn

from hetconv import HetConv2d, deploy
from hetconv.errors import UsageError
from hetconv.ops import native

from .networks import Block, exact, het, images


class Decides(nn.Module):
    """Captured in parts; its code reads a number of one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = Block(), het()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.one(x)
        return self.other(y if y.sum() > 1e9 else -y) / self.other.p


def through_torch_save(deployed: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(deployed, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda deployed: pickle.loads(pickle.dumps(deployed)),
    "torch.save": through_torch_save,
    "twice": lambda deployed: pickle.loads(pickle.dumps(copy.deepcopy(deployed))),
}


@pytest.mark.parametrize("made", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("network", [Block, Decides])
def test_a_copy_computes_the_same(made, network) -> None:
    deployed = deploy(exact(network()), images())
    copied, x = made(deployed), images(3)
    assert torch.equal(copied(x), deployed(x))
    assert copied.report == deployed.report
    assert not copied.training


def test_a_deep_copy_has_weights_of_its_own() -> None:
    deployed, x = deploy(exact(Block()), images()), images()
    right, copied = deployed(x), copy.deepcopy(deployed)
    for buffer in copied.buffers():
        buffer.zero_()
    assert torch.equal(deployed(x), right)


def test_a_pickle_is_packed_for_the_instruction_set_that_runs() -> None:
    deployed, x, best = deploy(exact(Block()), images()), images(), native.instruction_set()
    right, data = deployed(x), pickle.dumps(deployed)
    try:
        native.choose_instruction_set("portable")
        assert torch.equal(pickle.loads(data)(x), right)
        if best != "portable":
            with pytest.raises(UsageError, match=r"the weights were not packed for HetPattern"):
                pickle.dumps(deployed)
    finally:
        native.choose_instruction_set(best)


def test_another_process_computes_the_same() -> None:
    deployed = deploy(exact(nn.Sequential(HetConv2d(4, 4, 3, p=2), nn.ReLU())), images())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        x = images(1)
        assert torch.equal(pool.apply(deployed, (x,)), deployed(x))
