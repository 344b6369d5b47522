import torch
from torch import nn

from hetconv.lab.train.lookahead import Lookahead


def test_everything_moves_back_towards_where_it_was() -> None:
    network = nn.BatchNorm2d(1)
    lookahead = Lookahead(network)
    for value in (4.0, 8.0):
        with torch.no_grad():
            network.bias.fill_(value)
            network.running_mean.fill_(2 * value)
        lookahead.move_back(0.25)
        # 0 → 3 of 4; then 3 → 3 + 0.75 · 5 of 8
        expected = 3.0 if value == 4 else 6.75
        assert network.bias.item() == expected
        assert network.running_mean.item() == 2 * expected
    assert network.num_batches_tracked.item() == 0
