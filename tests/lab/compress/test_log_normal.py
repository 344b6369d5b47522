"""The closed forms of Bayesian pruning against numerical integration and scipy's truncated normal."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import truncnorm

from hetconv.lab.compress.log_normal import HIGH, LOW, kl_divergence, mean, sample, signal_to_noise
from hetconv.lab.compress.sbp import START_LOG_SIGMA

CASES = [(0.0, START_LOG_SIGMA), (-0.5, -2.0), (-3.0, 0.0), (-10.0, 1.0), (-21.0, 1.5), (2.0, 0.5), (-1.0, 4.0)]
QUADRATURE = 1e-7
"""scipy.integrate.quad promises 1.5e-8 of the integral; three of them enter."""


def distribution(mu: float, log_sigma: float):
    sigma = math.exp(log_sigma)
    return truncnorm((LOW - mu) / sigma, (HIGH - mu) / sigma, loc=mu, scale=sigma)


def integral(mu: float, log_sigma: float, of) -> float:
    """∫ of(log θ)·q(log θ), cut where the density lives so that the quadrature does not miss it."""
    q = distribution(mu, log_sigma)
    ends = [q.ppf(share) for share in (0, 1e-13, 1e-6, 1e-3, 0.5, 1 - 1e-3, 1 - 1e-6, 1)]
    pieces = itertools.pairwise(ends)
    return sum(
        quad(lambda x: of(x) * q.pdf(x), low, high, epsabs=0, limit=200)[0] for low, high in pieces if low < high
    )


@pytest.mark.parametrize(("mu", "log_sigma"), CASES)
def test_kl_divergence(mu: float, log_sigma: float) -> None:
    q = distribution(mu, log_sigma)
    expected = integral(mu, log_sigma, lambda x: q.logpdf(x) + math.log(HIGH - LOW))
    found = kl_divergence(torch.tensor(mu), torch.tensor(log_sigma, dtype=torch.float64))
    assert float(found) == pytest.approx(expected, rel=QUADRATURE, abs=QUADRATURE)


@pytest.mark.parametrize(("mu", "log_sigma"), CASES)
def test_mean_and_signal_to_noise(mu: float, log_sigma: float) -> None:
    first = integral(mu, log_sigma, math.exp)
    spread = integral(mu, log_sigma, lambda x: (math.exp(x) - first) ** 2)
    tensors = torch.tensor(mu, dtype=torch.float64), torch.tensor(log_sigma, dtype=torch.float64)
    assert float(mean(*tensors)) == pytest.approx(first, rel=QUADRATURE)
    assert float(signal_to_noise(*tensors)) == pytest.approx(first / math.sqrt(spread), rel=1e-6)


@pytest.mark.parametrize(("mu", "log_sigma"), CASES)
def test_samples_have_the_distribution(mu: float, log_sigma: float) -> None:
    shares = torch.tensor([0.001, 0.1, 0.5, 0.9, 0.999], dtype=torch.float64)
    sizes = torch.full_like(shares, mu), torch.full_like(shares, log_sigma)
    expected = torch.from_numpy(distribution(mu, log_sigma).ppf(shares.numpy())).exp()
    torch.testing.assert_close(sample(*sizes, shares), expected, rtol=1e-6, atol=1e-12)


def test_samples_carry_gradients_that_agree_with_differences() -> None:
    uniform = torch.tensor([0.2, 0.7], dtype=torch.float64)
    mu = torch.tensor([-1.0, -4.0], dtype=torch.float64, requires_grad=True)
    log_sigma = torch.tensor([-1.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, s: sample(m, s, uniform), (mu, log_sigma))
    assert torch.autograd.gradcheck(kl_divergence, (mu, log_sigma))


def test_extreme_parameters_stay_finite() -> None:
    mu = torch.tensor([0.0, -60.0, 30.0, -10.0, 0.0], requires_grad=True)
    log_sigma = torch.tensor([-14.0, -3.0, -3.0, 6.0, 8.0], requires_grad=True)
    values = [kl_divergence(mu, log_sigma), mean(mu, log_sigma), signal_to_noise(mu, log_sigma)]
    assert all(torch.isfinite(value).all() for value in values)
    kl_divergence(mu, log_sigma).sum().backward()
    assert mu.grad is not None
    assert torch.isfinite(mu.grad).all()
