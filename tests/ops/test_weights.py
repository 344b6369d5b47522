"""The two weight tensors as one dense kernel, and back."""

import torch
from hypothesis import given

from hetconv.ops.weights import from_dense_weight, to_dense_weight

from .case import cases, integers


@given(cases())
def test_dense_kernel_element_by_element(case):
    pattern = case.pattern
    _, spatial, pointwise, *_ = case.tensors()
    dense = to_dense_weight(spatial, pointwise, pattern)
    height, width = pattern.kernel_hw
    for n in range(pattern.out_channels):
        for j, c in enumerate(pattern.spatial_channels(n)):
            assert torch.equal(dense[n, c], spatial[n, j])
        for j, c in enumerate(pattern.pointwise_channels(n)):
            right = torch.zeros_like(dense[n, c])
            right[height // 2, width // 2] = pointwise[n, j]
            assert torch.equal(dense[n, c], right)


@given(cases())
def test_back_is_the_inverse(case):
    _, spatial, pointwise, *_ = case.tensors()
    back = from_dense_weight(to_dense_weight(spatial, pointwise, case.pattern), case.pattern)
    assert torch.equal(back[0], spatial)
    assert torch.equal(back[1], pointwise)


@given(cases())
def test_projection_keeps_what_the_pattern_keeps(case):
    """Of any kernel, projecting twice is projecting once, and nothing kept is changed."""
    pattern = case.pattern
    kernel = integers((pattern.out_channels, pattern.in_channels, *pattern.kernel_hw))
    once = to_dense_weight(*from_dense_weight(kernel, pattern), pattern)
    assert torch.equal(once[once != 0], kernel[once != 0])
    assert torch.equal(to_dense_weight(*from_dense_weight(once, pattern), pattern), once)
