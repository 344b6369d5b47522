"""Structured Bayesian pruning (Neklyudov et al., NIPS 2017), after the paper and its published code."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.lab.compress.dense_twin import put
from hetconv.lab.compress.filters import keep_largest
from hetconv.lab.compress.log_normal import kl_divergence, mean, sample, signal_to_noise
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.private import private_groups, remove
from hetconv.lab.compress.remove import FilterGroup, Surgery
from hetconv.lab.results import LayerChange
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Objective
from hetconv.nn import HetConv2d

START_LOG_SIGMA = -5.0
ACCELERATED_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""SBPa: what the KL of the first four convolutions is multiplied by."""
EPOCHS, BATCH_SIZE, LEARNING_RATE, BETAS = 300, 100, 1e-5, (0.95, 0.999)
NOISE_PATH = 15.0
"""How far the paper's training can move μ and ln σ: 10 · 1e-5, which is about Adam's step, times 300 · 500."""


@dataclass(frozen=True)
class Bayesian(Method):
    """Multiply each filter's output by a random θ, learn its distribution, remove filters of more noise than signal.

    Attributes:
        accelerated: SBPa, which weighs the first four convolutions' KL more.
        threshold: filters of E[θ]/sd[θ] below it go.
        noise_rate: learning rate of μ and ln σ over that of the weights. None: such that they can move as far as in the
            paper's training, where it is 10, in however many steps there are.

    Its own training is the paper's: from the trained network 300 epochs, Adam, 1e-5, batches of 100, batch norm in
    inference mode, no weight decay. A shorter one moves the weights less, which are trained already, and the noise as
    far. Raising the weights' rate instead fails: with batch norm in inference mode nothing holds their scale, and at
    2e-3 the network answers by chance after one epoch. Of HetConv layers as many filters stay in each part as the part
    with most of them needs; those of a signal below the threshold among them stay too.

    Raises:
        UsageError: a setting is not positive.
    """

    accelerated: bool = False
    threshold: float = 1.0
    noise_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("threshold", "noise_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name}={value} must be above 0")

    def check(self, model: nn.Module, example: Tensor) -> None:
        private_groups(Surgery(model, example))

    def preparation(self, recipe: Recipe) -> Recipe | None:
        return replace(
            recipe, epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE, weight_decay=0.0,
            schedule="constant", step_epochs=(), warmup_epochs=0.0,
        )  # fmt: skip

    def prepare(self, model: nn.Module, example: Tensor) -> nn.Module:
        return with_noise(model, [group.name for group in private_groups(Surgery(model, example))])

    def objective(self, model: nn.Module, example: Tensor, images: int) -> Objective:
        return EvidenceBound(images, ACCELERATED_WEIGHTS if self.accelerated else (), self.noise_rate)

    def prune(self, model: nn.Module, example: Tensor, round_number: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        noisy = {name: module for name, module in model.named_modules() if isinstance(module, NoisyConv)}
        signals = {name: conv.noise.signal_to_noise() for name, conv in noisy.items()}
        plain = without_noise(model)
        surgery = Surgery(plain, example)
        groups = private_groups(surgery)
        kept = {group.name: self._kept(group, signals[group.name]) for group in groups}
        return remove(surgery, kept)

    def _kept(self, group: FilterGroup, signals: Tensor) -> tuple[int, ...]:
        clear = (signals >= self.threshold).tolist()
        each = max(sum(clear[index] for index in members) for members in group.parts.of(group.filters))
        return keep_largest(signals, group.parts, max(1, each))


class Noise(nn.Module):
    """θ of each channel: drawn for each image while training, E[θ] otherwise.

    Shape:
        input and output (B, C, H, W)
    """

    def __init__(self, channels: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))
        self.log_sigma = nn.Parameter(torch.full((channels,), START_LOG_SIGMA, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            uniform = torch.rand(len(x), len(self.mu), device=x.device)
            return x * sample(self.mu, self.log_sigma, uniform)[:, :, None, None]
        return x * self.mean()[:, None, None]

    def mean(self) -> Tensor:
        return mean(self.mu, self.log_sigma).to(self.mu.dtype)

    @torch.no_grad()
    def signal_to_noise(self) -> Tensor:
        return signal_to_noise(self.mu, self.log_sigma)

    def kl_divergence(self) -> Tensor:
        """Summed over channels."""
        return kl_divergence(self.mu, self.log_sigma).sum().to(self.mu.dtype)


class NoisyConv(nn.Module):
    """A convolution whose output is multiplied by noise before its bias is added."""

    def __init__(self, conv: nn.Conv2d | HetConv2d) -> None:
        super().__init__()
        weight = next(conv.parameters())
        self.bias, conv.bias = conv.bias, None
        self.conv = conv
        self.noise = Noise(conv.out_channels, weight.device, weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.noise(self.conv(x))
        return y if self.bias is None else y + self.bias[:, None, None]

    def plain(self) -> nn.Module:
        """The convolution that computes the same in evaluation mode: E[θ] is in its weights."""
        conv = self.conv
        factors = self.noise.mean().detach()
        with torch.no_grad():
            for weight in conv.parameters():
                weight.mul_(factors.reshape(-1, *(1,) * (weight.dim() - 1)))
        conv.bias = self.bias
        return conv


class EvidenceBound(Objective):
    """The KL of all noise over the number of training images, which is the paper's bound over that number.

    Args:
        weights: what the KL of the first convolutions is multiplied by; of the others it counts once.
        noise_rate: learning rate of μ and ln σ over that of the weights; None as in `Bayesian`.
    """

    def __init__(self, images: int, weights: tuple[float, ...], noise_rate: float | None) -> None:
        self.images, self.weights, self.noise_rate = images, weights, noise_rate

    def optimizer(self, model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        noises = [module for module in model.modules() if isinstance(module, Noise)]
        variational = [parameter for noise in noises for parameter in noise.parameters()]
        known = {id(parameter) for parameter in variational}
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
        scale = noise_rate_of(recipe, self.images) if self.noise_rate is None else self.noise_rate
        groups: list[dict[str, Any]] = [{"params": rest}, {"params": variational, "lr_scale": scale}]
        return torch.optim.Adam(groups, lr=recipe.learning_rate, betas=BETAS)

    def begin(self, model: nn.Module) -> None:
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    def penalty(self, model: nn.Module) -> Tensor:
        noises = [module for module in model.modules() if isinstance(module, Noise)]
        weights = [*self.weights, *[1.0] * len(noises)]
        terms = [weight * noise.kl_divergence() for weight, noise in zip(weights, noises, strict=False)]
        return torch.stack(terms).sum() / self.images


def noise_rate_of(recipe: Recipe, images: int) -> float:
    """What the learning rate is to be multiplied by for its sum over all steps to be NOISE_PATH."""
    rates = sum(recipe.learning_rate_at(epoch + 0.5) for epoch in range(recipe.epochs))
    steps = images // min(recipe.batch_size, images)
    return NOISE_PATH / (steps * rates) if rates > 0 else 1.0


def with_noise(model: nn.Module, names: list[str]) -> nn.Module:
    """A copy whose named convolutions are followed by noise."""
    noisy = copy.deepcopy(model)
    for name in names:
        conv = noisy.get_submodule(name)
        assert isinstance(conv, nn.Conv2d | HetConv2d)
        put(noisy, name, NoisyConv(conv))
    return noisy


def without_noise(model: nn.Module) -> nn.Module:
    """A copy that computes the same in evaluation mode, with E[θ] in its weights."""
    plain = copy.deepcopy(model)
    noisy = {name: module for name, module in plain.named_modules() if isinstance(module, NoisyConv)}
    for name, module in noisy.items():
        put(plain, name, module.plain())
    return plain
