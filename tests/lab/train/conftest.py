import pytest


@pytest.fixture(autouse=True)
def _every_epoch_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hetconv.lab.train.pace.TIMES", 0)
