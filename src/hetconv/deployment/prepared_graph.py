"""From a module to a graph of values, with its shapes known and its batch norms folded."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.fx import Node

from hetconv.deployment.channels_last import make_channels_last
from hetconv.deployment.choose import Chooser
from hetconv.deployment.graph_convolutions import Site, find_sites
from hetconv.deployment.linear import make_convolutions
from hetconv.deployment.packed_calls import lower
from hetconv.deployment.reuse import reuse_memory
from hetconv.deployment.signature import Signature
from hetconv.foreign import describe_error
from hetconv.graph.captured import Captured
from hetconv.graph.fold_plain_graph import fold_plain_graph
from hetconv.graph.parallel import join_parallel
from hetconv.graph.plain_graph import capture
from hetconv.graph.shapes import find_shapes, shapes_of
from hetconv.graph.simplify import check_allowed, drop_identities, fold_constants, fold_dimensions, name_activations
from hetconv.graph.tracing import CaptureError
from hetconv.graph.values import make_values


@dataclass(frozen=True)
class Prepared:
    """A graph on the packed operator.

    Attributes:
        sites: its convolutions.
        norms: the batch norms that remain, with reasons.
        parallel: modules whose calls became part of another module's convolution, with the name of that.
    """

    captured: Captured
    sites: tuple[Site, ...]
    norms: tuple[tuple[str, str], ...]
    parallel: dict[str, str]


def captured_values(module: nn.Module, signature: Signature, whole: bool) -> Captured:
    """The module's graph of allowed operations, none of them in place.

    Args:
        whole: whether the module is the network itself, whose caller is the user; else it is a part, whose caller is
            the network's own code: that may read again what the part has written to, and a graph writes to nothing.

    Raises:
        CaptureError: there is no such graph; the message is the reason.
    """
    captured, effect = capture(module, signature.structure, len(signature.tensors))
    if make_values(captured.graph):
        effect = "it changes its input in place"
    if effect is not None and not whole:
        raise CaptureError(f"{effect}, which the network's code may read")
    fold_constants(captured)
    drop_identities(captured)
    name_activations(captured)
    check_allowed(captured)
    return captured


def prepare(
    captured: Captured, inputs: list[Tensor], chooser: Chooser, linear: bool = False, join: bool = True
) -> Prepared:
    """Fold, fuse, choose and pack, by what a run on the inputs shows; changes the graph.

    Args:
        linear: whether linear layers go onto the packed operator too.
        join: whether convolutions of one value whose results are added become one.

    Raises:
        CaptureError: the graph does not run on the inputs.
    """
    try:
        find_shapes(captured, inputs)
    except Exception as error:
        raise CaptureError(f"its captured graph does not run: {describe_error(error)}") from error
    fold_dimensions(captured, _dimensions(captured))
    norms = fold_plain_graph(captured)
    parallel = join_parallel(captured) if join else {}
    linears = make_convolutions(captured) if linear else set()
    sites = find_sites(captured, norms)
    shown = tuple(site for site in sites if site.node not in linears)
    lower(captured, sites, chooser)
    reuse_memory(captured)
    make_channels_last(captured, inputs)
    captured.graph.lint()
    kept = tuple((one.name, one.reason) for one in norms if one.reason is not None and one.name not in parallel)
    return Prepared(captured, shown, kept, parallel)


def _dimensions(captured: Captured) -> dict[Node, int]:
    found = ((node, shapes_of(node)) for node in captured.graph.nodes)
    return {node: len(shapes.example) for node, shapes in found if shapes is not None}
