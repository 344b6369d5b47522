import itertools

import pytest
import torch

from hetconv.adaptation.knapsack import Option, choose


def total(layers, choice):
    chosen = [options[index] for options, index in zip(layers, choice, strict=True)]
    return sum(option.time for option in chosen), sum(option.loss for option in chosen)


def brute_force(layers, budget):
    """The least loss within the budget and the least time that has it, over every choice; None where there is none."""
    sums = (total(layers, choice) for choice in itertools.product(*(range(len(options)) for options in layers)))
    return min(((loss, time) for time, loss in sums if time <= budget), default=None)


def random_layers(seed, whole):
    generator = torch.Generator().manual_seed(seed)

    def number():
        return (
            float(torch.randint(1, 12, (), generator=generator))
            if whole
            else float(torch.rand((), generator=generator))
        )

    counts = torch.randint(1, 5, (6,), generator=generator).tolist()
    return [[Option(number(), number()) for _ in range(count)] for count in counts]


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "fractions"])
@pytest.mark.parametrize("seed", range(20))
def test_it_is_brute_forces_choice(seed, whole):
    layers = random_layers(seed, whole)
    slowest = sum(max(option.time for option in options) for options in layers)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        found, expected = choose(layers, share * slowest), brute_force(layers, share * slowest)
        if expected is None:
            assert found is None
        else:
            time, loss = total(layers, found)
            assert (loss, time) == pytest.approx(expected, rel=1e-12)  # sums in another order


def test_a_budget_that_only_the_fastest_meet_is_met():
    layers = [[Option(0.1, 5.0), Option(0.3, 0.0)]] * 10
    assert choose(layers, sum([0.1] * 10)) == [0] * 10


def test_the_budget_itself_is_allowed():
    assert choose([[Option(1, 1), Option(2, 0)], [Option(1, 1), Option(2, 0)]], 3) in ([0, 1], [1, 0])


def test_no_layers_take_no_time():
    assert choose([], 0.0) == []
    assert choose([], -1.0) is None


def test_many_layers_of_one_kind_and_of_many_kinds():
    """As in a deep network: the optimum of like layers is known, and sixty unlike ones are still done."""
    alike = [[Option(9.0, 0.0), Option(5.0, 1.0), Option(3.0, 3.0)]] * 60
    assert total(alike, choose(alike, 400.0)) == (400.0, 35.0)  # 35 layers give up 4 for 1 each
    generator = torch.Generator().manual_seed(0)
    unlike = []
    for scale in torch.rand(60, generator=generator).tolist():
        times = [scale * (1 + 8 / p) for p in (1, 2, 4, 8, 16, 32)]
        jitter = torch.rand(6, generator=generator).tolist()
        losses = [0.0, *(p**0.7 * (0.5 + one) for p, one in zip((2, 4, 8, 16, 32), jitter, strict=False))]
        unlike.append([Option(time, loss) for time, loss in zip(times, losses, strict=True)])
    budget = sum(options[0].time for options in unlike) / 2
    assert total(unlike, choose(unlike, budget))[0] <= budget
