import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hetconv.errors import UsageError
from hetconv.lab.report import joined
from hetconv.lab.report.runs_csv import read_runs_csv, runs_csv
from hetconv.lab.results import Results, Run, StudyResults
from hetconv.lab.statistics import verdicts

from .example import example


def study(results: Results) -> StudyResults:
    return StudyResults("s", "", (results,), recipe_source="a recipe.")


def written(path: Path, results: Results) -> Path:
    path.write_bytes(runs_csv(study(results)).encode())
    return path


def test_there_and_back(tmp_path: Path) -> None:
    results = example(seeds=(0, 1), epochs=2)
    odd = (
        Run('x,y"z\u2028', 7, "failed", (), 'it, "broke"\nin two lines\r\nand a third'), Run("new", 8, "running"),
        Run("=1+1", 9, "failed", results.runs[0].epochs, "<script>"),
    )  # fmt: skip
    results = replace(results, runs=(*results.runs, *odd))
    path = written(tmp_path / "runs.csv", results)
    assert read_runs_csv(path) == {"vgg16_cifar": results.runs}


def test_a_file_cut_anywhere_is_told(tmp_path: Path) -> None:
    """But for a cut between two lines, which only the number of epochs can tell."""
    text = runs_csv(study(example(seeds=(0,), epochs=2)))
    for cut in range(0, len(text) - 1, 7):
        (tmp_path / "cut.csv").write_text(text[:cut])
        if not text[:cut].endswith("\n"):
            with pytest.raises(UsageError, match=r"cut\.csv line \d+: .*"):
                read_runs_csv(tmp_path / "cut.csv")


def nth(text: str, number: int, change: Callable[[list[str]], list[str]]) -> str:
    lines = text.splitlines()
    lines[number - 1] = ",".join(change(lines[number - 1].split(",")))
    return "\n".join(lines) + "\n"


def cell(index: int, value: str) -> Callable[[list[str]], list[str]]:
    return lambda cells: [*cells[:index], value, *cells[index + 1 :]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("seed,", "sed,", 1), "line 1: the columns must be network,variant,seed"),
        (lambda text: "", "line 1: the line has no end; the file is cut short"),
        (lambda text: text[:-3], r"line \d+: (the line has no end|.* cells)"),
        (lambda text: text + "a,b\n", r"line \d+: 2 cells, not 13; is the file cut short\?"),
        (lambda text: text + 'a,"b', r"line \d+: unexpected end of data; is the file cut short\?"),
        (lambda text: text + "x" * 200_000 + "\n", r"line \d+: field larger than field limit"),
        (lambda text: nth(text, 2, cell(2, "zero")), "line 2: seed='zero' must be a whole number of at least 0"),
        (lambda text: nth(text, 2, cell(2, "-1")), "line 2: seed='-1' must be a whole number"),
        (lambda text: nth(text, 2, cell(2, "9" * 5000)), "line 2: seed='9{40}' must be a whole number"),
        (lambda text: nth(text, 2, cell(3, "over")), "line 2: state='over' must be running, done or failed"),
        (lambda text: nth(text, 3, cell(3, "failed")), "line 3: state='failed' and error must be those of the run's"),
        (lambda text: nth(text, 2, cell(5, "L1()")), "line 2: 'dense' was compressed after training"),
        (lambda text: nth(text, 3, cell(6, "3")), "line 3: epoch=3 must be 2, the one after the line before"),
        (lambda text: nth(text, 2, cell(6, "0")), "line 2: epoch='0' must be a whole number of at least 1"),
        (lambda text: nth(text, 2, cell(8, "nan")), "line 2: train_loss='nan' must be a finite number"),
        (lambda text: nth(text, 2, cell(10, "94.1")), "line 2: accuracy='94.1' must be a fraction between 0 and 1"),
        (lambda text: nth(text, 2, cell(11, "")), "line 2: seconds='' must be a finite number"),
        (lambda text: nth(text, 3, lambda cells: [*cells[:6], *[""] * 7]), "line 3: a line without an epoch must be"),
    ],
)
def test_wrong_csv_names_its_line(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(change(runs_csv(study(example(epochs=2)))))
    with pytest.raises(UsageError, match=message) as caught:
        read_runs_csv(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_bytes(b"\xff\x00")
    with pytest.raises(UsageError, match=r"cannot read .*runs\.csv"):
        read_runs_csv(tmp_path / "runs.csv")


def halves(results: Results) -> tuple[Results, Results]:
    """The same study as two places did it: seeds 0 and 1 here, the others there."""
    here = tuple(run for run in results.runs if run.seed < 2)
    return replace(results, runs=here), replace(results, runs=tuple(run for run in results.runs if run.seed >= 2))


def test_a_study_joined_from_two_places_is_the_whole_one(tmp_path: Path) -> None:
    whole = example(seeds=(0, 1, 2, 3), epochs=2)
    whole = replace(whole, settings=replace(whole.settings, recipe={"epochs": 2}))
    here, there = halves(whole)
    path = written(tmp_path / "there.csv", there)
    found = joined(study(here), path)
    assert set(found.networks[0].runs) == set(whole.runs)
    assert verdicts(found) == verdicts(study(whole))
    told = f"a recipe; {len(there.runs)} runs joined from there.csv, whose times may be another machine's"
    assert found.recipe_source == told
    again = joined(found, written(tmp_path / "again.csv", found.networks[0]))
    assert again.networks == found.networks


def test_what_does_not_belong_is_refused(tmp_path: Path) -> None:
    here = example(seeds=(0, 1), epochs=2)
    here = replace(here, settings=replace(here.settings, recipe={"epochs": 2}))
    other = replace(here, settings=replace(here.settings, network="resnet56_cifar"))
    with pytest.raises(UsageError, match="network='resnet56_cifar' is not in this study, which has vgg16_cifar"):
        joined(study(here), written(tmp_path / "a.csv", other))
    more = replace(here, runs=(replace(here.runs[0], variant="het-p2"),))
    with pytest.raises(UsageError, match="variant='het-p2' is not in this study, which has dense"):
        joined(study(here), written(tmp_path / "d.csv", more))
    changed = replace(here, runs=(replace(here.runs[0], state="failed"), *here.runs[1:]))
    with pytest.raises(UsageError, match=re.escape("dense seed 0 is in this study with other values")):
        joined(study(here), written(tmp_path / "b.csv", changed))
    short = replace(here, runs=tuple(replace(run, seed=run.seed + 5, epochs=run.epochs[:1]) for run in here.runs))
    with pytest.raises(UsageError, match="dense seed 5 has 1 epochs, this study's have 2; is the file cut short"):
        joined(study(here), written(tmp_path / "c.csv", short))


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from(
    ['=HYPERLINK("http://a/")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''", "'"]
)


@given(TEXT.filter(bool), TEXT, TEXT)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_a_formula_and_all_come_back(tmp_path: Path, network: str, variant: str, error: str) -> None:
    """A spreadsheet runs what begins so; the apostrophe before it is taken away when the file is read."""
    results = example(seeds=(0,), epochs=1)
    run = Run(variant, 0, "failed", results.runs[0].epochs, error or None)
    results = replace(results, settings=replace(results.settings, network=network), runs=(run,))
    path = written(tmp_path / "runs.csv", results)
    assert read_runs_csv(path) == {network: (run,)}
    (_, *rows) = csv.reader(io.StringIO(path.read_bytes().decode(), newline=""))
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "@", "\t", "\r"))
        assert not cell.startswith("-") or float(cell) <= 0
