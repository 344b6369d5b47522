"""Layers whose zero weights are neither stored nor multiplied, for connection pruning; they are for inference."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.nn.het_conv import HetConv2d
from hetconv.ops.flops import register_flops


@torch.library.custom_op("hetconv::sparse_matmul", mutates_args=())
def sparse_matmul(row_starts: Tensor, columns: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """A sparse (N, M) matrix in compressed rows times a dense (M, L) one: (N, L).

    Args:
        row_starts: (N + 1), columns: (nonzeros), values: (nonzeros)
    """
    size = (len(row_starts) - 1, x.shape[0])
    return torch.sparse_csr_tensor(row_starts, columns, values, size, check_invariants=False) @ x


@sparse_matmul.register_fake
def _(row_starts: Tensor, columns: Tensor, values: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(row_starts.shape[0] - 1, x.shape[1])


def _flops(_rows: Any, columns: Any, _values: Any, x: Any, *_: Any, **__: Any) -> int:
    return int(2 * columns[0] * x[1])


register_flops({torch.ops.hetconv.sparse_matmul: _flops})


class _SparseMatrix(nn.Module):
    """Compressed rows of a matrix, of which the values are parameters without gradient."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        with warnings.catch_warnings():  # once in a process PyTorch says that its sparse matrices are new
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            rows = matrix.detach().to_sparse_csr()
        self.register_buffer("row_starts", rows.crow_indices().to(torch.int32))
        self.register_buffer("columns", rows.col_indices().to(torch.int32))
        self.values = nn.Parameter(rows.values(), requires_grad=False)

    @property
    def nonzeros(self) -> int:
        return self.values.numel()

    def _times(self, x: Tensor) -> Tensor:
        y: Tensor = sparse_matmul(self.row_starts, self.columns, self.values, x)
        return y


class SparseConv2d(_SparseMatrix):
    """A convolution with the nonzero weights of another one, as a sparse matrix times the unfolded input.

    Shape:
        input (B, M, H, W); output (B, N, H', W'), sizes as for `nn.Conv2d`.
    """

    def __init__(self, conv: nn.Conv2d | HetConv2d) -> None:
        dense = conv.to_dense() if isinstance(conv, HetConv2d) else conv
        if dense.groups != 1:
            raise UsageError(f"groups={dense.groups} must be 1: grouped convolutions are not run sparse")
        super().__init__(dense.weight.flatten(1))
        self.in_channels, self.out_channels = dense.in_channels, dense.out_channels
        self.kernel_size, self.stride, self.dilation = dense.kernel_size, dense.stride, dense.dilation
        self.padding_mode = dense.padding_mode
        self.pads = _pads(dense)
        self.bias = dense.bias

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        if any(self.pads):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x = functional.pad(x, self.pads, mode=mode)
        height, width = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                x.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True
            )
        )
        patches = functional.unfold(x, self.kernel_size, self.dilation, 0, self.stride)
        flat = patches[0] if batch == 1 else patches.transpose(0, 1).flatten(1)
        y = self._times(flat).view(self.out_channels, batch, height, width).transpose(0, 1)
        return y if self.bias is None else y + self.bias[:, None, None]

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, nonzeros={self.nonzeros}"


def _pads(conv: nn.Conv2d) -> list[int]:
    """Padding in pixels as [left, right, top, bottom]."""
    if isinstance(conv.padding, str):
        total = [
            d * (k - 1) if conv.padding == "same" else 0 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)
        ]
        return [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2]
    return [conv.padding[1], conv.padding[1], conv.padding[0], conv.padding[0]]


class SparseLinear(_SparseMatrix):
    """A linear layer with the nonzero weights of another one.

    Shape:
        input (B, M); output (B, N)
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.weight)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        y = self._times(x.t().contiguous()).t()
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, nonzeros={self.nonzeros}"
