"""Graphs of plans: what is in them in each format, and that a drawing can be read."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workflow_cases import CASES

from repro.errors import UsageError
from repro.workflow.diagram import Box, Diagram, diagram
from repro.workflow.graph_text import FORMATS, graph_text
from repro.workflow.layout import lay_out
from repro.workflow.loader import load
from repro.workflow.model import Plan
from repro.workflow.plan import plan
from repro.workflow.project import FolderProject
from repro.workflow.svg import svg

SVG = "{http://www.w3.org/2000/svg}"


def planned(case: str, done: str = "") -> Plan:
    """Return the plan of a good case."""
    folder = CASES / "good" / case
    text = (folder / "workflow.yaml").read_text()
    return plan(load(text, "workflow.yaml"), FolderProject(folder), frozenset(done.split()))


def arrows(text: str, form: str) -> set[tuple[str, str]]:
    """Return the arrows of a Mermaid or DOT text, by the names on the boxes."""
    label = r'^  (n\d+)\["(.*?)(?:<br/>.*)?"\]' if form == "mermaid" else r'^  (n\d+) \[label="(.*?)(?:\\n.*?)?"[\],]'
    names = dict(re.findall(label, text, re.MULTILINE))
    arrow = r"^  (n\d+) -\.?-> (n\d+)$" if form == "mermaid" else r"^  (n\d+) -> (n\d+)"
    return {(names[one], names[other]) for one, other in re.findall(arrow, text, re.MULTILINE)}


@pytest.mark.parametrize("form", ["mermaid", "dot"])
def test_steps(form: str) -> None:
    """Every step is a box; arrows lead from each step to those that read it, once."""
    expected = {("trim", "quant"), ("index", "quant"), ("quant", "de")}
    assert expected == arrows(graph_text(planned("rnaseq"), form), form)


@pytest.mark.parametrize("form", ["mermaid", "dot"])
def test_deferred_steps_are_joined(form: str) -> None:
    """Steps without jobs stand behind what they range over and read, also by a path; they are drawn dashed."""
    text = graph_text(planned("items"), form)
    assert {
        ("split", "count"), ("split", "batch"), ("count", "batch"), ("split", "lists"), ("count", "sum"),
        ("count", "bypath"), ("bypath", "after"), ("batch", "again"), ("bypath", "again"),
    } == arrows(text, form)  # fmt: skip
    assert 7 == text.count(":::open" if form == "mermaid" else "rounded,dashed")
    assert "after split" in text


def test_jobs_of_a_plan_with_deferred_steps() -> None:
    """With jobs, each is a box; a step that waits is one box behind the jobs that it waits for."""
    drawn = diagram(planned("items", "split"), jobs=True)
    names = [box.name for box in drawn.boxes]
    assert ["again"] == [box.name for box in drawn.boxes if not box.settled]
    again = drawn.boxes[names.index("again")]
    assert ["batch[chunk=1]", "batch[chunk=2]", "bypath"] == sorted(names[need] for need in again.needs)
    assert ["split[s=a]"] == [names[need] for need in drawn.boxes[names.index("count[s=a,n=1]")].needs]


def test_steps_that_are_off() -> None:
    """A step that is switched off is there, and says so."""
    notes = {box.name: box.note for box in diagram(planned("policies")).boxes}
    assert {"get": "", "fast": "", "slow": "off", "mate": "off", "report": "2 jobs", "all": ""} == notes


def test_a_part_of_a_plan() -> None:
    """Of a plan that was cut to what a target needs, the rest is left out, what is off as well."""
    whole = planned("policies")
    part = Plan(whole.workflow, tuple(job for job in whole.jobs if job.step.name in ("fast", "report")))
    assert ["fast", "report"] == [box.name for box in diagram(part).boxes]
    assert [(), (0,), (0,)] == [box.needs for box in diagram(part, jobs=True).boxes]
    whole = planned("items")
    split = tuple(job for job in whole.jobs if job.step.name == "split")
    part = Plan(whole.workflow, split, tuple(one for one in whole.deferred if one.step == "sum"))
    assert [("split", ()), ("sum", (0,))] == [(box.name, box.needs) for box in diagram(part).boxes]
    assert [(), (), (0, 1)] == [box.needs for box in diagram(part, jobs=True).boxes]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("jobs", [False, True])
def test_the_same_plan_gives_the_same_text(form: str, jobs: bool) -> None:
    """Nothing in a graph depends on anything but the plan."""
    assert graph_text(planned("join"), form, jobs=jobs) == graph_text(planned("join"), form, jobs=jobs)


def test_unknown_format() -> None:
    """A format that there is not is refused with the nearest that there is."""
    with pytest.raises(UsageError) as caught:
        graph_text(planned("join"), "mermaids")
    assert "did you mean 'mermaid'?" == caught.value.hint


NASTY = 'a["x"]<b>&#34;`{}\\'


def test_names_are_escaped() -> None:
    """Whatever stands in a job's values neither ends its label nor begins markup."""
    steps = f"steps: {{a: {{foreach: {{v: ['{NASTY}']}}, outputs: {{o: o}}, run: x}}}}\n"
    text = f"repro: 1\nenvironments: {{e: {{image: i}}}}\ndefaults: {{environment: e}}\n{steps}"
    made = plan(load(text, "workflow.yaml"), FolderProject(CASES))
    job = made.jobs[0].id
    assert job in {node.text for node in ET.fromstring(graph_text(made, "svg", jobs=True)).iter(f"{SVG}text")}
    dot = re.search(r'label="((?:[^"\\]|\\.)*)"\];', graph_text(made, "dot", jobs=True))
    assert dot is not None and job == re.sub(r"\\(.)", r"\1", dot[1])
    label = re.search(r'\["(.*)"\]', graph_text(made, "mermaid", jobs=True))
    assert label is not None and job == re.sub(r"#(\d+);", lambda found: chr(int(found[1])), label[1])
    assert not re.search(r'["<>\[\]`]', label[1])


@st.composite
def needs(draw) -> list[tuple[int, ...]]:
    """Draw a graph whose boxes need earlier ones."""
    count = draw(st.integers(1, 25))
    return [tuple(sorted(draw(st.sets(st.integers(0, box - 1), max_size=3)))) if box else () for box in range(count)]


@settings(max_examples=150, deadline=None)
@given(needs(), st.data())
def test_layouts(graph: list[tuple[int, ...]], data: st.DataObject) -> None:
    """Each box is in one layer behind all that it needs, boxes of a layer are apart, and arrows pass every layer."""
    sizes = [data.draw(st.sampled_from([20.0, 60.0, 150.0])) for _ in graph]
    layout = lay_out(graph, sizes, 10.0)
    layer = {point: number for number, points in enumerate(layout.layers) for point in points}
    assert len(layer) == sum(map(len, layout.layers)) == len(layout.across)
    extents = [*sizes, *[0.0] * (len(layout.across) - len(sizes))]
    for points in layout.layers:
        for one, other in itertools.pairwise(points):
            free = 10.0 if max(one, other) < len(graph) else 5.0
            least = (extents[one] + extents[other]) / 2 + free
            assert layout.across[other] - layout.across[one] >= least - 1e-6
    assert sorted((way[0], way[-1]) for way in layout.ways) == sorted(
        (need, box) for box, of in enumerate(graph) for need in of
    )
    for way in layout.ways:
        assert list(range(layer[way[0]], layer[way[-1]] + 1)) == [layer[point] for point in way]


@settings(max_examples=60, deadline=None)
@given(needs(), st.booleans(), st.booleans())
def test_drawings(graph: list[tuple[int, ...]], down: bool, noted: bool) -> None:
    """A drawing is XML that needs nothing from elsewhere; boxes lie inside it and apart; there is an arrow a need."""
    boxes = tuple(Box(f"step_{n}", "3 jobs" if noted else "", f"e{n % 3}", of, n % 4 > 0) for n, of in enumerate(graph))
    text = svg(Diagram("t", boxes), down=down)
    root = ET.fromstring(text)
    assert "href" not in text and "http" not in text.replace("http://www.w3.org", "")
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    frames = [
        [float(node.attrib[key]) for key in ("x", "y", "width", "height")]
        for group in root.iter(f"{SVG}g")
        for node in group.iter(f"{SVG}rect")
    ]
    assert len(graph) == len(frames)
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in frames)
    for (x, y, w, h), (x2, y2, w2, h2) in itertools.combinations(frames, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    assert sum(map(len, graph)) == sum("marker-end" in node.attrib for node in root.iter(f"{SVG}path"))


def test_an_order_without_crossings_is_found() -> None:
    """Two chains whose boxes are named crosswise are drawn without a crossing, each in a straight line."""
    layout = lay_out([(), (), (1,), (0,), (3,), (2,), (4, 5)], [40.0] * 7, 10.0)
    for one, other in (((0, 1), (3, 2)), ((3, 2), (4, 5))):
        left, right = (layout.across[point] for point in one), (layout.across[point] for point in other)
        assert list(left) == pytest.approx(list(right), abs=1.0)
