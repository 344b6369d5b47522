import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hetconv.errors import DamagedFileError, HetconvError, NotFiniteError, UsageError
from hetconv.lab.models import create_model
from hetconv.lab.results import Epoch
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Data, Objective, Progress, load_data, train
from hetconv.lab.train.checkpoint import load_checkpoint, previous, read_header, save_checkpoint
from hetconv.lab.train.loop import _logits_of_views

RECIPE = Recipe(epochs=3, batch_size=50)


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits", train_limit=200)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(512, 10)
    )


class StoppedError(Exception):
    pass


class StopAfter(Progress):
    """Ends the run as a kill would, after an epoch's checkpoint was written."""

    def __init__(self, epoch: int) -> None:
        self.last = epoch

    def epoch(self, found: Epoch) -> None:
        if found.epoch == self.last:
            raise StoppedError


def weights(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def test_it_learns(data: Data) -> None:
    epochs = train(network(), data, Recipe(epochs=8, batch_size=25), 0)
    assert [epoch.epoch for epoch in epochs] == list(range(1, 9))
    assert epochs[-1].accuracy > 0.5
    assert epochs[-1].train_loss < epochs[0].train_loss


def test_accuracy_and_loss_are_those_of_the_held_out_split(data: Data) -> None:
    model = network()
    last = train(model, data, replace(RECIPE, epochs=1), 0)[-1]
    images, labels = next(iter(data.test_loader(360)))
    with torch.no_grad():
        logits = model.eval()(images)
    assert last.accuracy == (logits.argmax(1) == labels).double().mean().item()
    assert last.validation_loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_the_same_seed_gives_the_same_weights(data: Data) -> None:
    first, second, other = network(), network(), network()
    for model, seed in ((first, 0), (second, 0), (other, 1)):
        train(model, data, RECIPE, seed)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(first), weights(other), strict=True))


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_stopped_run_goes_on_to_the_same_bits(data: Data, tmp_path: Path, stopped_after: int) -> None:
    whole = network()
    expected = train(whole, data, RECIPE, 0)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    with pytest.raises(StoppedError):
        train(network(), data, RECIPE, 0, checkpoint=checkpoint, progress=StopAfter(stopped_after))
    resumed = network()
    epochs = train(resumed, data, RECIPE, 0, checkpoint=checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert [replace(e, seconds=0) for e in epochs] == [replace(e, seconds=0) for e in expected]


def test_a_finished_run_is_not_trained_again(data: Data, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    first = train(network(), data, RECIPE, 0, checkpoint=checkpoint)
    assert train(network(), data, RECIPE, 0, checkpoint=checkpoint) == first


def test_a_checkpoint_of_another_run_is_refused(data: Data, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(network(), data, replace(RECIPE, epochs=1), 0, checkpoint=checkpoint, identity={"variant": "het-p4"})
    with pytest.raises(UsageError, match=r"another run: it has {'variant': 'het-p4'}, this one {'variant': 'het-p8'}"):
        train(network(), data, RECIPE, 0, checkpoint=checkpoint, identity={"variant": "het-p8"})


def test_a_cut_checkpoint_is_named_and_the_run_starts_afresh(data: Data, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    expected = train(network(), data, RECIPE, 0, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match="not a whole safetensors file"):
        read_header(checkpoint)
    notices: list[str] = []
    progress = Progress()
    progress.notice = notices.append  # type: ignore[method-assign]
    previous(checkpoint).unlink()
    epochs = train(network(), data, RECIPE, 0, checkpoint=checkpoint, progress=progress)
    assert [e.accuracy for e in epochs] == [e.accuracy for e in expected]
    assert "starting this run afresh" in notices[0]


def test_a_checkpoint_that_the_system_does_not_read_is_kept(data: Data, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.symlink_to("/proc/self/mem")  # reading there is an input/output error
    with pytest.raises(HetconvError, match=r"^cannot read .*checkpoint\.safetensors: Input/output error; "):
        train(network(), data, RECIPE, 0, checkpoint=checkpoint)
    assert checkpoint.is_symlink()


def spoil_tensors(file: bytes) -> bytes:
    return file[:-4000] + bytes(4000)


@pytest.mark.parametrize("spoil", [lambda file: file[:-100], lambda file: b"", spoil_tensors], ids=["cut", "", "zeros"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on_to_the_same_bits(data, tmp_path, spoil) -> None:
    whole, resumed = network(), network()
    train(whole, data, RECIPE, 0)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StoppedError):
        train(network(), data, RECIPE, 0, checkpoint=checkpoint, progress=StopAfter(2))
    assert len(read_header(previous(checkpoint)).epochs) == 1
    checkpoint.write_bytes(spoil(checkpoint.read_bytes()))
    notices: list[str] = []
    progress = Progress()
    progress.notice = notices.append  # type: ignore[method-assign]
    train(resumed, data, RECIPE, 0, checkpoint=checkpoint, progress=progress)
    assert "checkpoint.safetensors is damaged" in notices[0]
    assert "going on from the checkpoint before it" in notices[0]
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


@pytest.mark.parametrize("size", [0, 1, 7, 100, 2000])
def test_no_truncation_is_read_as_a_checkpoint(tmp_path: Path, size: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    model = network()
    save_checkpoint(path, model, None, {}, ())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedFileError):
        load_checkpoint(path, model, None, {})


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match="no checkpoint of hetconv"):
        read_header(path)
    with pytest.raises(UsageError, match="it is not there"):
        read_header(tmp_path / "nothing")


def test_a_full_disk_keeps_the_last_checkpoint(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StoppedError):
        train(network(), data, RECIPE, 0, checkpoint=checkpoint, progress=StopAfter(1))

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.fsync", no_space)
        with pytest.raises(HetconvError, match="No space left on device"):
            train(network(), data, RECIPE, 0, checkpoint=checkpoint)
    assert len(read_header(checkpoint).epochs) == 1
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.safetensors", "checkpoint.previous.safetensors"}


def test_a_loss_that_is_not_finite_ends_in_one_clear_error(data: Data) -> None:
    with pytest.raises(NotFiniteError, match=r"epoch 1; lower the learning rate \(now 1e\+20\)"):
        train(network(), data, Recipe(epochs=1, batch_size=20, learning_rate=1e20, warmup_epochs=0), 0)


def test_weight_decay_is_for_weights_only() -> None:
    decayed, free = Objective().optimizer(network(), RECIPE).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(8, 3, 3, 3), (10, 512)]
    assert decayed["weight_decay"] == RECIPE.weight_decay
    assert all(p.dim() == 1 for p in free["params"])
    assert free["weight_decay"] == 0


def test_frozen_parameters_stay(data: Data) -> None:
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    train(model, data, replace(RECIPE, epochs=1), 0)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_trains(data: Data, precision: str) -> None:
    epochs = train(network(), data, replace(RECIPE, mixed_precision=precision), 0)
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert len(train(network(), data, replace(RECIPE, epochs=1), 0)) == 1


@pytest.mark.parametrize("progress", [Progress(), StopAfter(1)], ids=["whole", "stopped"])
def test_after_mixed_precision_the_network_computes_in_its_own(data: Data, progress: Progress) -> None:
    model, twin, x = network(), network().eval(), torch.randn(4, 3, 32, 32)
    with contextlib.suppress(StoppedError):
        train(model, data, replace(RECIPE, mixed_precision="bf16"), 0, progress=progress)
    twin.load_state_dict(model.state_dict())
    assert "forward" not in vars(model)
    assert torch.equal(model.eval()(x), twin(x))


AIRBENCH = Recipe(
    epochs=5, batch_size=50, learning_rate=0.1, schedule="one-cycle", first_share=0.2, last_share=0.1,
    norm_bias_scale=8, lookahead_steps=3, augmentation="airbench", test_views=True,
)  # fmt: skip


def test_a_run_with_every_option_goes_on_to_the_same_bits(data: Data, tmp_path: Path) -> None:
    def fresh() -> nn.Module:
        torch.manual_seed(2)
        return create_model("airbench_cifar", "het-p4-w0.25")

    whole, resumed = fresh(), fresh()
    expected = train(whole, data, AIRBENCH, 0)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StoppedError):
        train(fresh(), data, AIRBENCH, 0, checkpoint=checkpoint, progress=StopAfter(3))
    epochs = train(resumed, data, AIRBENCH, 0, checkpoint=checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert [replace(e, seconds=0) for e in epochs] == [replace(e, seconds=0) for e in expected]
    assert [e.views_accuracy is None for e in epochs] == [True, True, True, True, False]


def test_views_are_weighted_means_of_shifted_and_mirrored_images() -> None:
    images = torch.randn(2, 3, 8, 8)
    padded = nn.functional.pad(images, (1,) * 4, mode="reflect")
    expected = torch.zeros(2, 10)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    for share, row, column in ((0.5, 1, 1), (0.25, 0, 0), (0.25, 2, 2)):
        view = padded[:, :, row : row + 8, column : column + 8]
        expected += share * (network(view) + network(view.flip(3))) / 2
    assert torch.allclose(_logits_of_views(network, images), expected, atol=1e-6)  # another order of six sums


def test_biases_of_batch_norm_have_a_rate_and_a_decay_of_their_own() -> None:
    optimizer = Objective().optimizer(network(), Recipe(norm_bias_scale=64, weight_decay=0.128))
    weights_, others, shifts = optimizer.param_groups
    assert (weights_["weight_decay"], others["weight_decay"], shifts["weight_decay"]) == (0.128, 0.0, 0.002)
    assert (len(others["params"]), len(shifts["params"]), shifts["lr_scale"]) == (3, 1, 64)
