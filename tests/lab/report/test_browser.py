"""The page in a real browser: it says nothing on the console, sorts, filters, toggles, and fits a phone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hetconv.lab.report.html import study_page
from hetconv.lab.results import Claim, StudyResults

from .browser import Browser, why_not
from .example import example, renamed

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
HOSTILE = "<img src=x onerror=alert(1)></script><script>document.title='owned'</script>"
VARIANTS = "[...document.querySelectorAll('table.results tbody tr')].filter(r => !r.hidden).map(r => r.dataset.slot)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    results = renamed(example(seeds=(0, 1, 2), epochs=5), "gwc4-pwc", HOSTILE)
    claims = (
        Claim(
            "kept", "P4 keeps the accuracy of the standard convolution", "het-p4", "kept", margin=5.0, source="a paper"
        ),
        Claim("above", HOSTILE, "het-p4", "above", HOSTILE),
        Claim("faster", "P4 is faster", "het-p4", "faster"),
    )
    second = replace(results, settings=replace(results.settings, network="resnet56_cifar"))
    page = folder / "report.html"
    page.write_text(study_page(StudyResults("s", "", (results, second), claims), "hetconv study run s"))
    with Browser(folder / "profile") as opened:
        opened.look(1200, 900)
        opened.open(page)
        yield opened


@pytest.fixture(autouse=True)
def silent(browser: Browser) -> Iterator[None]:
    yield
    assert browser.console == []


def test_hostile_names_do_nothing(browser: Browser) -> None:
    assert browser.run("document.title").startswith("s")
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert HOSTILE in browser.run("document.querySelector('#verdicts').textContent")


def test_sorting_by_mouse_and_by_key(browser: Browser) -> None:
    table = "document.querySelector('table.results')"
    head = f"[...{table}.tHead.rows[0].cells].find(h => h.textContent.startsWith('MACs'))"
    browser.run(f"{head}.querySelector('button').click()")
    column = f"[...{table}.tBodies[0].rows].map(r => parseFloat(r.cells[{head}.cellIndex].textContent))"
    ascending = browser.run(column)
    assert ascending == sorted(ascending)
    assert browser.run(f"{head}.ariaSort") == "ascending"
    browser.run(f"{head}.querySelector('button').focus()")
    browser.key("Enter", 13, "\r")
    assert browser.run(column) == sorted(ascending, reverse=True)
    assert "descending" in browser.run("document.querySelector('[role=status]').textContent")


def test_filtering(browser: Browser) -> None:
    change = "(t => {{ const i = document.querySelector('input[type=search]'); i.value = t; \
i.dispatchEvent(new Event('input')) }})('{}')"
    browser.run(change.format("het"))
    assert len(browser.run(VARIANTS)) == 2 * (2 + 5)
    browser.run(change.format(""))
    assert len(browser.run(VARIANTS)) == 2 * (5 + 5)


def test_a_variant_can_be_taken_out_of_the_charts(browser: Browser) -> None:
    shown = "[...document.querySelectorAll('#accuracy-macs [id]')].filter(e => /point-1$/.test(e.id))[0].style.display"
    line = "[...document.querySelectorAll('#curves-loss [id]')].filter(e => /mean-1$/.test(e.id))[0].style.display"
    press = "document.querySelector('button[data-slot=\"1\"]').click()"
    pressed = "document.querySelector('button[data-slot=\"1\"]').ariaPressed"
    assert (browser.run(shown), browser.run(line), browser.run(pressed)) == ("", "", "true")
    browser.run(press)
    assert (browser.run(shown), browser.run(line), browser.run(pressed)) == ("none", "none", "false")
    browser.run(press)
    assert (browser.run(shown), browser.run(line)) == ("", "")


@pytest.mark.parametrize(
    ("mark", "words"),
    [("#accuracy-time [id$=point-1]", "het-p4: Accuracy 9"), ("#curves-accuracy [id$=mean-1]", "epoch 3: dense ")],
)
def test_hovering_says_what_is_there(browser: Browser, mark: str, words: str) -> None:
    browser.run(f"document.querySelector('{mark}').scrollIntoView({{block: 'center'}})")
    box = f"document.querySelector('{mark}').getBoundingClientRect()"
    where = f"(b => [(b.left + b.right) / 2, (b.top + b.bottom) / 2])({box})"
    x, y = browser.run(where)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert browser.run("document.querySelector('.tip').textContent").removeprefix("■ ").startswith(words)
    assert browser.run("document.querySelector('.tip').hidden") is False


def test_one_cost_is_drawn_at_a_time(browser: Browser) -> None:
    shown = "[...document.querySelectorAll('.choice')][0].querySelectorAll('figure')"
    drawn = f"[...{shown}].filter(f => f.checkVisibility()).map(f => f.dataset.chart)"
    assert browser.run(drawn) == ["accuracy-time"]
    browser.run("document.querySelector('#accuracy-macs-choice').click()")
    assert browser.run(drawn) == ["accuracy-macs"]
    browser.run("document.querySelector('#accuracy-time-choice').click()")
    browser.look(794, 800, media="print")
    assert len(browser.run(drawn)) == 4
    browser.look(1200, 900)


def test_names_stay_in_sight_while_a_phones_table_is_moved(browser: Browser) -> None:
    browser.look(360, 800)
    browser.run("document.querySelector('.scroll').scrollLeft = 300")
    assert browser.run("document.querySelector('.scroll').scrollLeft") > 100
    left = browser.run("document.querySelector('table.results tbody th').getBoundingClientRect().left")
    assert 0 <= left < 40
    browser.look(1200, 900)


@pytest.mark.parametrize(
    ("width", "dark", "media"), [(360, False, "screen"), (360, True, "screen"), (794, False, "print")]
)
def test_nothing_sticks_out_on_a_phone_or_on_paper(
    browser: Browser, tmp_path: Path, width: int, dark: bool, media: str
) -> None:
    browser.look(width, 800, dark, media)
    if media == "screen":
        assert browser.run("document.documentElement.scrollWidth") <= width
    ground = browser.run("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
    browser.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    browser.look(1200, 900)


def test_everything_that_can_be_pressed_has_a_name_and_is_reached_by_tab(browser: Browser) -> None:
    nameless = browser.run("[...document.querySelectorAll('button')].filter(b => !b.textContent.trim()).length")
    unreached = browser.run("[...document.querySelectorAll('button, input')].filter(b => b.tabIndex < 0).length")
    assert (nameless, unreached) == (0, 0)
