"""Small networks for the tests of this folder, and the check that all of them share."""

import torch
from torch import nn

from hetconv import HetConv2d, relayout


def het(m, n, p=4, arrangement="shifted", **options):
    return HetConv2d(m, n, 3, padding=1, p=p, arrangement=arrangement, **options)


def whole(model):
    """Weights and statistics that are small whole numbers, so that sums are exact in any order."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.randint(-2, 3, tensor.shape, generator=generator))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eps = 0.0
                module.running_var.copy_(4.0 ** torch.randint(-1, 2, module.running_var.shape, generator=generator))
    return model.eval()


def image(channels=3, size=8):
    return torch.randint(-3, 4, (2, channels, size, size), generator=torch.Generator().manual_seed(1)).double()


def layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, HetConv2d)}


def check(model, x=None, gather=False, to="blocked"):
    """Move a network of whole numbers, compare its output with `==`, and move it back to the same bits."""
    model = whole(model.double())
    x = image() if x is None else x
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        expected = model(x)
        assert expected.abs().max() > 0
        moved = relayout(model, to, gather=gather)
        assert torch.equal(moved(x), expected)
    assert layers(moved)
    assert all(layer.arrangement == to for layer in layers(moved).values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    if not isinstance(moved, torch.fx.GraphModule):
        back = relayout(moved, "shifted" if to == "blocked" else "blocked")
        assert all(torch.equal(tensor, before[name]) for name, tensor in back.state_dict().items())
    return moved
