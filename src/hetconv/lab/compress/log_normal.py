"""The truncated log-normal distribution of structured Bayesian pruning (Neklyudov et al., NIPS 2017, section 3).

log θ ~ N(μ, σ²) truncated to [LOW, HIGH] is the posterior; the prior is log-uniform on the same interval. All closed
forms are taken in logarithms, and in float64, so that they hold for σ from 1e-6 to far beyond the interval.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOW, HIGH = -20.0, 0.0
LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def kl_divergence(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL of the posterior from the prior, elementwise: −ln σ − ln Z − (αφ(α) − βφ(β))/(2Z) + ln(b−a) − ½ln(2πe)."""
    mu, log_sigma = mu.double(), log_sigma.double()
    alpha, beta = _limits(mu, log_sigma.exp())
    log_z = _log_mass(alpha, beta)
    edges = (alpha * (_log_density(alpha) - log_z).exp() - beta * (_log_density(beta) - log_z).exp()) / 2
    return -log_sigma - log_z - edges + math.log(HIGH - LOW) - LOG_SQRT_2PI - 0.5


def log_moment(mu: Tensor, log_sigma: Tensor, order: int) -> Tensor:
    """ln E[θ^order], elementwise."""
    mu, sigma = mu.double(), log_sigma.double().exp()
    alpha, beta = _limits(mu, sigma)
    shifted = _log_mass(alpha - order * sigma, beta - order * sigma)
    return order * mu + (order * sigma).square() / 2 + shifted - _log_mass(alpha, beta)


def mean(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """E[θ], elementwise."""
    return log_moment(mu, log_sigma, 1).exp()


def signal_to_noise(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """E[θ] over the standard deviation of θ, elementwise."""
    spread = torch.expm1(log_moment(mu, log_sigma, 2) - 2 * log_moment(mu, log_sigma, 1))
    ratio: Tensor = spread.clamp_min(torch.finfo(spread.dtype).tiny).rsqrt()
    return ratio


def sample(mu: Tensor, log_sigma: Tensor, uniform: Tensor) -> Tensor:
    """θ by the inverse of its distribution function, differentiable in μ and ln σ.

    Args:
        mu, log_sigma: (C)
        uniform: numbers from [0, 1), (…, C)
    """
    wide_mu, sigma = mu.double(), log_sigma.double().exp()
    alpha, beta = _limits(wide_mu, sigma)
    low, high = torch.special.ndtr(alpha), torch.special.ndtr(beta)
    share = (low + (high - low) * uniform.double()).clamp(1e-15, 1 - 1e-15)
    log_theta = (wide_mu + sigma * torch.special.ndtri(share)).clamp(LOW, HIGH)
    theta: Tensor = log_theta.exp().to(mu.dtype)
    return theta


def _limits(mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """α and β: the interval's ends in standard deviations from μ."""
    return (LOW - mu) / sigma, (HIGH - mu) / sigma


def _log_mass(low: Tensor, high: Tensor) -> Tensor:
    """ln(Φ(high) − Φ(low)), low < high; above 0 both are mirrored, where Φ does not round to 1."""
    mirrored = low > 0
    near, far = torch.where(mirrored, -low, high), torch.where(mirrored, -high, low)
    below = torch.special.log_ndtr(near)
    mass: Tensor = below + torch.log1p(-torch.exp(torch.special.log_ndtr(far) - below))
    return mass


def _log_density(x: Tensor) -> Tensor:
    return -x.square() / 2 - LOG_SQRT_2PI
