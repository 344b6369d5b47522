import os

import pytest

# One thread, here and in processes that tests start: several test processes share the cores, and threads that wait for
# each other there take ten times as long. Tests of several threads ask for them.
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from hypothesis import settings

# The same examples in every run, and no limit on the time of one: a test fails for what the code does or not at all.
settings.register_profile("hetconv", max_examples=40, derandomize=True, deadline=None, database=None)
settings.load_profile("hetconv")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test():
    torch.manual_seed(0)
