"""Safetensors files: what the library writes is read bit by bit, and nothing else is."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from hetconv.errors import HetconvError
from hetconv.tensor_file import DTYPES, LARGE, NotSafetensorsError, TensorReader, read_metadata, read_tensors


def test_reads_what_the_library_writes(tmp_path):
    tensors = {str(dtype): (torch.arange(6).reshape(2, 3) % 2).to(dtype) for dtype in DTYPES.values()}
    tensors |= {"none": torch.zeros(0, 3), "one": torch.tensor(2.5)}
    (tmp_path / "a").write_bytes(save(tensors, {"key": "value"}))
    read = read_tensors(tmp_path / "a")
    assert read.metadata == {"key": "value"}
    assert set(read.tensors) == set(tensors)
    for name, value in tensors.items():
        assert read.tensors[name].dtype == value.dtype
        assert read.tensors[name].shape == value.shape
        assert read.tensors[name].reshape(-1).view(torch.uint8).tolist() == value.reshape(-1).view(torch.uint8).tolist()


def written(header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


WRONG = {
    "nothing": b"",
    "no header": struct.pack("<Q", 2**60),
    "short header": struct.pack("<Q", 100) + b"{}",
    "no JSON": written(b"{"),
    "deep JSON": written(b"[" * 100_000),
    "no table": written([1]),
    "metadata": written({"__metadata__": {"a": 1}}, b""),
    "dtype": written({"a": tensor("F31")}),
    "no dtype": written({"a": {"shape": [2], "data_offsets": [0, 8]}}),
    "no entry": written({"a": 3}),
    "negative": written({"a": tensor(shape=(-2,))}),
    "overflow": written({"a": tensor(shape=(2**61, 2))}),
    "text": written({"a": tensor(shape=("2",))}),
    "size": written({"a": tensor(shape=(3,))}),
    "gap": written({"a": tensor(shape=(1,), offsets=(4, 8))}),
    "overlap": written({"a": tensor(), "b": tensor()}),
    "too long": written({"a": tensor()}, b"\0" * 9),
    "too short": written({"a": tensor()}, b"\0" * 7),
    "would fill the memory": written({"a": tensor(shape=(2**50,), offsets=(0, 2**52))}),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_no_whole_file_is_refused(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(NotSafetensorsError):
        read_tensors(tmp_path / "a")


@given(st.integers(0, 150), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_a_name_or_value(tmp_path_factory, place, byte):
    data = bytearray(save({"first": torch.arange(5.0), "second": torch.ones(3, dtype=torch.int64)}))
    data[place % len(data)] = byte
    path = tmp_path_factory.mktemp("a") / "a"
    path.write_bytes(data)
    try:
        read = read_tensors(path)
    except NotSafetensorsError:
        return
    assert sum(value.numel() * value.element_size() for value in read.tensors.values()) == 44


def test_tensors_are_read_one_by_one_each_into_memory_of_its_own(tmp_path):
    large = torch.arange(LARGE, dtype=torch.int16)
    path = tmp_path / "a"
    path.write_bytes(save({"large": large, "small": torch.ones(3), "never": torch.zeros(2)}))
    with TensorReader(path) as reader:
        assert set(reader.names) == {"large", "small", "never"}
        first, again = reader.read("large"), reader.read("large")
        first[0] = 5
        assert torch.equal(again, large)
        path.unlink()
        path.write_bytes(b"another file")
        assert torch.equal(reader.read("small"), torch.ones(3))
        with pytest.raises(KeyError):
            reader.read("nothing")


def test_what_a_forked_process_writes_is_not_in_the_tensors_of_its_parent(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(save({"large": torch.zeros(LARGE), "small": torch.zeros(3)}))
    tensors = read_tensors(path).tensors
    child = os.fork()
    if child == 0:
        for tensor in tensors.values():
            memoryview(tensor.numpy())[0] = 1.0
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert not any(tensor.any() for tensor in tensors.values())


def test_empty_tensors_scalars_and_bfloat16_are_read(tmp_path):
    tensors = {
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3),
        "bfloat16": torch.tensor([1.5], dtype=torch.bfloat16),
    }
    path = tmp_path / "a"
    path.write_bytes(save(tensors))
    read = read_tensors(path).tensors
    for name, value in tensors.items():
        assert (read[name].dtype, read[name].shape) == (value.dtype, value.shape)
        assert torch.equal(read[name], value)


def test_a_file_that_the_system_does_not_read_is_not_called_damaged():
    """Reading a process's memory at address 0 is an input/output error, as reading from a broken disk is."""
    path = Path("/proc/self/mem")
    message = f"cannot read {path}: Input/output error; see that its disk works, run again"
    for read in (read_tensors, read_metadata):
        with pytest.raises(HetconvError, match=f"^{message}$") as caught:
            read(path)
        assert type(caught.value) is HetconvError


def test_a_file_that_is_cut_short_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(save({"a": torch.ones(3), "b": torch.ones(3)}))
    with TensorReader(path) as reader:
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(NotSafetensorsError, match="it ends within b"):
            reader.read("b")
