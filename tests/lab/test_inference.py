"""Every file of a trained network is opened, evaluated and asked about pictures."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from hetconv import deploy, export_deployed, export_onnx
from hetconv.cli import run
from hetconv.errors import UsageError
from hetconv.lab.inference import Accuracy, check_classes, class_names, evaluate, open_network, predict
from hetconv.lab.models import create_model
from hetconv.lab.settings import TrainedAs
from hetconv.lab.train import load_data
from hetconv.lab.train.checkpoint import save_checkpoint
from hetconv.lab.variant import parse_variant
from hetconv.ops import native

IDENTITY = {"network": "resnet20_cifar × 0.25", "variants": ["het-p4"], "num_classes": 10, "input_size": [3, 32, 32]}
KINDS = ["checkpoint", "deployed", "onnx", "native onnx"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("resnet20_cifar", "het-p4", width=0.25).eval()


def written(kind, model, folder):
    """A file of the network."""
    example = torch.randn(1, 3, 32, 32)
    path = folder / ("net.onnx" if "onnx" in kind else "net.safetensors")
    if kind == "checkpoint":
        save_checkpoint(path, model, None, IDENTITY, ())
    elif native.why_not_loaded() is not None and kind != "onnx":
        pytest.skip(native.why_not_loaded())
    elif kind == "deployed":
        deploy(model, example, timed=False).save(path)
    else:
        export_onnx(model, example, path, "dense" if kind == "onnx" else "native")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_computes_what_the_network_does(kind, model, tmp_path):
    opened = open_network(written(kind, model, tmp_path))
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(opened.network(x), model(x), atol=1e-4, rtol=1e-4)  # the budget of other runtimes
    assert opened.image_size == (None if kind == "deployed" else 32)


def test_a_state_dict_needs_its_networks_name(model, tmp_path):
    path = tmp_path / "state.safetensors"
    save_file(model.state_dict(), path)
    with pytest.raises(UsageError, match=r"does not say whose weights it holds; give the network with --model"):
        open_network(path)
    x = torch.randn(1, 3, 32, 32)
    made = TrainedAs(variant=parse_variant("het-p4"), width=0.25)
    with torch.no_grad():
        assert torch.equal(open_network(path, "resnet20_cifar", made).network(x), model(x))


def test_a_file_does_not_choose_what_is_imported(model, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, model, None, IDENTITY | {"network": "os:getcwd"}, ())
    with pytest.raises(UsageError, match="give the network with --model"):
        open_network(path)


def test_other_files_are_one_line(tmp_path):
    (tmp_path / "net.txt").write_text("no network")
    with pytest.raises(UsageError, match="is neither an ONNX file"):
        open_network(tmp_path / "net.txt")
    with pytest.raises(UsageError, match="it is not there"):
        open_network(tmp_path / "none.onnx")


def test_accuracy_counts_right_classes():
    """A network that always says 3 is right on as many digits as there are threes among those held out."""
    data = load_data("digits", train_limit=10)
    labels = torch.cat([labels for _, labels in data.test_loader(64)])
    threes = int((labels == 3).sum())
    found = evaluate(lambda images: torch.eye(10)[3].expand(len(images), 10), data)
    assert found == Accuracy(360, threes)
    assert str(found) == f"accuracy on 360 images: {threes / 360:.2%}"


def test_a_network_that_is_no_classifier_is_one_line():
    data = load_data("digits", train_limit=10)
    with pytest.raises(UsageError, match=r"gives \(32, 3, 32, 32\), not \(batch, classes\)"):
        evaluate(nn.Identity(), data)


def test_data_of_other_classes_are_refused():
    digits = load_data("digits", train_limit=10)
    with pytest.raises(
        UsageError, match="the network has 3 classes, and digits has 10; give the data that it was trained"
    ):
        evaluate(lambda images: torch.zeros(len(images), 3), digits)
    photos = load_data(f"imagefolder:{Path(__file__).parent.parent / 'photos'}", image_size=8)
    check_classes((), photos)
    check_classes(photos.class_names, photos)
    check_classes(("cat", "dog"), digits)
    with pytest.raises(
        UsageError, match=r"trained for other classes \(cat, dog\) than imagefolder has \(cardboard, glass"
    ):
        check_classes(("cat", "dog"), photos)


class Colour(nn.Module):
    """Red, green or blue: the channel whose mean is highest."""

    def forward(self, x):
        return 10 * x.mean((2, 3))


@pytest.fixture
def pictures(tmp_path):
    found = [tmp_path / f"{name}.png" for name in ("green", "blue")]
    for file, colour in zip(found, ((0, 255, 0), (0, 0, 255)), strict=True):
        Image.new("RGB", (40, 30), colour).save(file)
    return found


@pytest.mark.skipif(native.why_not_loaded() is not None, reason="no native kernels")
def test_an_onnx_file_of_8_bits_gives_the_deployed_networks_classes(tmp_path):
    made = deploy(create_model("resnet20_cifar", "het-p2", width=0.25).eval(), torch.randn(1, 3, 32, 32), "int8",
                  torch.randn(16, 3, 32, 32), timed=False)  # fmt: skip
    export_deployed(made, torch.randn(1, 3, 32, 32), tmp_path / "x.onnx")
    data = load_data("digits", train_limit=10)
    assert evaluate(open_network(tmp_path / "x.onnx").network, data) == evaluate(made, data)


@pytest.mark.skipif(native.why_not_loaded() is not None, reason="no native kernels")
def test_a_network_of_an_image_folder_knows_its_classes_and_image_size(tmp_path, capsys, monkeypatch):
    """From training to the deployed file, in float32 and 8 bits."""
    sizes: list[dict] = []
    photos = Path(__file__).parent.parent / "photos"
    train = ["train", "resnet20_cifar", "--variant", "het-p2", "--width", "0.25", "--data", f"imagefolder:{photos}"]
    tiny = ["--epochs", "1", "--train-limit", "8", "--batch-size", "4", "--image-size", "32", "--threads", "1"]
    assert run([*train, *tiny, "--out", str(tmp_path / "runs")]) == 0
    checkpoint = next(tmp_path.glob("runs/**/checkpoint.safetensors"))
    names = tuple(sorted(folder.name for folder in (photos / "val").iterdir()))
    for options in ([], ["--precision", "int8", "--data", f"imagefolder:{photos}"]):
        out = tmp_path / "deployed.safetensors"
        assert run(["deploy", "resnet20_cifar", "--weights", str(checkpoint), "--out", str(out), *options]) == 0
        opened = open_network(out)
        assert (opened.class_names, opened.image_size) == (names, 32)
        capsys.readouterr()
        assert run(["predict", str(out), str(next((photos / "val" / names[0]).iterdir())), "--top", "9"]) == 0
        said = capsys.readouterr().out
        assert all(name in said for name in names)
        with monkeypatch.context() as patched:
            patched.setattr(
                "hetconv.lab.train.load_data", lambda spec, **given: sizes.append(given) or load_data(spec, **given)
            )
            assert run(["evaluate", str(out), "--data", f"imagefolder:{photos}"]) == 0
        assert sizes.pop() == {"image_size": 32}
        exported = tmp_path / "exported.onnx"
        assert run(["export", "resnet20_cifar", "--weights", str(checkpoint), "--out", str(exported), *options]) == 0
        opened = open_network(exported)
        assert (opened.class_names, opened.image_size) == (names, 32)


def test_pictures_get_their_likeliest_classes(pictures, tmp_path):
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    names = class_names(tmp_path / "names.txt")
    green, blue = predict(Colour(), pictures, image_size=16, top=2, names=names)
    assert green.classes[0][0] == "green"
    assert blue.classes[0][0] == "blue"
    assert len(green.classes) == 2
    assert green.classes[0][1] > 0.99
    assert str(green).startswith(f"{pictures[0]}: green 100.0%, ")
    (unnamed,) = predict(Colour(), pictures[:1], image_size=16, top=9)
    assert unnamed.classes[0][0] == "class 1"
    with pytest.raises(UsageError, match="the network has 3 classes, and 2 names are given"):
        next(predict(Colour(), pictures, names=["red", "green"]))
    with pytest.raises(UsageError, match="is a folder; give image files, such as "):
        next(predict(Colour(), [tmp_path]))


def test_class_names_of_a_folder_are_those_of_an_image_folder(tmp_path):
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
    assert class_names(tmp_path) == ["cat", "dog"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UsageError, match="has no class names"):
        class_names(tmp_path / "empty.txt")


def test_the_commands(model, pictures, tmp_path, capsys):
    path = str(written("checkpoint", model, tmp_path))
    assert run(["evaluate", path, "--data", "digits"]) == 0
    assert "accuracy on 360 images: " in capsys.readouterr().out
    assert run(["predict", path, *map(str, pictures), "--top", "1"]) == 0
    assert [line.partition(": class ")[0] for line in capsys.readouterr().out.splitlines()] == list(map(str, pictures))
    assert run(["predict", path, str(tmp_path / "none.png")]) == 2
    assert "none.png; it is not there" in capsys.readouterr().err
