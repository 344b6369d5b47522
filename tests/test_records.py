"""Records: what is saved comes back, and a damaged file is never taken for a record."""

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetconv.errors import DamagedFileError
from hetconv.lab.results import Epoch, Results, Run, StudySettings, VariantCost
from hetconv.records import Circumstances, Complexity, Latency, LayerCost, load_record, save_record

LATENCY = Latency(1.5, 1.25, 2.0, 20)
LAYERS = (
    LayerCost("conv1", "het", 16, 32, (3, 3), (1, 1), (8, 8), 24576, 416, 24640, p=4, arrangement="shifted"),
    LayerCost("head", "linear", 32, 10, (), (), (), 320, 330, 330, calls=2, latency_ms=0.5),
)
COMPLEXITY = Complexity(24896, 746, 24970, 0, LAYERS, ("aten::bmm",))
EPOCHS = (Epoch(1, 0.1, 2.3, 2.25, 0.125, 3.0), Epoch(2, 0.05, 1.5, 1.75, 0.5, 3.0))
RUN = Run("het-p4", 0, "done", EPOCHS)
SETTINGS = StudySettings(
    "vgg16_cifar", "digits", 10, (1, 8, 8), 1437, 360, ("dense", "het-p4"), (0, 1), {"epochs": 2, "lr": 0.1}
)
CIRCUMSTANCES = Circumstances(
    "2026-01-01", "a processor", 2, 1, "cpu", "float32", "channels_last", 1, {"torch": "2.11"}
)
RESULTS = Results(SETTINGS, CIRCUMSTANCES, (RUN,), (VariantCost("het-p4", COMPLEXITY, LATENCY, 3.0),))
RECORDS = [LATENCY, *LAYERS, COMPLEXITY, *EPOCHS, RUN, SETTINGS, CIRCUMSTANCES, RESULTS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_round_trip(record, tmp_path):
    path = tmp_path / "record.json"
    save_record(record, path)
    assert load_record(type(record), path) == record
    assert json.loads(path.read_text()) == json.loads(json.dumps(asdict(record)))  # plain JSON, readable elsewhere


@given(st.floats(), st.floats(0, 1), st.text())
def test_round_trip_of_any_values(tmp_path_factory, loss, accuracy, text):
    """NaN and infinity included: a run that diverged can still be read."""
    path = tmp_path_factory.getbasetemp() / "any.json"
    record = Run(text, 0, "failed", (Epoch(1, 0.1, loss, loss, accuracy, 1.0),), error=text)
    save_record(record, path)
    back = load_record(Run, path)
    assert repr(back) == repr(record)  # NaN does not equal itself


def test_diverged_loss_comes_back(tmp_path):
    path = tmp_path / "epoch.json"
    save_record(Epoch(1, 0.1, math.nan, math.inf, 0.1, 1.0), path)
    assert math.isnan(load_record(Epoch, path).train_loss)


def test_cut_short_at_every_byte(tmp_path):
    path = tmp_path / "run.json"
    save_record(RUN, path)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):  # the last byte is a newline after a whole record
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match="delete it to start that part afresh"):
            load_record(Run, path)
    path.write_bytes(whole[:-1])
    assert load_record(Run, path) == RUN


DAMAGED = {
    b"": "the file: Invalid JSON",
    b"\x00" * 64: "the file: Invalid JSON",
    b"\xff\xfe": "the file: Invalid JSON",
    b"[]": "the file: ",
    b"null": "the file: ",
    b'{"median_ms": 1.0, "p20_ms": 1.0, "p80_ms": 1.0}': "samples: Field required",
    b'{"median_ms": "1", "p20_ms": 1.0, "p80_ms": 1.0, "samples": 3}': "median_ms: Input should be a valid number",
    b'{"median_ms": 1.0, "p20_ms": 1.0, "p80_ms": 1.0, "samples": 3.5}': "samples: Input should be a valid integer",
    b'{"median_ms": 1.0, "p20_ms": 1.0, "p80_ms": 1.0, "samples": true}': "samples: Input should be a valid integer",
    b'{"median_ms": 1, "p20_ms": 1, "p80_ms": 1, "samples": 3, "mean_ms": 1}': "mean_ms: Unexpected keyword argument",
}


@pytest.mark.parametrize("content", DAMAGED, ids=repr)
def test_damage_is_named(content, tmp_path):
    path = tmp_path / "latency.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError) as caught:
        load_record(Latency, path)
    assert str(caught.value).startswith(f"{path} is damaged: not a whole Latency record ({DAMAGED[content]}")
    assert caught.value.path == path


@pytest.mark.parametrize("record", [RUN, SETTINGS, COMPLEXITY], ids=lambda record: type(record).__name__)
def test_another_record_is_refused(record, tmp_path):
    path = tmp_path / "record.json"
    save_record(record, path)
    with pytest.raises(DamagedFileError):
        load_record(Latency, path)


def test_accuracy_is_the_last_epochs():
    assert RUN.accuracy == 0.5
    assert Run("dense", 0, "done", EPOCHS[::-1]).accuracy == 0.125
    assert Run("dense", 0, "running").accuracy is None
