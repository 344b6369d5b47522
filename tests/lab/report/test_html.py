import base64
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hetconv.errors import HetconvError
from hetconv.lab.report.html import report_page, study_page, write_report
from hetconv.lab.results import Claim, Results, StudyResults
from hetconv.records import load_record, save_record

from .example import example, het_layer, renamed, run
from .page import Page


def only_our_scripts(page: Page) -> tuple[str, str]:
    """The page's script and the data of its one network; nothing else may be a script, nor an attribute that runs."""
    data, script = page.all("script")
    assert (data.attributes, script.attributes) == ({"type": "application/json", "class": "data"}, {})
    handlers = [name for element in page.elements for name in element.attributes if name.startswith("on")]
    assert handlers == []
    return "".join(script.text), "".join(data.text)


HOSTILE = "<script>alert('x')</script>\"--> $\\alpha$ & {{ 7 * 7 }}\x00\x1b"


@pytest.fixture(scope="module")
def text() -> str:
    return report_page(example(), "hetconv compare --seeds 0,1")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_headings_descend_without_a_gap(page: Page) -> None:
    levels = [int(element.tag[1]) for element in page.elements if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_headline_comes_first(page: Page) -> None:
    finding = next(element for element in page.all("p") if element.attributes.get("class") == "finding")
    assert finding.words.startswith("het-p4 is 1.9× as fast as dense, 3.0× by count; accuracy 98.")


def test_every_table_header_has_a_scope(page: Page) -> None:
    assert {cell.attributes.get("scope") for cell in page.all("th")} == {"col", "row"}


def test_the_table_has_every_variant(page: Page) -> None:
    rows = [element for element in page.all("tr") if "id" in element.attributes]
    assert [row.words.split()[1] for row in rows] == ["dense", "het-p4", "het-p8", "gwc4-pwc", "dwc-pwc"]
    assert [row.attributes["data-slot"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert "het-p4 98.1 ± 0.2 1.90× 1.49 −0." in rows[1].words
    assert rows[1].words.endswith("0.94 99.45 2 of 2")


def test_links_lead_to_parts(page: Page) -> None:
    for link in page.all("a"):
        target = link.attributes["href"]
        assert target is not None
        assert page.by_id(target.removeprefix("#")).tag == "section"


def test_pictures_have_words_and_ids_are_unique(page: Page) -> None:
    for svg in page.all("svg"):
        if svg.attributes.get("aria-hidden") != "true":
            assert svg.attributes["role"] == "img"
            assert len(svg.attributes["aria-label"] or "") > 30
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))


def test_references_inside_pictures_are_met(text: str) -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= ids
    assert set(re.findall(r'<use [^>]*href="#([^"]+)"', text)) <= ids


def test_marks_can_be_found_by_id(page: Page) -> None:
    for name in ("accuracy-macs-point-1", "accuracy-time-point-4", "speedup-measured-2", "curves-loss-mean-0"):
        assert page.by_id(f"{name.rsplit('-', 2)[0]}-{name}")


def test_nothing_is_fetched(text: str, page: Page) -> None:
    assert re.findall(r"https?://(?!www\.w3\.org/)[^\s\"']+", text) == []
    assert re.findall(r"url\((?!#)|@import|@font-face", text) == []
    script, data = only_our_scripts(page)
    assert "fetch(" not in script + data
    policy = next(meta.attributes["content"] for meta in page.all("meta") if "http-equiv" in meta.attributes)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{hashed}'"
    assert [element.attributes["href"] for element in page.all("link")] == ["data:,"]
    assert [element for element in page.elements if "src" in element.attributes] == []


def test_colours_are_the_pages_so_that_dark_mode_works(page: Page) -> None:
    inside = [element.attributes for element in page.elements if "svg" in element.inside]
    styles = [str(attributes.get(name, "")) for attributes in inside for name in ("style", "fill", "stroke")]
    assert [style for style in styles if "#" in style.replace("url(#", "")] == []
    assert "prefers-color-scheme: dark" in page.all("style")[0].words


def test_kernels_are_drawn_for_het_variants_only(page: Page) -> None:
    drawn = [element for element in page.all("figure") if element.attributes.get("class") == "kernels"]
    assert [figure.words.split()[1] for figure in drawn] == ["het-p4:", "het-p8:"]
    assert "7 layers of this picture" in drawn[0].words


def test_circumstances_settings_and_command_are_there(page: Page) -> None:
    words = page.all("main")[0].words
    for text in ("AMD EPYC 9R14", "1 of 2 cores", "channels_last", "2.11.0", "weight decay", "0.0005", "1,437 for"):
        assert text in words
    assert page.all("pre")[0].words == "hetconv compare --seeds 0,1"


def test_hostile_names_are_shown_and_do_nothing() -> None:
    results = renamed(example(epochs=2), "het-p4", HOSTILE)
    settings = replace(results.settings, network=HOSTILE, data=HOSTILE, recipe={HOSTILE: HOSTILE})
    circumstances = replace(results.circumstances, processor=HOSTILE, versions={HOSTILE: HOSTILE})
    layer = replace(het_layer(0, (16, 16, 8), 4), name=HOSTILE)
    complexity = replace(results.costs[1].complexity, layers=(layer,), uncounted=(HOSTILE,))
    results = replace(
        results,
        settings=settings,
        circumstances=circumstances,
        runs=(*results.runs, replace(run("dense", 9, state="failed"), error=HOSTILE)),
        costs=(results.costs[0], replace(results.costs[1], complexity=complexity)),
    )
    claim = Claim(HOSTILE, HOSTILE, HOSTILE, "kept", source=HOSTILE)
    study = StudyResults(HOSTILE, HOSTILE, (results,), (claim,), HOSTILE, HOSTILE)
    page = Page(study_page(study, HOSTILE))
    _, data = only_our_scripts(page)
    assert json.loads(data)["variants"][1]["name"].startswith("<script>alert")
    assert "<" not in data
    shown = HOSTILE.rstrip("\x00\x1b")
    assert shown in page.all("h1")[0].words
    labels = [element.words for element in page.all("text")]
    assert any(label.startswith("<script>alert") for label in labels)
    assert "\x1b" not in page.all("html")[0].words


def no_runs(results: Results) -> Results:
    return replace(results, runs=())


def no_costs(results: Results) -> Results:
    return replace(results, costs=())


def nothing(results: Results) -> Results:
    return no_runs(no_costs(results))


def unmeasured(results: Results) -> Results:
    def bare(cost):
        layers = tuple(replace(layer, latency_ms=None) for layer in cost.complexity.layers)
        latency = replace(cost.latency, samples=0)
        return replace(cost, complexity=replace(cost.complexity, layers=layers), latency=latency)

    return replace(results, costs=tuple(map(bare, results.costs)))


def unlisted_layers(results: Results) -> Results:
    return replace(
        results, costs=tuple(replace(cost, complexity=replace(cost.complexity, layers=())) for cost in results.costs)
    )


def one_failed(results: Results) -> Results:
    runs = tuple(replace(one, state="failed", error=None) if one.variant == "het-p4" else one for one in results.runs)
    return replace(results, runs=runs)


def stopped_before_an_epoch(results: Results) -> Results:
    return replace(results, runs=(run("dense", 0, epochs=0, state="running"),))


def not_a_number(results: Results) -> Results:
    epochs = tuple(
        replace(epoch, train_loss=float("nan"), validation_loss=float("inf")) for epoch in results.runs[0].epochs
    )
    return replace(results, runs=(replace(results.runs[0], epochs=epochs), *results.runs[1:]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_runs, "Nothing to draw: no variant has both a finished run and a count."),
        (no_costs, "No HetConv layer was costed, so there is none to draw."),
        (nothing, "Nothing is finished yet: 0 of 4 runs are done"),
        (unmeasured, "Nothing to draw: no variant has both a finished run and a measured time."),
        (unlisted_layers, "Its layers were not recorded."),
        (one_failed, "het-p4, seed 0, after 2 epochs: no reason was recorded"),
        (stopped_before_an_epoch, "Nothing to draw: no epoch is finished."),
        (not_a_number, "Training loss"),
    ],
)
def test_what_is_missing_is_said(spoil, words: str) -> None:
    page = Page(report_page(spoil(example(epochs=2, variants=("dense", "het-p4")))))
    assert words in page.all("body")[0].words


@pytest.mark.parametrize(
    "results",
    [
        example(epochs=1, seeds=(0,)),
        example(epochs=2, variants=("het-p4", "gwc4-pwc")),
        example(epochs=2, variants=("dense",)),
        example(epochs=2, variants=()),
        example(epochs=2, variants=("dense", "het-p4", *(f"het-p{2**i}" for i in range(3, 8)), "日本語", "x" * 200)),
    ],
    ids=["one epoch, one seed", "no dense", "only dense", "no variant", "many, foreign and long"],
)
def test_unusual_studies_render(results: Results) -> None:
    page = Page(report_page(results))
    assert page.all("h2")[0].words == "Results"


def test_same_results_same_page(text: str, tmp_path: Path) -> None:
    save_record(example(), tmp_path / "results.json")
    assert report_page(load_record(Results, tmp_path / "results.json"), "hetconv compare --seeds 0,1") == text


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    write_report(nothing(example()), tmp_path / "run" / "report.html")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["report.html"]
    Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HetconvError, match="cannot write"):
        write_report(nothing(example()), tmp_path / "file" / "report.html")
