"""Who may know whom: imports point one way, and `import hetconv` stays light."""

import ast
import contextlib
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import hetconv

ROOT = Path(hetconv.__file__).parent
LAYER = {"nn", "pattern", "errors", "foreign"}
CORE = {
    "errors": set(),
    "starting": set(),
    "version": set(),
    "clock": set(),
    "plain_text": set(),
    "table": {"plain_text"},
    "built": {"errors"},
    "files": {"errors"},
    "tensor_file": {"files"},
    "pattern": {"errors"},
    "foreign": {"errors", "plain_text"},
    "records": {"files", "errors"},
    "wrappers": {"errors", "foreign"},
    "weights_file": {"errors", "nn", "ops", "tensor_file", "wrappers"},
    "ops": {"built", "pattern", "errors"},
    "nn": {"ops", "pattern", "errors"},
    "convert": {"wrappers", "plain_text", "table", *LAYER},
    "graph": {"ops", "plain_text", *LAYER},
    "cost": {"clock", "ops", "records", *LAYER},
    "layout": {"wrappers", "graph", "ops", *LAYER},
    "runtimes": {"built", "errors", "foreign"},
    "export": {
        "clock",
        "deployment",
        "wrappers",
        "files",
        "graph",
        "layout",
        "ops",
        "plain_text",
        "runtimes",
        "table",
        *LAYER,
    },
    "quantize": {"clock", "errors", "export", "files", "foreign", "plain_text", "runtimes"},
    "deployment": {
        "clock",
        "wrappers",
        "cost",
        "files",
        "graph",
        "ops",
        "plain_text",
        "records",
        "table",
        "tensor_file",
        *LAYER,
    },
    "adaptation": {
        "clock",
        "convert",
        "cost",
        "deployment",
        "files",
        "ops",
        "plain_text",
        "records",
        "table",
        "wrappers",
        *LAYER,
    },
}
"""Which parts of the core a part of it may know. None knows the lab."""
LAB = {
    "lab.results": set(),
    "lab.variant": set(),
    "lab.settings": {"lab.results", "lab.variant"},
    "lab.published": set(),
    "lab.trained": set(),
    "lab.statistics": {"lab.results"},
    "lab.models": {"lab.variant"},
    "lab.train": {"lab.results", "lab.settings", "lab.trained"},
    "lab.compress": {"lab.results", "lab.settings", "lab.train"},
    "lab.adapting": {"lab.inference", "lab.settings", "lab.train"},
    "lab.bench": {"lab.models", "lab.results", "lab.settings"},
    "lab.report": {"lab.results", "lab.statistics"},
    "lab.named": {"lab.models", "lab.settings", "lab.trained"},
    "lab.inference": {"lab.models", "lab.named", "lab.settings", "lab.train", "lab.trained"},
    "lab.study": {
        "lab.compress",
        "lab.models",
        "lab.results",
        "lab.settings",
        "lab.train",
        "lab.trained",
        "lab.variant",
    },
}
"""Which parts of the lab a part of it may know; and of the core, any."""
MAY_KNOW = CORE | {part: known | set(CORE) for part, known in LAB.items()}
FREE = {"cli", "__init__", "__main__", "public", "lab.__init__"}
"""They join the parts and may know all of them; no part may know them."""
WITHOUT_TORCH = {
    "built", "clock", "errors", "files", "foreign", "records", "pattern", "plain_text", "table", "version",
    "lab.published", "lab.report", "lab.results", "lab.settings", "lab.statistics", "lab.variant",
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
    """Its place in the tables: a folder or file of the package, or of `lab` in it."""
    names = path.relative_to(ROOT).with_suffix("").parts
    return f"lab.{names[1]}" if names[0] == "lab" else names[0]


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
    names = (name.split(".")[1:] for name in imported(path) if name.split(".")[0] == "hetconv")
    return {known(name) for name in names} - {part_of(path)}


def known(name):
    if not name:
        return "__init__"
    return ".".join(name[: 2 if name[0] == "lab" else 1])


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
    return set(done.stdout.splitlines()[-1].split())


def test_import_is_light():
    assert loaded_by("import hetconv") & HEAVY <= loaded_by("import torch") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["study", "--help"], ["train", "--help"]])
def test_the_commands_help_is_light(arguments):
    """It has to be there at once: PyTorch alone takes seconds to load."""
    loaded = loaded_by(f"import sys; sys.argv = ['hetconv']; from hetconv.cli import run; run({arguments})")
    assert not loaded & (HEAVY - {"rich", "typer"} | {"torch", "numpy"})


def test_under_the_command_hetconv_has_every_name():
    code = """
import sys
sys.argv = ["hetconv"]
import hetconv
assert "torch" not in sys.modules
from hetconv import built
assert "torch" not in sys.modules
import hetconv.nn  # a part is loaded before any name is asked for
from hetconv import HetConv2d, nn
assert nn.HetConv2d is HetConv2d is hetconv.HetConv2d
assert not hasattr(hetconv, "nothing")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def brought_by_the_core():
    """The distributions that `pip install hetconv` brings, all that those need among them."""
    wanted = tomllib.loads((ROOT.parent.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    found = set()
    while wanted:
        requirement = wanted.pop()
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")
        if "extra ==" not in requirement and name not in found:
            found.add(name)
            with contextlib.suppress(metadata.PackageNotFoundError):  # of another platform
                wanted += metadata.requires(name) or []
    return found


def without_all_but_the_core():
    """Code after which no installed package is there but those that `pip install hetconv` brings."""
    brought = brought_by_the_core() | {"hetconv"}
    missing = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not brought & {owner.lower().replace("_", "-") for owner in owners}
    }
    assert {"accelerate", "matplotlib", "onnx", "sklearn", "torchvision", "pytest"} <= missing
    return f"""
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def found(name, *place):
    return None if name.split(".")[0] in {missing!r} else find(name, *place)
PathFinder.find_spec = found
"""


def test_the_core_works_with_nothing_installed_but_what_it_brings(tmp_path):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU())"
    )
    code = f"""{without_all_but_the_core()}
import copy
import torch
import hetconv
from hetconv.cli import run

dense = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3)).eval()
x = torch.randn(4, 8, 9, 9)
model = copy.deepcopy(dense)
hetconv.convert_(model, p=4)
hetconv.refit_(model, dense, x)
assert torch.allclose(hetconv.deploy(model, x)(x), model(x), atol=1e-5)
print(hetconv.complexity(model, (8, 9, 9)).macs)
assert run(["deploy", "nets:net", "--input", "8,9,9", "--out", "net.safetensors"]) == 0
assert torch.equal(hetconv.load_deployed("net.safetensors")(x), hetconv.load_deployed("net.safetensors")(x))
hetconv.relayout(torch.nn.Sequential(*model), "shifted")
assert run(["compare", "--out", "compared"]) == 2
assert run(["export", "nets:net", "--input", "8,9,9", "--out", "net.onnx"]) == 2
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "this command needs accelerate: pip install 'hetconv[lab]'" in done.stderr
    assert "pip install onnx onnxscript onnxruntime" in done.stderr
    assert not (tmp_path / "compared").exists()
