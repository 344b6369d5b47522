"""FLOP formulas are PyTorch's counter's, however it comes to be imported."""

import subprocess
import sys

import pytest

IMPORTS = {
    "hetconv first": "import hetconv, sys; assert 'torch.utils.flop_counter' not in sys.modules",
    "the counter first": "import torch.utils.flop_counter; import hetconv",
    "looked for": """
import hetconv
from importlib.util import find_spec
assert find_spec("torch.utils.flop_counter") is not None
""",
    "reloaded": """
import hetconv, importlib
import torch.utils.flop_counter
importlib.reload(torch.utils.flop_counter)
""",
    "counter first and reloaded": """
import torch.utils.flop_counter
import hetconv, importlib
importlib.reload(torch.utils.flop_counter)
""",
    "failed and imported again": """
import hetconv, sys
sys.modules["torch.utils.module_tracker"] = None
try:
    import torch.utils.flop_counter
    raise AssertionError
except ImportError:
    del sys.modules["torch.utils.module_tracker"]
""",
    "in threads": """
import hetconv
from importlib import import_module
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    list(pool.map(import_module, ["torch.utils.flop_counter", "hetconv.nn.sparse"] * 4))
""",
}
KNOWN = """
import torch
from importlib.machinery import SourceFileLoader
from torch.utils import flop_counter
import hetconv.nn.sparse
operators = ("het_conv2d", "het_conv2d_input_grad", "het_conv2d_weight_grad", "sparse_matmul")
assert all(getattr(torch.ops.hetconv, name) in flop_counter.flop_registry for name in operators)
assert type(flop_counter.__spec__.loader) is type(flop_counter.__loader__) is SourceFileLoader
"""


@pytest.mark.parametrize("imports", IMPORTS.values(), ids=IMPORTS)
def test_the_counter_has_the_formulas(imports):
    subprocess.run([sys.executable, "-c", f"{imports}\n{KNOWN}"], check=True)
