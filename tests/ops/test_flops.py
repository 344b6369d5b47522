"""FLOP formulas are PyTorch's counter's, whichever is imported first."""

import subprocess
import sys

import pytest

FIRST = "import hetconv, sys; assert 'torch.utils.flop_counter' not in sys.modules; import torch.utils.flop_counter"
LAST = "import torch.utils.flop_counter; import hetconv"
KNOWN = """
import torch
from importlib.machinery import SourceFileLoader
from torch.utils import flop_counter
import hetconv.nn.sparse
operators = ("het_conv2d", "het_conv2d_input_grad", "het_conv2d_weight_grad", "sparse_matmul")
assert all(getattr(torch.ops.hetconv, name) in flop_counter.flop_registry for name in operators)
assert type(flop_counter.__spec__.loader) is type(flop_counter.__loader__) is SourceFileLoader
"""


@pytest.mark.parametrize("imports", [FIRST, LAST], ids=["hetconv first", "the counter first"])
def test_the_counter_has_the_formulas(imports):
    subprocess.run([sys.executable, "-c", f"{imports}\n{KNOWN}"], check=True)
