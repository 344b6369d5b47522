"""The benchmark on a detector of text: its network with random weights, and its measures against maps made by hand."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def craft(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import craft

    return craft


@pytest.fixture
def score_maps(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import score_maps

    return score_maps


class TestNetwork:
    def test_its_state_has_the_published_names_and_sizes(self, craft):
        network = craft.Craft()
        state = network.state_dict()
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        assert len(state) == 154
        assert sum(value.numel() for value in state.values()) == 20_780_790
        assert shapes["basenet.slice1.0.weight"] == (64, 3, 3, 3)
        assert shapes["basenet.slice2.17.weight"] == (256, 256, 3, 3)
        assert shapes["basenet.slice4.38.running_var"] == (512,)
        assert shapes["basenet.slice5.1.weight"] == (1024, 512, 3, 3)
        assert shapes["upconv1.conv.0.weight"] == (512, 1536, 1, 1)
        assert shapes["conv_cls.8.bias"] == (2,)
        dense = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert len(dense) == 20

    @pytest.mark.parametrize("size", [(16, 16), (17, 35), (50, 33)])
    def test_its_maps_have_half_the_size(self, craft, size):
        network = craft.Craft().eval()
        with torch.no_grad():
            assert network(torch.randn(2, 3, *size)).shape == (2, 2, size[0] // 2, size[1] // 2)

    def test_a_published_file_loads_strictly(self, craft, tmp_path):
        network = craft.Craft()
        state = {f"module.{name}": value for name, value in network.state_dict().items()}
        torch.save(state, tmp_path / "weights.pth")
        found = craft.load_craft(tmp_path / "weights.pth").state_dict()
        assert all(torch.equal(value, found[name]) for name, value in network.state_dict().items())
        del state["module.conv_cls.0.weight"]
        torch.save(state, tmp_path / "weights.pth")
        with pytest.raises(RuntimeError, match=r"conv_cls\.0\.weight"):
            craft.load_craft(tmp_path / "weights.pth")


class TestMeasures:
    def test_iou_by_hand(self, score_maps):
        found = torch.tensor([[0.9, 0.5, 0.1], [0.8, 0.4, 0.0]])
        wanted = torch.tensor([[0.9, 0.1, 0.5], [0.6, 0.4, 0.0]])
        assert score_maps.iou(found, wanted, 0.4) == 2 / 4  # a score at the threshold is not above it
        assert score_maps.iou(found, wanted, 0.7) == 1 / 2
        assert score_maps.iou(found, wanted, 0.95) == 1

    def test_pearson_by_hand(self, score_maps):
        x = torch.tensor([1.0, 2.0, 3.0, 4.0])
        assert score_maps.pearson(x, 5 - 2 * x) == pytest.approx(-1, abs=1e-15)
        assert score_maps.pearson(x, torch.tensor([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8, abs=1e-15)
        assert score_maps.pearson(x, torch.ones(4)) == 0

    def test_channels_are_told_apart(self, score_maps):
        wanted = torch.zeros(1, 2, 2, 2)
        wanted[0, 0, 0, 0], wanted[0, 1, 1] = 1.0, 0.5
        found = wanted.clone()
        found[0, 0, 0, 0], found[0, 1, 1, 0] = 0.6, 0.0
        agreed = score_maps.agreement(found, wanted)
        assert (agreed.text_iou, agreed.region_iou, agreed.link_iou) == (0, 1, 0.5)
        assert agreed.region_pearson == pytest.approx(1)
        assert 0 < agreed.link_pearson < 1

    def test_maps_of_all_batches_come_together(self, score_maps):
        batches = [torch.ones(2, 2, 1, 1), 2 * torch.ones(1, 2, 1, 1)]
        assert score_maps.score_maps(nn.Identity(), batches)[:, 0].flatten().tolist() == [1, 1, 2]


def test_pixels_are_normalized_as_for_imagenet(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from text_photographs import normalized

    found = normalized(torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)).flatten()
    wanted = torch.tensor([-0.485 / 0.229, (1 - 0.456) / 0.224, (0.2 - 0.406) / 0.225])
    torch.testing.assert_close(found, wanted)


def test_photographs_get_the_same_text_each_time(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from text_photographs import photographs, with_text

    (tmp_path / "kind").mkdir()
    for name in "abc":
        Image.new("RGB", (40, 30), "white").save(tmp_path / "kind" / f"{name}.jpg")
    paths = photographs(tmp_path)
    assert sorted(path.stem for path in paths) == ["a", "b", "c"]
    assert paths == photographs(tmp_path)
    first = with_text(paths, (48, 64), seed=0)
    assert first.shape == (3, 3, 48, 64)
    assert first.dtype == torch.uint8
    assert torch.equal(first, with_text(paths, (48, 64), seed=0))
    assert not torch.equal(first, with_text(paths, (48, 64), seed=1))
    assert (first.flatten(1).min(1).values < 255).all()  # every photograph was white
