"""Making trained networks smaller by the methods that HetConv is compared with, all along one course."""

from hetconv.compress.afp import AutoBalanced
from hetconv.compress.connection import Connection, sparse
from hetconv.compress.course import Training, compress
from hetconv.compress.depgraph import DepGraph
from hetconv.compress.float_onnx import FloatOnnx
from hetconv.compress.int8 import Int8
from hetconv.compress.l1 import L1
from hetconv.compress.method import Method
from hetconv.compress.remove import FilterGroup, Surgery
from hetconv.compress.result import CompressedModel
from hetconv.compress.sbp import Bayesian
from hetconv.compress.sensitivity import plan_probes, sensitivity
from hetconv.compress.spec import StageSettings, parse_method

__all__ = [
    "L1",
    "AutoBalanced",
    "Bayesian",
    "CompressedModel",
    "Connection",
    "DepGraph",
    "FilterGroup",
    "FloatOnnx",
    "Int8",
    "Method",
    "StageSettings",
    "Surgery",
    "Training",
    "compress",
    "parse_method",
    "plan_probes",
    "sensitivity",
    "sparse",
]
