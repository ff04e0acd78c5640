"""Pages and figures: complete, self-contained, honest about what is missing, and the same bytes each time."""

import dataclasses
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from matplotlib.text import Annotation
from rich.console import Console

from jaxrl_suite.core import plot, report
from jaxrl_suite.core.claims import Claim, load_claims
from jaxrl_suite.core.run import Run

FIGURE = """
from jaxrl_suite.core import plot
series = {"a": ([1, 2, 4], [0, 1, 2], [-1, 0, 1], [1, 2, 3]), "b": plot.Line([1, 2, 4], [0, 1, 2.01])}
svg = plot.to_svg(plot.lines(series, xlabel="x", ylabel="y", title="t", log_x=True, references={"exact": 2.0}))
"""


@dataclasses.dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = (0, 1)


class Page(HTMLParser):
    """Checks that tags are balanced; collects what would be loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "path", "use"):
            self.open.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in ("path", "use"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def make_run(folder, finish=True):
    claim = Claim("c-1", "S", "it works <b>", "win rate", "0.5 +- 0.1", "0.4", "16 -> 160", "table", "yes")
    run = Run.start(
        folder, name="walk", config=Config(), preset="quick", claims={"c-1": claim}, console=Console(quiet=True)
    )
    run.text("It went well & far.")
    run.text("Some words.", title="How")
    run.figure("dots", plot.dots({"a": (1, 0, 2)}, xlabel="x", references={"published": 1.5}), "A caption.")
    run.table("numbers", [{"name": "a", "mean_value": -0.5}, {"name": "b", "mean_value": 2}], caption="Numbers")
    run.table("long", [{"i": i} for i in range(100)])
    run.result("c-1", 0.25, low=0.125, high=0.5, verdict="not held", scale="2 seeds", note="a note")
    if finish:
        run.close()
    return run


def test_the_page_of_a_run(tmp_path):
    make_run(tmp_path / "walk")
    text = report.build_report(tmp_path / "walk", summary="A walk.").read_text()
    page = Page(text)
    assert page.loads == []
    words = " ".join(" ".join(page.words).split())
    for part in (
        "It works <b>", "0.5 ± 0.1", "16 → 160", "0.25", "0.125 to 0.5", "not held", "a note", "Some words.",
        "It went well & far.",
        "A caption.", "mean value", "−0.5", "76 more rows", "seeds", "0, 1", "A walk.",  # noqa: RUF001
    ):  # fmt: skip
        assert part in words
    assert "has not finished" not in words
    assert "prefers-color-scheme" in text
    assert text == report.build_report(tmp_path / "walk", summary="A walk.").read_text()


def test_the_page_of_an_unfinished_run_says_so(tmp_path):
    run = make_run(tmp_path, finish=False)
    assert "has not finished" in report.build_report(tmp_path).read_text()
    run.close()
    (tmp_path / "results.json").unlink()
    assert "has not finished" in report.build_report(tmp_path).read_text()
    with pytest.raises(ValueError, match="holds no run"):
        report.build_report(tmp_path / "tables")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", b"{"),
        ("results.json", b"[]"),
        ("results.json", b'{"claims": [{}]}'),
        ("tables/walk.csv", b"a,b\n1\n"),
        ("figures/walk.svg", b"\xff"),
    ],
)
def test_a_damaged_file_is_an_error_with_the_remedy(tmp_path, name, content):
    make_run(tmp_path)
    page = report.build_report(tmp_path).read_bytes()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged .*: continue the run with --resume"):
        report.build_report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == page


def test_the_overview_lists_every_system(tmp_path):
    make_run(tmp_path / "walk")
    systems = [
        report.System("Built", "paper a", "arXiv 1", True, ("walk",)),
        report.System("Broken", "paper b", "arXiv 2", True, ("crash",)),
        report.System("Waiting", "paper c", "arXiv 3", True, ("later",)),
        report.System("Missing", "paper d", "arXiv 4"),
    ]
    path = report.build_overview(
        tmp_path / "report.html", systems, [tmp_path / "walk"], title="All", failures={"crash": "ValueError: no"}
    )
    page = Page(path.read_text())
    assert page.loads == []
    words = " ".join(" ".join(page.words).split())
    for part in ("1 not held", "failed: ValueError: no", "not run", "not built yet", "A caption."):
        assert part in words


def test_figures_have_the_same_bytes_in_every_process():
    scope = {}
    exec(FIGURE, scope)
    done = subprocess.run(
        [sys.executable, "-c", FIGURE + "print(svg, end='')"], capture_output=True, text=True, check=True
    )
    assert done.stdout == scope["svg"]


def test_figures_follow_light_and_dark():
    scope = {}
    exec(FIGURE, scope)
    svg = scope["svg"]
    assert svg.startswith('<svg class="plot"')
    assert "var(--plot-ink" in svg
    assert not set(re.findall("#0102[0-9a-f]{2}", svg))
    assert not re.search("#000000|#ffffff|dc:date|DOCTYPE", svg)
    assert not re.search(r"[^.\w]\*\{", svg.replace("svg.plot *{", ""))  # no style for the page around it
    Page(svg)


def test_labels_do_not_overlap():
    figure = plot.lines({str(i): ([0, 1], [0, 1 + i * 1e-3]) for i in range(6)}, xlabel="x", ylabel="y")
    places = sorted(note.xy[1] for note in figure.axes[0].texts if isinstance(note, Annotation))
    assert all(b - a > 0.06 for a, b in itertools.pairwise(places))


def test_figures_refuse_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="one length"):
        plot.lines({"a": ([1, 2], [1])}, xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="split it"):
        plot.lines({str(i): ([1], [1]) for i in range(9)}, xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="at least one row"):
        plot.dots({}, xlabel="x")


def test_claims_are_read_and_checked(tmp_path):
    head = "id,system,claim,metric,published,baseline,setting,known,comparable\n"
    path = tmp_path / "claims.csv"
    path.write_text(head + "a-1,A,it works,m,1,,s,table,yes\na-2,A,same,m,2,,s,table,yes\n")
    assert load_claims(path)["a-2"].claim == "it works"
    path.write_text(head + "a-1,A,x,m,1,,s,t,y\na-1,A,x,m,1,,s,t,y\n")
    with pytest.raises(ValueError, match="twice"):
        load_claims(path)
    path.write_text("id,system\n")
    with pytest.raises(ValueError, match="lacks the column 'claim'"):
        load_claims(path)
    with pytest.raises(ValueError, match="cannot read"):
        load_claims(tmp_path / "none.csv")


def test_panels_side_by_side_have_the_house_style():
    figure, panels = plot.new_panels(3)
    with plot.style():
        for axes in panels:
            axes.set_title("one")
    assert len(figure.axes) == len(panels) == 3
    assert {axes.get_title(loc="left") for axes in panels} == {"one"}
    assert "var(--plot-ink" in plot.to_svg(figure)
