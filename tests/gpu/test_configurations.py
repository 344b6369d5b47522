"""The configurations that are tried: all of one layout, all fitting the layer; and how work is cut into runs."""

from types import SimpleNamespace

import pytest
import torch

from hetconv.ops.gpu.configurations import MOST, candidates, rows_for, rows_of, weight_grad_candidates
from hetconv.ops.gpu.rows import PackedRows, merge_for
from hetconv.ops.gpu.support import Device, device_of
from hetconv.ops.gpu.weight_grad import splits_of
from hetconv.pattern import HetPattern

DEVICES = [
    Device((8, 0), 166_912),
    Device((8, 6), 101_376),
    Device((9, 0), 232_448),
    Device((10, 0), 232_448),
    Device((12, 0), 101_376),
]
"""A100, RTX 30 and 40, H100 and H200, B200, RTX 50, with what one program can have (CUDA C++ Programming Guide,
compute capabilities)."""
TYPES = [(torch.bfloat16, "ieee"), (torch.float16, "ieee"), (torch.float32, "tf32"), (torch.float32, "ieee")]


@pytest.mark.parametrize(("dtype", "precision"), TYPES, ids=str)
@pytest.mark.parametrize(
    "sizes", [(64, 64, 64), (128, 128, 4), (512, 256, 8), (6, 9, 3), (96, 48, 1), (48, 48, 48)], ids=str
)
def test_all_fit_and_read_the_same_rows(sizes, dtype, precision):
    m, n, p = sizes
    pattern = HetPattern(m, n, 3, p)
    found = candidates(m, n, p, (28, 28), dtype, precision)
    assert 1 <= len(found) <= MOST
    assert len(set(found)) == len(found)
    assert {rows_of(pattern, one) for one in found} == {rows_for(pattern, dtype)}
    for one in found:
        assert p % one.merge == 0
        assert p // one.merge % one.parts == 0
        assert one.tile_width == 0 or one.block_pixels % one.tile_width == 0
    assert all(p % one.merge == 0 for one in weight_grad_candidates(pattern, dtype, precision))


@pytest.mark.parametrize("processor", DEVICES, ids=str)
@pytest.mark.parametrize(("dtype", "precision"), TYPES, ids=str)
def test_every_device_has_shared_memory_for_some(processor, dtype, precision):
    for channels in (16, 64, 96, 128, 256, 512):
        for p in (p for p in (1, 2, 4, 8, 16, 32, 64, channels) if channels % p == 0):
            layer = (channels, channels, p, (28, 28), dtype, precision)
            of_weights = (HetPattern(channels, channels, 3, p), dtype, precision)
            for found, anywhere in (
                (candidates(*layer, processor), candidates(*layer)),
                (weight_grad_candidates(*of_weights, processor), weight_grad_candidates(*of_weights)),
            ):
                taken = [one.shared_bytes(dtype.itemsize, processor.capability) for one in found]
                assert max(taken) <= processor.shared_bytes
                assert len(found) >= min(2, len(anywhere))


def test_what_a_device_says_of_itself(monkeypatch):
    said = SimpleNamespace(major=9, minor=0, shared_memory_per_block_optin=232_448)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: said)
    assert device_of.__wrapped__(torch.device("cuda", 0)) == Device((9, 0), 232_448)
    assert device_of(torch.device("cpu")) is None


def test_where_nothing_is_known_to_fit_the_smallest_is_tried():
    found = candidates(256, 256, 4, (28, 28), torch.bfloat16, "ieee", Device((9, 0), 1024))
    (one,) = found
    assert one.shared_bytes(2, (9, 0)) == min(
        other.shared_bytes(2, (9, 0)) for other in candidates(256, 256, 4, (7, 7), torch.bfloat16, "ieee")
    )


@pytest.mark.parametrize(
    ("p", "filters", "merge"), [(4, 64, 1), (8, 8, 2), (64, 1, 16), (6, 4, 6), (3, 3, 3), (1, 5, 1)]
)
def test_parts_are_merged_up_to_16_filters(p, filters, merge):
    assert merge_for(p, filters, 16) == merge


def test_rows_are_filled_up():
    rows = PackedRows(12, 24, 6, 9, 3, 16)
    assert (rows.parts, rows.own, rows.part_filters) == (2, 6, 12)
    assert (rows.columns, rows.ring, rows.row, rows.even) == (16, 48, 64, False)
    assert rows.exchanged() == PackedRows(24, 12, 6, 9, 3, 16)
    assert PackedRows(64, 64, 4, 9, 1, 16).macs_per_position == HetPattern(64, 64, 3, 4).macs_per_position


@pytest.mark.parametrize("positions", [1, 63, 64, 4096, 200_704])
@pytest.mark.parametrize("tiles", [1, 48, 5000])
def test_runs_of_pixels_cover_all_once(positions, tiles):
    splits, length = splits_of(positions, tiles, 512 * 1536, 64, 132)
    assert length % 64 == 0
    assert (splits - 1) * length < positions <= splits * length
