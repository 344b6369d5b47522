import pytest
import torch
from hypothesis import settings

# The same examples in every run, and no limit on the time of one: a test fails for what the code does or not at all.
settings.register_profile("hetconv", max_examples=40, derandomize=True, deadline=None, database=None)
settings.load_profile("hetconv")


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test():
    torch.manual_seed(0)
