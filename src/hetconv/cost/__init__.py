"""What a model costs: counted exactly, and measured."""

from hetconv.cost.complexity import complexity
from hetconv.cost.latency import LatencyReport, latency, layer_latencies
from hetconv.cost.theory import speedup_theory

__all__ = ["LatencyReport", "complexity", "latency", "layer_latencies", "speedup_theory"]
