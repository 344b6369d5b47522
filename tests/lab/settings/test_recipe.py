import pytest

from hetconv.errors import UsageError
from hetconv.lab.settings import Recipe


def test_cosine_rises_and_falls() -> None:
    recipe = Recipe(epochs=11, learning_rate=0.2, warmup_epochs=1)
    rates = [recipe.learning_rate_at(epoch) for epoch in (0.5, 1, 6, 11)]
    assert rates == pytest.approx([0.1, 0.2, 0.1, 0.0], abs=1e-12)


def test_one_cycle_rises_and_falls_along_lines() -> None:
    recipe = Recipe(epochs=11, learning_rate=0.2, warmup_epochs=1, schedule="one-cycle")
    rates = [recipe.learning_rate_at(epoch) for epoch in (0.5, 1, 6, 8.5, 11)]
    assert rates == pytest.approx([0.1, 0.2, 0.1, 0.05, 0.0], abs=1e-12)


def test_step_falls_at_each_milestone() -> None:
    recipe = Recipe(epochs=200, schedule="step", step_epochs=(50, 100), step_factor=0.1, warmup_epochs=0)
    rates = [recipe.learning_rate_at(epoch) for epoch in (0, 49.9, 50, 100, 200)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.001], rel=1e-12)


def test_constant_stays() -> None:
    recipe = Recipe(schedule="constant", warmup_epochs=0)
    assert {recipe.learning_rate_at(epoch) for epoch in (0, 15, 30)} == {0.1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1}, {"learning_rate": float("nan")}, {"momentum": 1},
        {"label_smoothing": 1.5}, {"schedule": "linear"}, {"schedule": "step"}, {"mixed_precision": "fp8"},
        {"weight_decay": -1e-4}, {"warmup_epochs": -1},
        {"warmup_epochs": float("inf")}, {"learning_rate": float("inf")}, {"step_factor": 0},
        {"first_share": -0.1}, {"last_share": 1.5}, {"norm_bias_scale": -1}, {"lookahead_steps": -5},
        {"augmentation": "mixup"},
    ],
)  # fmt: skip
def test_wrong_settings_name_themselves(wrong: dict[str, object]) -> None:
    name = next(iter(wrong))
    with pytest.raises(UsageError, match=f"{name}="):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_a_triangle_begins_and_ends_at_its_shares() -> None:
    recipe = Recipe(
        epochs=10, learning_rate=1.5, warmup_epochs=2.5, schedule="one-cycle", first_share=0.2, last_share=0.1
    )
    rates = [recipe.learning_rate_at(epoch) for epoch in (1.25, 2.5, 6.25, 10)]
    assert rates == pytest.approx([1.5 * 0.6, 1.5, 1.5 * 0.55, 1.5 * 0.1], rel=1e-12)


def test_a_cosine_ends_at_its_share() -> None:
    recipe = Recipe(epochs=11, learning_rate=0.2, warmup_epochs=1, last_share=0.5)
    assert [recipe.learning_rate_at(e) for e in (1, 6, 11)] == pytest.approx([0.2, 0.15, 0.1], rel=1e-12)


def test_lookahead_moves_back_by_the_cube_of_what_is_done() -> None:
    recipe = Recipe(epochs=10, lookahead_steps=5)
    shares = [recipe.lookahead_share_at(epoch) for epoch in (0, 5, 10)]
    assert shares == pytest.approx([0, 0.95**5 / 8, 0.95**5], rel=1e-12)
