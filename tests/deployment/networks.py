"""Networks whose results are exact: small whole numbers, and batch norms that scale by powers of two."""

import torch
from torch import nn
from torch.nn.functional import relu

from hetconv import Deployed, HetConv2d
from hetconv.deployment import choose, find_parts


def exact(model: nn.Module) -> nn.Module:
    """The model in evaluation mode with weights and statistics that make every sum exact in float32."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eps = 0.0
                if module.running_mean is not None:
                    module.running_mean.copy_(torch.randint(-2, 3, module.running_mean.shape))
                    module.running_var.copy_(4.0 ** torch.randint(-1, 2, module.running_var.shape))
                module.weight.copy_(torch.randint(1, 3, module.weight.shape))
                module.bias.copy_(torch.randint(-2, 3, module.bias.shape))
            else:
                for parameter in module.parameters(recurse=False):
                    parameter.copy_(torch.randint(-1, 2, parameter.shape))
    return model.eval()


def images(batch: int = 2, channels: int = 4, height: int = 6, width: int = 5) -> torch.Tensor:
    return torch.randint(-2, 3, (batch, channels, height, width)).float()


def het(in_channels: int = 4, out_channels: int = 4, **options: object) -> HetConv2d:
    return HetConv2d(in_channels, out_channels, 3, padding=1, p=2, **options)  # type: ignore[arg-type]


def calls(deployed: Deployed, part: str = "") -> list[str]:
    """What the graph of the whole, or of a part, calls, in order."""
    graph = deployed.network.get_submodule(part).graph.graph
    names = (getattr(node.target, "__name__", str(node.target)) for node in graph.nodes if node.op.startswith("call"))
    return [name.removesuffix(".default") for name in names]


def choose_native(monkeypatch, *, native: bool) -> None:
    """Let standard convolutions, and networks as one call, always or never run natively, whatever time they take."""
    times = choose.Times(1.0, 2.0) if native else choose.Times(2.0, 1.0)
    monkeypatch.setattr(choose, "_measure", lambda work: times)
    monkeypatch.setattr(find_parts, "call_is_faster", lambda one_call, calls: (native, times))


class Block(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + x)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = het(), nn.BatchNorm2d(4), het(bias=False), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + x)


class Written(nn.Module):
    """One function of the input and of two layers, a convolution and a batch norm."""

    def __init__(self, function, conv: nn.Module | None = None, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.function = function
        self.conv = het() if conv is None else conv
        self.norm = nn.BatchNorm2d(4) if norm is None else norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, self.conv, self.norm)
