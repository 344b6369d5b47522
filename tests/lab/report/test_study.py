from dataclasses import replace

from hetconv.lab.report.html import study_page
from hetconv.lab.report.study import study_markdown
from hetconv.lab.results import Claim, StudyResults

from .example import example
from .page import Page

CLAIMS = (
    Claim("kept", "P4 keeps the accuracy", "het-p4", "kept", margin=5.0, source="a paper"),
    Claim("above", "P8 is above dense", "het-p8", "above"),
    Claim("faster", "P4 is faster", "het-p4", "faster"),
)


def study() -> StudyResults:
    first = example(seeds=(0, 1, 2), epochs=3)
    second = replace(first, settings=replace(first.settings, network="resnet56_cifar"))
    return StudyResults("two", "Two networks", (first, second), CLAIMS, "a recipe", 'name = "two"')


def test_verdicts_come_first_and_lead_to_their_rows() -> None:
    page = Page(study_page(study(), "hetconv study run two"))
    assert page.all("h2")[0].words == "Do the claims hold?"
    assert page.all("h1")[0].words == "Two networks"
    ids = {element.attributes.get("id") for element in page.elements}
    for link in page.all("a"):
        assert str(link.attributes["href"]).removeprefix("#") in ids
    items = [element.words for element in page.all("li") if "✔" in element.words]
    assert any("holds" in item and "P4 is faster" in item for item in items)
    assert "Source: a paper" in page.all("main")[0].words
    assert 'name = "two"' in page.all("pre")[-1].words


def test_ids_of_two_networks_are_apart() -> None:
    page = Page(study_page(study()))
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert page.by_id("n2-row-1").words.split()[1] == "het-p4"


def test_markdown_has_verdicts_and_a_row_for_each_variant() -> None:
    text = study_markdown(study())
    assert text.startswith("# Two networks\n\n| Claim |")
    assert text.count("| het-p4 |") == 2 * 2
    hostile = replace(study(), title="a | b\n# c <script>")
    assert study_markdown(hostile).splitlines()[0] == "# a \\| b \\# c \\<script\\>"
