"""The same network, dense and with HetConv layers, in the runtimes that people have: one table, measured in turns."""

from hetconv.lab.bench.measure import bench, bench_in_turns
from hetconv.lab.bench.measured_network import Network
from hetconv.lab.bench.registry import Runner
from hetconv.lab.settings.bench import RUNNERS, Bench

__all__ = ["RUNNERS", "Bench", "Network", "Runner", "bench", "bench_in_turns"]
