import sys

import pytest

from hetconv.ops import native


@pytest.fixture(autouse=True)
def _native_kernels():
    reason = native.why_not_loaded()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _not_timed(request, monkeypatch):
    """Networks are not timed before and after, which takes a second each, but where a test is of that."""
    if "timed" not in request.keywords:
        module = sys.modules["hetconv.deployment.deploy"]
        monkeypatch.setattr(module, "before_and_after", lambda *_: None)
