"""What a latency report says and leaves alone; the times themselves are for benchmarks."""

import pytest
import torch
from torch import nn

from hetconv.cost import latency, layer_latencies
from hetconv.errors import HetconvError, UsageError


def networks() -> dict[str, nn.Module]:
    return {"dense": nn.Conv2d(3, 4, 3), "bn": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))}


def test_every_model_has_ordered_quantiles_and_circumstances() -> None:
    report = latency(networks(), torch.randn(2, 3, 8, 8), samples=5, threads=1)
    assert set(report.latencies) == {"dense", "bn"}
    for found in report.latencies.values():
        assert 0 < found.p20_ms <= found.median_ms <= found.p80_ms
        assert found.samples == 5
        assert found.memory_format in ("channels_last", "contiguous")
    at = report.circumstances
    assert (at.threads, at.batch_size, at.dtype, at.device, at.memory_format) == (1, 2, "float32", "cpu", "fastest")
    assert at.versions["torch"] == torch.__version__.partition("+")[0] or at.versions["torch"] == torch.__version__
    assert report.speedup("dense") == 1.0


def test_models_and_threads_are_left_as_they_were() -> None:
    models = networks()
    models["bn"].train()
    before = {name: value.clone() for name, value in models["bn"].state_dict().items()}
    threads = torch.get_num_threads()
    latency(models, torch.randn(1, 3, 8, 8), samples=1, threads=1)
    assert torch.get_num_threads() == threads
    assert models["bn"].training
    assert not any(parameter.is_inference() for parameter in models["bn"].parameters())
    assert all(torch.equal(value, before[name]) for name, value in models["bn"].state_dict().items())


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_memory_format_is_left_as_it_was(layout: torch.memory_format) -> None:
    conv = nn.Conv2d(3, 4, 3).to(memory_format=layout)
    strides = conv.weight.stride()
    latency({"conv": conv}, torch.randn(1, 3, 8, 8), samples=1)
    assert conv.weight.stride() == strides


def test_each_layer_of_a_model_is_timed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    times = layer_latencies(model, torch.randn(1, 3, 8, 8), ["0", "2"], samples=3)
    assert set(times) == {"0", "2"}
    assert all(time > 0 for time in times.values())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_wrong_values_are_not_timed() -> None:
    broken = nn.Conv2d(3, 4, 3)
    nn.init.constant_(broken.bias, float("nan"))
    with pytest.raises(HetconvError, match="broken gives an output that is not finite"):
        latency({"broken": broken}, torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("example", [torch.randn(3, 8), torch.randn(1, 4, 8, 8), [torch.randn(1, 3, 8, 8)]])
def test_wrong_examples(example: object) -> None:
    with pytest.raises(UsageError, match="example"):
        latency(networks(), example, samples=1)  # type: ignore[arg-type]


def test_speedup_over_what_was_not_measured() -> None:
    report = latency({"conv": nn.Conv2d(3, 4, 3)}, torch.randn(1, 3, 8, 8), samples=1)
    with pytest.raises(UsageError, match="'dense' was not measured; there is conv"):
        report.speedup("conv")


@pytest.mark.parametrize("options", [{"samples": 0}, {"threads": 0}, {"memory_format": "nhwc"}])
def test_wrong_arguments(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        latency(networks(), torch.randn(1, 3, 8, 8), **options)  # type: ignore[arg-type]
