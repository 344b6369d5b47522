"""What a model costs: counted exactly, and measured."""

from hetconv.cost.complexity import complexity
from hetconv.cost.latency import LatencyReport, latency, layer_latencies
from hetconv.cost.theory import reduction_ratio, speedup_theory

__all__ = ["LatencyReport", "complexity", "latency", "layer_latencies", "reduction_ratio", "speedup_theory"]
