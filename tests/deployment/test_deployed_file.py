"""Deployed networks in files: the same bits after loading, on any instruction set, nothing taken from a changed one."""

import gc
import json
import math
import struct
import types
import weakref

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from hetconv import HetConv2d, deploy, load_deployed
from hetconv.deployment import deployed_file, graph_json
from hetconv.deployment.deployed_file import _checksum, _metadata
from hetconv.errors import DamagedFileError, HetconvError, UsageError
from hetconv.lab import create_model
from hetconv.ops import native
from hetconv.tensor_file import TensorReader

from .networks import Block, Written, choose_native, exact, het, images


@pytest.fixture
def saved(tmp_path):
    deployed = deploy(exact(Block()), images())
    path = tmp_path / "folder" / "block.safetensors"
    deployed.save(path)
    return deployed, path


def test_a_file_that_the_system_does_not_read_is_not_called_damaged(tmp_path):
    path = tmp_path / "a.safetensors"
    path.symlink_to("/proc/self/mem")  # reading there is an input/output error
    with pytest.raises(HetconvError, match=r"^cannot read .*a\.safetensors: Input/output error; ") as caught:
        load_deployed(path)
    assert not isinstance(caught.value, DamagedFileError)


@pytest.mark.parametrize("native_too", [True, False])
def test_loaded_is_the_same(tmp_path, monkeypatch, native_too):
    choose_native(monkeypatch, native=native_too)
    torch.manual_seed(0)
    model = create_model("resnet20_cifar", "het-p4", width=0.5)
    model.stages[3].conv1 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
    model.stages[4].conv1 = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
    deployed, x = deploy(model, torch.randn(2, 3, 32, 32)), torch.randn(3, 3, 32, 32)
    deployed.save(tmp_path / "a")
    loaded = load_deployed(str(tmp_path / "a"))
    assert torch.equal(loaded(x), deployed(x))
    assert loaded.report == deployed.report
    assert (loaded.class_names, loaded.image_size) == ((), None)
    loaded.save(tmp_path / "b")
    (header, first), (again, second) = content(tmp_path / "a"), content(tmp_path / "b")
    assert header == again
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_classes_and_image_size_are_in_the_file(saved):
    deployed, path = saved
    deployed.class_names, deployed.image_size = ("a", "b"), 96
    deployed.save(path)
    loaded = load_deployed(path)
    assert (loaded.class_names, loaded.image_size) == (("a", "b"), 96)


def content(path):
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["hetconv_deployed"])
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_weights_are_natural_ones(saved):
    _, path = saved
    tensors = content(path)[1]
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    assert shapes == {
        f"network/{conv}.{end}": shape
        for conv in ("conv1", "conv2")
        for end, shape in (("spatial", (4, 2, 3, 3)), ("pointwise", (4, 2)), ("bias.folded", (4,)))
    }


def test_loading_packs_for_the_instruction_set_that_runs(saved):
    deployed, path = saved
    x, best = images(3), native.instruction_set()
    right = deployed(x)
    try:
        native.choose_instruction_set("portable")
        assert torch.equal(load_deployed(path)(x), right)  # whole numbers: exact on any
        if best != "portable":
            with pytest.raises(UsageError, match=r"the weights were not packed for HetPattern"):
                deployed.save(path)
    finally:
        native.choose_instruction_set(best)
    assert torch.equal(load_deployed(path)(x), right)


def test_every_kind_of_argument_survives(tmp_path):
    def function(x, conv, norm):
        y = F.interpolate(conv(x), size=x.shape[-2:], mode="nearest")
        y = y[:, ::2, ..., None].squeeze(-1).clamp(min=float("-inf"))
        return {"y": y.to(torch.float32), 1: [torch.cat([y, y], dim=1), (None, 2.5, True)]}

    model, x = exact(Written(function)), images()
    deployed = deploy(model, x)
    assert deployed.report.whole
    deployed.save(tmp_path / "a")
    right, got = model(x), load_deployed(tmp_path / "a")(x)
    assert torch.equal(got["y"], right["y"])
    assert torch.equal(got[1][0], right[1][0])
    assert got[1][1] == right[1][1]


def test_a_file_cut_short_is_one_line(saved):
    _, path = saved
    data = path.read_bytes()
    for length in (0, 4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(
            DamagedFileError, match=r"block.safetensors is damaged: not a whole safetensors file"
        ) as raised:
            load_deployed(path)
        assert "\n" not in str(raised.value)


def test_a_changed_file_is_one_line(saved):
    """Whichever byte changes: of a weight, of the graph, of the checksum."""
    _, path = saved
    data = path.read_bytes()
    (header,) = struct.unpack("<Q", data[:8])
    checksum = data.index(b"sha256") + 12
    for place in (checksum, data.index(b"het_conv2d_packed"), data.index(b"relu"), 8 + header + 1, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(DamagedFileError, match=r"block.safetensors is damaged: its checksum is not that of"):
            load_deployed(path)


def forged(path, change):
    """The file with its header changed by `change` and its checksum mended, as somebody with bad intentions would."""
    header, tensors = content(path)
    change(header, tensors)
    header.pop("__inserted", None)
    text = json.dumps(header)
    save_file(tensors, path, _metadata(text, tensors))


def call_of(header):
    return next(node for node in header["parts"][0]["graph"] if "function" in node)


def layer_of(header):
    """The numbers of a layer: filters, P, kernel, stride, padding, dilation, arrangement, activation."""
    return next(node["args"][4] for node in header["parts"][0]["graph"] if node.get("function", "").endswith("packed"))


def inserted(header, function, *args):
    """Insert a call after those that were inserted before; its place."""
    place = header.setdefault("__inserted", 0) + 1
    header["__inserted"] = place
    header["parts"][0]["graph"].insert(place, {"function": function, "args": list(args), "kwargs": {}})
    return place


def inserted_size(header):
    """Insert the height of the input."""
    shape = inserted(header, "builtins.getattr", {"node": 0}, "shape")
    return inserted(header, "operator.getitem", {"node": shape}, 2)


FORGERIES = {
    "function": lambda h, t: call_of(h).update(function="os.system"),
    "builtin": lambda h, t: call_of(h).update(function="builtins.eval"),
    "method": lambda h, t: h["parts"][0]["graph"].insert(
        1, {"method": "__reduce__", "args": [{"node": 0}], "kwargs": {}}
    ),
    "attribute": lambda h, t: call_of(h).update(
        function="builtins.getattr", args=[{"node": 0}, "__class__"], kwargs={}
    ),
    "keyword": lambda h, t: call_of(h)["kwargs"].update({"x=print(1)#": 1}),
    "full-width keyword": lambda h, t: call_of(h)["kwargs"].update({"ｏｕｔ": {"node": 0}}),
    "number near 2⁶¹": lambda h, t: layer_of(h).__setitem__(4, 2**61 - 1),
    "negative number": lambda h, t: layer_of(h).__setitem__(8, -(2**40)),
    "wide padding": lambda h, t: layer_of(h).__setitem__(6, 100_000),
    "wide padding by function": lambda h, t: inserted(h, "torch.nn.functional.pad", {"node": 0}, [0, 0, 0, 10**6]),
    "power of numbers": lambda h, t: inserted(h, "operator.pow", 9, 2**31 - 1),
    "power of a size": lambda h, t: inserted(h, "operator.pow", {"node": inserted_size(h)}, 1000),
    "powers of powers": lambda h, t: [
        inserted(h, "operator.mul", {"node": place}, {"node": place}) for place in range(inserted_size(h), 12)
    ],
    "reference": lambda h, t: call_of(h)["args"].append({"node": 99}),
    "no graph": lambda h, t: h["parts"][0].update(graph=[]),
    "unknown kind": lambda h, t: call_of(h)["args"].append({"code": "1"}),
    "weights": lambda h, t: t.update({name: v[:2].clone() for name, v in t.items() if name.endswith("spatial")}),
    "missing weights": lambda h, t: t.pop(next(name for name in t if name.endswith("spatial"))),
    "no record": lambda h, t: h.update(surprise=1),
    "parts": lambda h, t: h.update(parts=[]),
    "complex weights": lambda h, t: t.update(
        {name: v.to(torch.complex64) for name, v in t.items() if name.endswith("pointwise")}
    ),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_file_is_one_line_and_runs_nothing(saved, change, capsys):
    _, path = saved
    forged(path, change)
    with pytest.raises(
        DamagedFileError, match=r"is damaged: (its graph cannot|its header|it holds no graph)"
    ) as raised:
        load_deployed(path)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


def test_text_in_a_graph_is_never_code(tmp_path, capsys):
    """A text constant goes into the generated code in quotes, whatever is in it."""

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = het()

        def forward(self, x):
            return {"'); print('executed": self.conv(x)}

    deployed = deploy(exact(Text()), images())
    deployed.save(tmp_path / "a")
    load_deployed(tmp_path / "a")(images())
    assert capsys.readouterr().out == ""


def test_other_files_and_needless_models(saved, tmp_path):
    _, path = saved
    with pytest.raises(UsageError, match=r"^looked for the deployed network .*nothing; it is not there$"):
        load_deployed(tmp_path / "nothing")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(UsageError, match=r"other is a safetensors file but no deployed network of hetconv$"):
        load_deployed(tmp_path / "other")
    with pytest.raises(UsageError, match=r"holds the whole network; load it without model$"):
        load_deployed(path, Block())
    forged(path, lambda header, _: header.update(format="hetconv-deployed-9"))
    with pytest.raises(UsageError, match=r"is of format 'hetconv-deployed-9'; this hetconv reads"):
        load_deployed(path)


def test_values_that_json_has_no_word_for():
    values = [1, 2.5, True, None, "a", float("inf"), (1, [2, (3,)]), slice(None, None, 2), ..., torch.int64,
              torch.device("cpu"), torch.channels_last, {"a": 1, 2: (3,)}]  # fmt: skip
    encoded = json.loads(json.dumps(graph_json.encode_value(values, lambda node: {})))
    assert graph_json.decode_value(encoded) == values
    with pytest.raises(TypeError, match=r"a object cannot be saved"):
        graph_json.encode_value(object(), lambda node: {})


def test_an_earlier_versions_file_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a", {"hetconv_deployed": "{}", "sha256": ""})
    with pytest.raises(UsageError, match=r"^\S+ is of an earlier version of hetconv; deploy the network again$"):
        load_deployed(tmp_path / "a")


def test_digests_that_are_none_are_one_line(saved):
    _, path = saved
    header, tensors = content(path)
    for digests in ("[]", "{", '{"a": 1}'):
        text = json.dumps(header)
        save_file(tensors, path, {"hetconv_deployed": text, "tensors": digests, "sha256": _checksum(text, digests)})
        with pytest.raises(DamagedFileError, match=r"is damaged: its header cannot be read"):
            load_deployed(path)


def int8_network(width=64, layers=3):
    """Its layers have 8 bits but for the first."""
    torch.manual_seed(0)
    convs = [nn.Conv2d(4, width, 1), *(HetConv2d(width, width, 3, padding=1, p=4) for _ in range(layers))]
    model = nn.Sequential(*convs).eval()
    return deploy(model, images(1), "int8", images(8), timed=False)


NETWORKS = {
    "float32": lambda: deploy(exact(nn.Sequential(*(het() for _ in range(3)))), images(), timed=False),
    "int8": int8_network,
}


@pytest.mark.parametrize("real", ["0x1p99999", "many"])
def test_a_real_that_is_none_is_one_line(tmp_path, real):
    """One that no float can hold, and a text."""
    path = tmp_path / "a"
    int8_network(layers=1).save(path)
    forged(path, lambda header, tensors: header["int8"]["steps"][-1].update(reals=[real]))
    with pytest.raises(DamagedFileError, match=r"is damaged: its graph cannot be read: [^\n]+$"):
        load_deployed(path)


class InParts(nn.Module):
    """Its own code decides by a value, and its modules are captured one by one."""

    def __init__(self):
        super().__init__()
        self.rest, self.network, self.other = het(), het(), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.network(self.rest(x))
        return self.other(y) if y.sum() < math.inf else y


def test_modules_may_have_any_name(tmp_path):
    """Also one with which the names of other tensors in the file could begin."""
    deployed, x = deploy(exact(InParts()), images(), timed=False), images(3)
    assert not deployed.report.whole
    deployed.save(tmp_path / "a")
    assert torch.equal(load_deployed(tmp_path / "a", exact(InParts()))(x), deployed(x))


@pytest.mark.parametrize("made", NETWORKS.values(), ids=NETWORKS)
def test_a_layer_is_let_go_when_it_is_packed(tmp_path, monkeypatch, made):
    """Whatever is read of the file for one layer is not there any more when the next one's is read."""
    made().save(tmp_path / "a")
    read, kept = TensorReader.read, []

    def reading(self, name, *check):
        layers = {name.rpartition(".")[0] for name, tensor in kept if tensor() is not None}
        assert layers <= {name.rpartition(".")[0]}
        found = read(self, name, *check)
        if name.endswith(("spatial", "pointwise")) or (name.startswith("int8/") and name.endswith((".0", ".1"))):
            kept.append((name, weakref.ref(found)))
        return found

    monkeypatch.setattr(TensorReader, "read", reading)
    loaded = load_deployed(tmp_path / "a")
    assert len(kept) >= 6
    del loaded


@pytest.mark.parametrize("made", NETWORKS.values(), ids=NETWORKS)
def test_a_network_holds_packed_weights_alone(tmp_path, made):
    """Deployed or loaded: its tensors are about as large as its packed weights; natural ones are not beside them."""
    deployed = made()
    deployed.save(tmp_path / "a")
    natural = sum(value.numel() * value.element_size() for value in content(tmp_path / "a")[1].values())
    for network in (deployed.network, load_deployed(tmp_path / "a").network):
        packed = network.native.weight_bytes if hasattr(network, "native") else network._call.network.weight_bytes
        held = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors_held_by(network)}
        assert packed <= sum(held.values()) < packed + natural / 2


def tensors_held_by(network):
    """Every tensor that can be reached from it."""
    seen, left = {}, [network]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, type | types.ModuleType | types.FunctionType):
            continue
        seen[id(one)] = one
        left += gc.get_referents(one) if not isinstance(one, torch.Tensor) else []
    return [one for one in seen.values() if isinstance(one, torch.Tensor)]


@pytest.mark.parametrize("made", NETWORKS.values(), ids=NETWORKS)
def test_a_loaded_network_is_saved_byte_by_byte(tmp_path, made):
    """But for the order of the names in the header, which safetensors leaves to chance."""
    made().save(tmp_path / "a")
    load_deployed(tmp_path / "a").save(tmp_path / "b")
    assert header_and_data(tmp_path / "a") == header_and_data(tmp_path / "b")


def header_and_data(path):
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:end]), data[end:]


@pytest.mark.parametrize("made", NETWORKS.values(), ids=NETWORKS)
def test_a_file_that_is_replaced_while_it_is_loaded_is_the_first_one(tmp_path, monkeypatch, made):
    first, other = made(), deploy(exact(Block()), images())
    x, path = images(), tmp_path / "network.safetensors"
    other.save(path)
    data, take = path.read_bytes(), deployed_file._File.take

    def replacing(self, name):
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return take(self, name)

    first.save(path)
    monkeypatch.setattr(deployed_file._File, "take", replacing)
    assert torch.equal(load_deployed(path)(x), first(x))
    assert path.read_bytes() == data


@pytest.mark.parametrize("made", NETWORKS.values(), ids=NETWORKS)
def test_a_file_that_is_overwritten_while_it_is_loaded_is_refused(tmp_path, monkeypatch, made):
    """Once its header was found right, before and between its tensors."""
    path = tmp_path / "network.safetensors"
    made().save(path)
    data, take = path.read_bytes(), deployed_file._File.take
    end = 8 + struct.unpack("<Q", data[:8])[0]
    for place in (0, 3):
        left = [place]

        def changing(self, name, left=left):
            if left[0] == 0:
                path.write_bytes(data[:end] + bytes(byte ^ 1 for byte in data[end:]))
            left[0] -= 1
            return take(self, name)

        path.write_bytes(data)
        with monkeypatch.context() as patch:
            patch.setattr(deployed_file._File, "take", changing)
            with pytest.raises(DamagedFileError, match=r"is damaged: its checksum is not that of its content"):
                load_deployed(path)


def test_a_file_that_is_cut_short_while_it_is_loaded_is_one_line(saved, monkeypatch):
    _, path = saved
    data, take = path.read_bytes(), deployed_file._File.take

    def cutting(self, name):
        path.write_bytes(data[:-8])
        return take(self, name)

    monkeypatch.setattr(deployed_file._File, "take", cutting)
    with pytest.raises(DamagedFileError, match=r"is damaged: not a whole safetensors file \(it ends within"):
        load_deployed(path)


def test_numbers_that_networks_have_are_read_back(tmp_path):
    def function(x, conv, norm):
        y = F.pad(conv(x), (0, 1, 2, 3))[:, :, 1:]
        return y.masked_fill(y < 0, -(10**9)) * (y.shape[2] * y.shape[3]) ** 2

    model, x = exact(Written(function)), images()
    deploy(model, x).save(tmp_path / "a")
    assert torch.equal(load_deployed(tmp_path / "a")(x), model(x))


def test_a_number_that_is_not_read_back_is_not_saved(tmp_path):
    deployed = deploy(exact(Written(lambda x, conv, norm: conv(x) * 2**40)), images())
    with pytest.raises(UsageError, match=r"^the network cannot be saved: node \d: a whole number of 41 bits; sizes"):
        deployed.save(tmp_path / "a")
    assert not (tmp_path / "a").exists()
