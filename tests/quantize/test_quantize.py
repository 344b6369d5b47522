"""Quantizing a network that has learned the digits: real images, real accuracy."""

import pytest
import torch
from torch import nn

from hetconv import HetConv2d, export_onnx, quantize_onnx
from hetconv.errors import HetconvError, UsageError
from hetconv.lab.train import load_data
from hetconv.quantize import quantization
from hetconv.quantize.image_sets import TestImages
from hetconv.runtimes import why_not


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small network, trained for seconds, exported; with images to calibrate and to test."""
    torch.manual_seed(0)
    data = load_data("digits")
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        HetConv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        HetConv2d(32, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, 12 * 11)
    for _ in range(12):
        for images, labels in data.train_loader(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
    path = tmp_path_factory.mktemp("trained") / "float.onnx"
    images, _ = next(iter(data.train_loader(256)))
    export_onnx(model, images[:1], path, "grouped")
    return path, images, list(data.test_loader(64))


def test_onnx_runtime(trained, tmp_path):
    import onnx

    path, calibration, test = trained
    report = quantize_onnx(path, tmp_path / "int8.onnx", calibration, test)
    assert report.images == 360
    assert report.calibration_images == 256
    assert report.accuracy_before > 0.9
    assert report.accuracy_after > report.accuracy_before - 0.03
    assert report.agreement > 0.95
    assert report.bytes_after == (tmp_path / "int8.onnx").stat().st_size
    nodes = [node.op_type for node in onnx.load(report.path).graph.node]
    assert nodes.count("DequantizeLinear") > nodes.count("Conv")
    for words in ("before", "after", "points", "the same class on", "bytes", "ms"):
        assert words in str(report)


def test_openvino(trained, tmp_path):
    for package in ("openvino", "nncf"):
        if why_not(package) is not None:
            pytest.skip(why_not(package))
    path, calibration, test = trained
    report = quantize_onnx(path, tmp_path / "int8.xml", calibration, test, backend="openvino")
    assert report.accuracy_after > report.accuracy_before - 0.03
    assert sorted(file.name for file in tmp_path.iterdir()) == ["int8.bin", "int8.xml"]
    assert (tmp_path / "int8.bin").stat().st_size < report.bytes_before / 2  # weights of grouped convolutions too
    assert report.bytes_after == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_a_loss_is_told(trained, tmp_path):
    """Ranges taken from images a hundred times too dark clip everything: the report shows what is left."""
    path, calibration, test = trained
    report = quantize_onnx(path, tmp_path / "int8.onnx", calibration * 0.01, test)
    assert report.accuracy_after < report.accuracy_before - 0.05
    assert "points" in str(report)


X = torch.randn(4, 3, 32, 32)
Y = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "tensorrt"}, "backend='tensorrt' must be one of onnxruntime, openvino"),
        ({"path": "/no/such.onnx"}, "looked for the ONNX file /no/such.onnx"),
        ({"out": "int8.xml"}, "must end in .onnx for onnxruntime"),
        ({"calibration": X[0]}, "calibration=(3, 32, 32) of torch.float32 must be images"),
        ({"calibration": X.byte()}, "of torch.uint8 must be images"),
        ({"calibration": X[:0]}, "n ≥ 1"),
        ({"test": []}, "test has no images"),
        ({"test": [(X, Y[:2])]}, "test has 4 images and 2 labels; it must have one label an image"),
        ({"test": [(X, Y), X]}, "test has 8 images and 4 labels; it must have one label an image"),
        ({"test": ["a name"]}, "test gives a str; it must give images, (images, labels) or a dict of these"),
        ({"test": [{"a": X, "b": X}]}, "test gives a dict of a (4, 3, 32, 32), b (4, 3, 32, 32), where images"),
        ({"test": [{"image": X, "label": Y, "id": Y}]}, "give pairs: ((batch['images'], batch['labels']) for batch"),
        ({"test": [{"names": ["a"]}]}, "test gives a dict of no tensor"),
        ({"out": "."}, "must end in .onnx"),
        ({"out": "no/such/deep.onnx/x.onnx", "path": "/no/such.onnx"}, "looked for the ONNX file /no/such.onnx"),
        ({"test": [(X[:, :1], Y)]}, "does not take images of (1, 32, 32)"),
        ({"threads": 0}, "threads=0 must be at least 1"),
    ],
)
def test_refusals_leave_nothing(trained, tmp_path, changes, message):
    path, calibration, test = trained
    arguments = {"path": path, "out": "int8.onnx", "calibration": calibration, "test": test} | changes
    arguments["out"] = tmp_path / arguments["out"]
    with pytest.raises(UsageError) as error:
        quantize_onnx(**arguments)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_cut_short_is_one_line(trained, tmp_path, backend):
    if why_not(backend) is not None or (backend == "openvino" and why_not("nncf") is not None):
        pytest.skip(f"{backend} is not installed")
    path, calibration, test = trained
    short = tmp_path / "short.onnx"
    short.write_bytes(path.read_bytes()[:-1000])
    out = tmp_path / {"onnxruntime": "int8.onnx", "openvino": "int8.xml"}[backend]
    with pytest.raises(HetconvError, match=rf"^{backend} cannot load .*short.onnx: ") as error:
        quantize_onnx(short, out, calibration, test, backend=backend)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_a_runtime_that_fails_leaves_nothing(trained, tmp_path, monkeypatch):
    path, calibration, test = trained
    monkeypatch.setattr(TestImages, "accuracy", None)
    monkeypatch.setattr(
        quantization, "_loaded", lambda *_: (_ for _ in ()).throw(RuntimeError("no kernel for QLinearConv\n at x"))
    )
    with pytest.raises(
        HetconvError, match=r"onnxruntime cannot quantize .*: RuntimeError: no kernel for QLinearConv at x"
    ):
        quantize_onnx(path, tmp_path / "int8.onnx", calibration, test)
    assert list(tmp_path.iterdir()) == []


def test_onto_itself_is_refused_and_sizes_are_as_they_were(trained, tmp_path):
    path, calibration, test = trained
    own = tmp_path / "float.onnx"
    own.write_bytes(path.read_bytes())
    for same in (own, tmp_path / "." / "float.onnx"):
        with pytest.raises(UsageError, match=r"float\.onnx': it is read for it; give the result a name of its own"):
            quantize_onnx(own, same, calibration, test)
    assert own.read_bytes() == path.read_bytes()
    report = quantize_onnx(own, tmp_path / "int8.onnx", calibration, test)
    assert (report.bytes_before, report.bytes_after) == (path.stat().st_size, (tmp_path / "int8.onnx").stat().st_size)
    assert report.bytes_after < report.bytes_before
    with pytest.raises(UsageError, match=r"int8\.onnx is quantized already; give the float file that it was made of"):
        quantize_onnx(tmp_path / "int8.onnx", tmp_path / "int4.onnx", calibration, test)


def test_the_native_form_is_refused_with_the_way_out(tmp_path):
    from onnx import TensorProto, helper, save

    images = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy"]
    node = helper.make_node("HetConv2d", ["x"], ["y"], domain="ai.hetconv")
    save(helper.make_model(helper.make_graph([node], "native", images[:1], images[1:])), tmp_path / "native.onnx")
    with pytest.raises(
        UsageError,
        match=r'native\.onnx is in the native form, .*; for standard operators export it with form="grouped"',
    ):
        quantize_onnx(tmp_path / "native.onnx", tmp_path / "int8.onnx", X, [(X, Y)])


@pytest.fixture(scope="module")
def shrinker(tmp_path_factory):
    """A network that gives an image of ten channels, half as large: classes of pixels, or an image, as one likes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), HetConv2d(8, 10, 3, 1, 1, p=2))
    path = tmp_path_factory.mktemp("shrinker") / "float.onnx"
    export_onnx(model, X[:1], path, "dense")
    return path, model


def test_images_as_output(shrinker, tmp_path):
    """Super-resolution, say: no accuracy, but how far outputs are apart, whatever there is beside the images."""
    path, _ = shrinker
    for test in ([X], [(X,)], [(X, torch.randn(4, 3, 64, 64))], [{"low": X}]):
        report = quantize_onnx(path, tmp_path / "int8.onnx", X, test)
        assert (report.accuracy_before, report.accuracy_after, report.agreement) == (None, None, None)
        assert 0 < report.difference < 0.1
        assert "no accuracy on 4 images: " in str(report)
        assert "outputs differ by" in str(report)


def test_classes_of_pixels(shrinker, tmp_path):
    path, model = shrinker
    labels = model(X).argmax(1)
    labels[:, :8] = (labels[:, :8] + 1) % 10  # a half of the rows are wrong
    report = quantize_onnx(path, tmp_path / "int8.onnx", X, [{"image": X, "mask": labels}])
    assert report.accuracy_before == 0.5
    assert abs(report.accuracy_after - 0.5) < 0.1
    assert 0.8 < report.agreement <= 1


def test_batches_that_are_dicts_or_without_labels(trained, tmp_path):
    path, calibration, test = trained
    pairs = quantize_onnx(path, tmp_path / "int8.onnx", calibration, test)
    dicts = quantize_onnx(
        path, tmp_path / "int8.onnx", calibration, [{"name": "digits", "label": y, "image": x} for x, y in test]
    )
    alone = quantize_onnx(path, tmp_path / "int8.onnx", calibration, [x for x, _ in test])
    assert (dicts.accuracy_before, dicts.accuracy_after) == (pairs.accuracy_before, pairs.accuracy_after)
    assert alone.accuracy_before is None
    assert alone.agreement == pairs.agreement
    assert alone.why_no_accuracy == "test has no labels"
