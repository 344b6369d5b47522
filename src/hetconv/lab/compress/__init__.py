"""Making trained networks smaller by the methods that HetConv is compared with, all along one course."""

from hetconv.lab.compress.afp import AutoBalanced
from hetconv.lab.compress.connection import Connection, sparse
from hetconv.lab.compress.course import Training, compress
from hetconv.lab.compress.depgraph import DepGraph
from hetconv.lab.compress.float_onnx import FloatOnnx
from hetconv.lab.compress.int8 import Int8
from hetconv.lab.compress.l1 import L1
from hetconv.lab.compress.method import Method
from hetconv.lab.compress.remove import FilterGroup, Surgery
from hetconv.lab.compress.result import CompressedModel
from hetconv.lab.compress.sbp import Bayesian
from hetconv.lab.compress.sensitivity import plan_probes, sensitivity
from hetconv.lab.compress.spec import parse_method, preparation, retraining

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
    "Surgery",
    "Training",
    "compress",
    "parse_method",
    "plan_probes",
    "preparation",
    "retraining",
    "sensitivity",
    "sparse",
]
