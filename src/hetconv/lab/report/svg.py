"""A matplotlib figure as SVG that is part of a page: themed by CSS variables, labelled, with ids of its own."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from hetconv.lab.report.axes import report_style
from hetconv.lab.report.palette import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
FONT = re.compile(r"'DejaVu Sans'(, [^;]*)?")


def inline_svg(figure: Figure, name: str, alternative: str) -> str:
    """The figure as an <svg> element.

    Args:
        name: prefix of every id in it, unique on the page.
        alternative: what a screen reader says in its place.
    """
    file = io.StringIO()
    with report_style():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    root = ElementTree.fromstring(file.getvalue())
    for element in root.iter():
        _adapt(element, name)
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib.update({"role": "img", "aria-label": alternative, "class": "plot", "id": name})
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, name: str) -> None:
    """Strip namespaces (HTML knows <svg>), prefix ids and the references to them, take colours from the page."""
    element.tag = element.tag.removeprefix(SVG)
    reference = element.attrib.pop(HREF, None)
    if reference is not None:
        element.attrib["href"] = reference.replace("#", f"#{name}-")
    if "id" in element.attrib:
        element.attrib["id"] = f"{name}-{element.attrib['id']}"
    for attribute in ("clip-path", "style", "fill", "stroke"):
        if attribute in element.attrib:
            element.attrib[attribute] = _themed(element.attrib[attribute].replace("url(#", f"url(#{name}-"))


def _themed(style: str) -> str:
    for variable, light, _ in COLOURS:
        style = style.replace(light, f"var(--{variable})")
    return FONT.sub("var(--sans)", style)
