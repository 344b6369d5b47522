"""Forms of single layers in a runtime: exported once for all runtimes, loaded from a folder of their own."""

import torch
from torch import nn

from hetconv.export.fastest_forms import Kind
from hetconv.lab.bench import single_layers as module
from hetconv.lab.bench.single_layers import timed_layers


def test_layers_are_exported_once_for_all_runtimes(tmp_path, monkeypatch):
    kind = Kind(("0", "1"), "het P4 8→8 3×3, 5×6", (1, 8, 5, 6), {"grouped": b"one", "dense": b"two"})
    exported, read = [], []
    monkeypatch.setattr(module, "layer_kinds", lambda *args: exported.append(args) or (kind,))

    def load(folder):
        assert folder != tmp_path  # the network's own file of this name stays
        read.append((folder / "x.onnx").read_bytes())
        return lambda x: x

    (tmp_path / "x.onnx").write_bytes(b"the network")
    for _ in range(2):
        (found,) = timed_layers(tmp_path, nn.Identity(), torch.zeros(1, 8, 5, 6), load, "x.onnx")
        assert (found.names, found.layer, found.refused) == (kind.names, kind.layer, {})
        assert set(found.timed_ms) == {"grouped", "dense"}
    assert len(exported) == 1
    assert read == [b"one", b"two"] * 2
    assert (tmp_path / "x.onnx").read_bytes() == b"the network"
