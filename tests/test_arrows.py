"""Who may know whom: imports point one way, and `import hetconv` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hetconv

ROOT = Path(hetconv.__file__).parent
LAYER = {"nn", "pattern", "errors", "foreign"}
MAY_KNOW = {
    "errors": set(),
    "starting": set(),
    "built": {"errors"},
    "files": {"errors"},
    "tensor_file": set(),
    "plain_text": set(),
    "foreign": {"errors", "plain_text"},
    "version": set(),
    "records": {"files", "errors"},
    "pattern": {"errors"},
    "wrappers": {"errors", "foreign"},
    "published": {"errors"},
    "ops": {"built", "pattern", "errors"},
    "nn": {"ops", "pattern", "errors"},
    "convert": {"wrappers", "plain_text", *LAYER},
    "graph": {"ops", *LAYER},
    "adaptation": {
        "convert",
        "cost",
        "deployment",
        "files",
        "ops",
        "plain_text",
        "records",
        "train",
        "wrappers",
        *LAYER,
    },
    "layout": {"wrappers", "graph", "ops", *LAYER},
    "runtimes": {"built", "errors", "foreign"},
    "export": {"wrappers", "files", "graph", "layout", "ops", "plain_text", "runtimes", *LAYER},
    "quantize": {"errors", "export", "files", "foreign", "plain_text", "runtimes"},
    "models": {"convert", *LAYER},
    "compress": {"convert", "cost", "export", "ops", "plain_text", "quantize", "runtimes", "train", "records", *LAYER},
    "cost": {"ops", "records", *LAYER},
    "deployment": {"wrappers", "cost", "files", "graph", "ops", "plain_text", "records", "tensor_file", *LAYER},
    "bench": {
        "cost",
        "deployment",
        "export",
        "graph",
        "models",
        "plain_text",
        "records",
        "runtimes",
        "tensor_file",
        *LAYER,
    },
    "train": {"wrappers", "errors", "files", "foreign", "records", "tensor_file"},
    "statistics": {"records"},
    "report": {"errors", "files", "pattern", "plain_text", "records", "statistics"},
    "study": {"compress", "cost", "deployment", "files", "models", "records", "train", *LAYER},
}
FREE = {"cli", "__init__", "__main__"}
"""They join the parts and may know all of them; no part may know them."""
WITHOUT_TORCH = {
    "built", "errors", "files", "foreign", "records", "pattern", "plain_text", "published", "report", "statistics",
    "version",
}  # fmt: skip
HEAVY = {
    "cuda",
    "triton",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "ncnn",
    "nncf",
    "torch_pruning",
    "accelerate",
    "ray",
    "scipy",
    "matplotlib",
    "torchvision",
    "sklearn",
    "jinja2",
    "rich",
    "typer",
}


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """Every module that a file imports, wherever in it, as dotted names; of `from a import b`, a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(path):
    """The parts of hetconv that a file knows, its own excepted."""
    names = (name.split(".") for name in imported(path))
    return {name[1] if len(name) > 1 else "__init__" for name in names if name[0] == "hetconv"} - {part_of(path)}


SOURCES = sorted(ROOT.rglob("*.py"))


def test_every_part_has_a_place():
    assert {part_of(path) for path in SOURCES} - FREE == set(MAY_KNOW)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    part = part_of(path)
    if part not in FREE:
        assert arrows(path) <= MAY_KNOW[part], f"{part} may know {sorted(MAY_KNOW[part])} only"
    if part in WITHOUT_TORCH:
        assert "torch" not in {name.split(".")[0] for name in imported(path)}


def test_no_arrow_makes_a_circle():
    left = dict(MAY_KNOW)
    while free := [part for part, known in left.items() if not known & set(left)]:
        for part in free:
            del left[part]
    assert not left


def loaded_by(statement):
    code = f"{statement}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light():
    """FLOP formulas are registered in torch.utils.flop_counter, which imports triton itself where that is installed."""
    assert loaded_by("import hetconv") & HEAVY <= loaded_by("import torch.utils.flop_counter") & HEAVY
