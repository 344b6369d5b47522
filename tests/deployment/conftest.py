import pytest

from hetconv.ops import native


@pytest.fixture(autouse=True)
def _native_kernels():
    reason = native.why_not_loaded()
    if reason is not None:
        pytest.skip(reason)
