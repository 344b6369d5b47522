"""What wraps a network, and every entry that takes one."""

import copy
from functools import cache

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim.swa_utils import AveragedModel

import hetconv
from hetconv.errors import UsageError
from hetconv.weights_file import load_weights
from hetconv.wrappers import copied, unwrap, unwrapped_names

ddp = nn.parallel.DistributedDataParallel


@pytest.fixture(autouse=True, scope="module")
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1),
    ).eval()  # fmt: skip


def het_network():
    model = network()
    hetconv.convert_(model, 4)
    return model


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": ddp,
    "torch.compile": torch.compile,
    "AveragedModel": AveragedModel,
    "compiled in DDP in an average": lambda model: AveragedModel(ddp(torch.compile(model))),
}
ENTRIES = {
    "deploy": lambda model, path: hetconv.deploy(model, torch.ones(1, 3, 8, 8)).report.count("batch norm"),
    "export_onnx": lambda model, path: len(
        hetconv.export_onnx(model, torch.ones(1, 3, 8, 8), path / "m.onnx", "dense").folding.folded
    ),
    "relayout": lambda model, path: [layer.arrangement for layer in hetconv.relayout(model, "blocked").modules()
                                     if isinstance(layer, hetconv.HetConv2d)],
}  # fmt: skip


@pytest.fixture(scope="module")
def of_the_network_itself(tmp_path_factory):
    """What an entry finds where nothing is wrapped."""

    @cache
    def found(entry):
        return ENTRIES[entry](het_network(), tmp_path_factory.mktemp("plain"))

    return found


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_take_what_is_inside(entry, wrapper, of_the_network_itself, tmp_path):
    if entry == "export_onnx":
        pytest.importorskip("onnxruntime")
    model = het_network()
    assert unwrap(WRAPPERS[wrapper](model)).state_dict().keys() == model.state_dict().keys()
    assert ENTRIES[entry](WRAPPERS[wrapper](model), tmp_path) == of_the_network_itself(entry)


@pytest.mark.parametrize("wrapper", ["DataParallel", "torch.compile", "AveragedModel"])
def test_conversion_inside(wrapper):
    wrapped = WRAPPERS[wrapper](network())
    report = hetconv.convert_(wrapped, 4)
    assert [entry.name for entry in report.converted] == ["3"]
    assert isinstance(unwrap(wrapped)[3], hetconv.HetConv2d)


def test_a_copy_has_no_wrapper_anywhere():
    model = nn.Sequential(nn.DataParallel(nn.Sequential(torch.compile(network()))), nn.ReLU())
    copy = copied(AveragedModel(model))
    assert list(copy.state_dict()) == [f"0.0.{name}" for name in network().state_dict()]
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(copy(x), model[0].module[0]._orig_mod(x).relu())
    assert not {id(p) for p in copy.parameters()} & {id(p) for p in model.parameters()}


class PeftModel(nn.Module):
    """As peft's own, of which only the name is known."""

    def __init__(self, inner):
        super().__init__()
        self.base_model = inner


REFUSED = {
    "sharded": (lambda model: fully_shard(model, mesh=init_device_mesh("cpu", (1,))), "FSDPModule: each process has a"),
    "adapted": (PeftModel, r"PeftModel: .*merge them first: model\.merge_and_unload\(\)"),
    "a part": (lambda model: nn.Sequential(PeftModel(model)), r"model\.0 is wrapped in PeftModel"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("entry", [*ENTRIES, "convert_"])
def test_entries_name_the_way_out_of_what_changes_weights(entry, kind, tmp_path):
    wrapper, message = REFUSED[kind]
    run = ENTRIES.get(entry, lambda model, path: hetconv.convert_(model))
    with pytest.raises(UsageError, match=message) as caught:
        run(wrapper(network()), tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("entry", ["deploy", "export_onnx"])
def test_synchronized_batch_norm_folds_as_the_plain_one(entry, of_the_network_itself, tmp_path):
    if entry == "export_onnx":
        pytest.importorskip("onnxruntime")
    synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(het_network())
    assert isinstance(synchronized[1], nn.SyncBatchNorm)
    assert ENTRIES[entry](synchronized, tmp_path) == of_the_network_itself(entry) == 2


def test_relayout_takes_synchronized_batch_norm():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(het_network()).eval()
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(hetconv.relayout(model, "blocked")(x), model(x))


STATES = {
    "DDP": lambda model: ddp(model).state_dict(),
    "compiled": lambda model: torch.compile(model).state_dict(),
    "compiled in DDP": lambda model: ddp(torch.compile(model)).state_dict(),
    "average": lambda model: AveragedModel(model).state_dict(),
    "Lightning": lambda model: nn.ModuleDict({"model": model}).state_dict(),
    "Lightning, compiled": lambda model: nn.ModuleDict({"net": torch.compile(model)}).state_dict(),
    "a compiled part": lambda model: nn.Sequential(torch.compile(model[0]), *model[1:]).state_dict(),
}


@pytest.mark.parametrize("kind", STATES)
def test_state_dicts_saved_from_wrappers_load(kind, tmp_path):
    saved, model = het_network(), het_network()
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.uniform_(-1, 1)
    save_file({name: value.clone() for name, value in STATES[kind](saved).items()}, tmp_path / "weights")
    load_weights(tmp_path / "weights", nn.DataParallel(model))
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_of_a_dense_network_layers_keep_what_their_pattern_keeps(prefix, tmp_path):
    dense = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    save_file({prefix + name: value.clone() for name, value in dense.state_dict().items()}, tmp_path / "weights")
    model = copy.deepcopy(dense)
    wanted = copy.deepcopy(dense)
    for network in (model, wanted):
        hetconv.convert_(network, 2)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(UsageError, match="is a dense kernel"):
        load_weights(tmp_path / "weights", model)
    load_weights(tmp_path / "weights", model, from_dense=True)
    assert all(torch.equal(value, wanted.state_dict()[name]) for name, value in model.state_dict().items())


def test_other_state_dicts_are_refused_in_one_short_line(tmp_path):
    model = het_network()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    spatial = state["3.weight_spatial"]
    lacks = {name: value for name, value in state.items() if not name.startswith("1.")}
    cases = [
        ({f"model.{name}": v for name, v in state.items()} | {"loss.weight": spatial.clone()},
         "'model.' there, and there are others (loss.weight); save the state dict of that module alone"),
        (lacks, "it lacks 1.weight and 4 more"),
        (lacks | {"9.weight": spatial.clone()}, "it lacks 1.weight and 4 more and it has 9.weight"),
        (state | {"3.bias": spatial.flatten()[:4].clone()}, "3.bias has shape (4,), not (8,)"),
        ({name.replace("_spatial", ""): v for name, v in state.items()}, "3.weight is a dense kernel; load it into"),
    ]  # fmt: skip
    for weights, message in cases:
        save_file(weights, tmp_path / "weights")
        with pytest.raises(UsageError) as caught:
            load_weights(tmp_path / "weights", model)
        assert message in str(caught.value)
        assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_a_network_whose_own_names_are_a_wrappers_is_left_alone():
    weights = {"module.weight": torch.ones(1), "n_averaged": torch.ones(1)}
    assert unwrapped_names(weights, weights) == weights
