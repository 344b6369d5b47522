"""The examples in README and docs run, and the commands they show exist."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from hetconv import public
from hetconv.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


WITH_COMMANDS = {"tutorial.md"}
"""Pages whose examples read what the commands between them write; tests/test_shown_commands.py runs them."""


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page, "python") and page.name not in WITH_COMMANDS],
    ids=lambda page: page.name,
)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One page is one session: later blocks use names of earlier ones."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


def commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("hetconv ")]


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.make_context(name, arguments).info_name == name


def test_every_public_name_is_in_the_reference() -> None:
    named = re.findall(r"^::: hetconv\.(\w+)$", (ROOT / "docs/reference.md").read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted(set(public.__all__))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_tables_of_measurements_are_those_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import accuracy
    import adapt
    import adapt_craft
    import int8_networks
    import memory
    import one_call
    import plans
    import training_step

    studies = accuracy.found()
    adapted = json.loads((ROOT / "benchmarks/results/adapt-cifar10-94.json").read_text())["found"]
    assert studies
    assert (ROOT / "docs/accuracy.md").read_text() == accuracy.page(studies)
    assert int8_networks.table(int8_networks.committed()[0]) in (ROOT / "README.md").read_text()
    assert int8_networks.tables() in (ROOT / "docs/speed.md").read_text()
    assert adapt.table(adapted) in (ROOT / "docs/adapting.md").read_text()
    assert adapt.tunings(json.loads(adapt.TUNINGS.read_text())) in (ROOT / "docs/adapting.md").read_text()
    assert adapt_craft.table(json.loads(adapt_craft.RECORD.read_text())) in (ROOT / "docs/adapting.md").read_text()
    planned = json.loads((ROOT / "benchmarks/results/plans.json").read_text())
    assert plans.table(planned).markdown() in (ROOT / "docs/adapting.md").read_text()
    assert memory.table(memory.committed()) in (ROOT / "docs/speed.md").read_text()
    assert one_call.table(one_call.committed()) in (ROOT / "docs/speed.md").read_text()
    record = json.loads(training_step.RECORD.read_text())
    assert training_step.table(record) in (ROOT / "docs/training.md").read_text()
