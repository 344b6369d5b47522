from dataclasses import replace

from hetconv.lab.report.kernels import cells, drawings, kernel_paths
from hetconv.pattern import HetPattern

from .example import complexity, het_layer


def test_the_papers_figure() -> None:
    """Fig. 3: filter n has K×K kernels on channels n mod P, n mod P + P, …"""
    grid = cells(HetPattern(8, 8, 3, 4))
    assert grid.scope == "The whole layer."
    assert [[c for c, is_spatial in enumerate(row) if is_spatial] for row in grid.spatial] == [
        [0, 4],
        [1, 5],
        [2, 6],
        [3, 7],
    ] * 2


def test_a_large_layer_shows_its_period() -> None:
    grid = cells(HetPattern(64, 128, 3, 4))
    assert (len(grid.spatial), len(grid.spatial[0])) == (8, 8)
    assert grid.scope == "The pattern repeats every 4 filters and channels; its first 8 × 8 are drawn."


def test_a_long_period_is_cut_and_says_so() -> None:
    grid = cells(HetPattern(512, 512, 3, 512))
    assert (len(grid.spatial), len(grid.spatial[0])) == (16, 16)
    assert "every 512 filters" in grid.scope
    assert "first 16 × 16" in grid.scope


def test_blocks_are_drawn_as_blocks() -> None:
    grid = cells(HetPattern(64, 128, 3, 4, "blocked"))
    assert grid.spatial == tuple(tuple(row == column for column in range(4)) for row in range(4))
    (drawing,) = drawings([het_layer(0, (64, 128, 4), 4, "blocked")])
    assert drawing.cells == grid
    assert drawing.layers[0][1].endswith("a block is 32 filters × 16 channels")


def test_layers_of_one_picture_are_drawn_once() -> None:
    shown = drawings(complexity(4).layers)
    assert [len(drawing.layers) for drawing in shown] == [7]
    assert shown[0].layers[-1] == ("features.21", "128 → 128 channels; each filter has 32 3×3 and 96 1×1 kernels")
    assert drawings(complexity(1).layers) == ()


def test_other_kernels_are_other_pictures() -> None:
    layer = het_layer(0, (16, 16, 8), 4)
    assert len(drawings([layer, replace(layer, kernel_size=(5, 5)), replace(layer, arrangement="blocked")])) == 3


def test_every_tap_is_a_square() -> None:
    spatial, pointwise, width, height = kernel_paths(cells(HetPattern(8, 4, 3, 4)))
    assert spatial.count("M") == 4 * 2 * 9
    assert pointwise.count("M") == 4 * 6
    assert (width, height) == (8 * 18 - 3, 4 * 18 - 3)
