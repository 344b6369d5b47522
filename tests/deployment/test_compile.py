"""Deployed networks under torch.compile and torch.export."""

import pytest
import torch
import torch._dynamo.testing

from hetconv import deploy

from .networks import Block, exact, images
from .test_parts import Decides

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own while it compiles


def test_compiles_as_one_graph():
    torch._dynamo.reset()
    deployed = deploy(exact(Block()), images())
    compiled = torch.compile(deployed, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        for x in (images(), images(3), images(1, 4, 8, 9)):
            assert torch.equal(compiled(x), deployed(x))


def test_compiles_once_for_all_sizes():
    torch._dynamo.reset()
    deployed = deploy(exact(Block()), images())
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(deployed, fullgraph=True, dynamic=True, backend=counter)
    with torch.no_grad():
        for x in (images(), images(3), images(5, 4, 8, 9)):
            assert torch.equal(compiled(x), deployed(x))
    assert counter.frame_count == 1


def test_exports_for_any_batch():
    deployed, x = deploy(exact(Block()), images()), images()
    with torch.no_grad():
        batch = torch.export.Dim("batch", min=2, max=64)
        exported = torch.export.export(deployed, (x,), dynamic_shapes=(({0: batch},),)).module()
        for x in (images(), images(5)):
            assert torch.equal(exported(x), deployed(x))


def test_a_network_in_parts_compiles_around_its_own_code():
    torch._dynamo.reset()
    deployed = deploy(exact(Decides()), images())
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(deployed, backend="eager")(images(3)).shape, torch.Size((3, 4)))
