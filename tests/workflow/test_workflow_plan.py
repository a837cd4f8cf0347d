"""Plans: large ones, joins against a plain reading of the rule, tables, and the project's folder."""

from __future__ import annotations

import csv
import io
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import WorkflowError
from repro.workflow.expand import LISTS, input_lists, job_document, render_command
from repro.workflow.graph import cycles, depths
from repro.workflow.plan import read
from repro.workflow.project import FolderProject
from repro.workflow.tables import grouped, read_table

if TYPE_CHECKING:
    from pathlib import Path

    from repro.workflow.model import Job, Plan

HEAD = "repro: 1\nenvironments: {e: {base: debian:bookworm}}\ndefaults: {environment: e}\n"


def planned(folder: Path, steps: str) -> Plan:
    """Return the plan of some steps in a project folder."""
    return read(f"{HEAD}steps:\n{steps}", "workflow.yaml", FolderProject(folder))


def by_id(plan: Plan) -> dict[str, Job]:
    """Return the jobs by their ids, which are unique."""
    jobs = {job.id: job for job in plan.jobs}
    assert len(plan.jobs) == len(jobs)
    return jobs


def test_big_plan(tmp_path: Path) -> None:
    """Four thousand samples of two lanes: every job is there, follows what it needs, and gathers its own lanes alone."""
    rows = [(f"s{number // 2}", str(number % 2), f"in/{number}.fq") for number in range(8000)]
    (tmp_path / "t.tsv").write_text("sample\tlane\treads\n" + "".join("\t".join(row) + "\n" for row in rows))
    (tmp_path / "in").mkdir()
    for _, _, reads in rows:
        (tmp_path / reads).touch()
    plan = planned(
        tmp_path,
        """
  sum: {inputs: {x: {from: merge.bam}}, outputs: {o: all.txt}, run: "cat {{ inputs.x.list }} > {{ outputs.o }}"}
  merge:
    foreach: {table: t.tsv, by: [sample]}
    inputs: {bams: {from: align.bam}}
    outputs: {bam: "m/{{ sample }}.bam"}
    run: merge {{ inputs.bams }}
  align:
    foreach: {table: t.tsv}
    inputs: {reads: "{{ reads }}"}
    outputs: {bam: "a/{{ sample }}/{{ lane }}.bam"}
    run: align {{ inputs.reads }}
""",
    )
    jobs = by_id(plan)
    assert 8000 + 4000 + 1 == len(jobs)
    place = {job.id: number for number, job in enumerate(plan.jobs)}
    assert all(place[need] < place[job.id] for job in plan.jobs for need in job.needs)
    assert ("align[sample=s7,lane=0]", "align[sample=s7,lane=1]") == jobs["merge[sample=s7]"].needs
    assert "merge a/s7/0.bam a/s7/1.bam" == render_command(jobs["merge[sample=s7]"], resources=None)
    assert tuple(f"m/s{number}.bam" for number in range(4000)) == jobs["sum"].inputs["x"].paths
    expected = "".join(f"m/s{number}.bam\n" for number in range(4000)).encode()
    assert {f"{LISTS}/x": expected} == input_lists(jobs["sum"])


letters = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)
variables = st.dictionaries(st.sampled_from(["p", "q", "r"]), letters, min_size=1, max_size=3)


def foreach(step: dict[str, list[str]]) -> str:
    """Return a foreach of lists as YAML."""
    return "{" + ", ".join(f"{name}: [{', '.join(values)}]" for name, values in step.items()) + "}"


def template(step: dict[str, list[str]]) -> str:
    """Return a path part that names every variable."""
    return "_".join(f"{name}{{{{ {name} }}}}" for name in step)


@settings(max_examples=150, deadline=None)
@given(variables, variables)
def test_join_is_agreement_on_shared_variables(
    tmp_path_factory, made: dict[str, list[str]], used: dict[str, list[str]]
) -> None:
    """A job gets exactly the outputs of the jobs that agree on every shared variable, in the maker's order."""
    steps = f"""
  make: {{foreach: {foreach(made)}, outputs: {{o: "m/{template(made)}"}}, run: make}}
  use: {{foreach: {foreach(used)}, inputs: {{i: {{from: make.o}}}}, outputs: {{o: "u/{template(used)}"}}, run: use}}
"""
    shared = set(made) & set(used)
    folder = tmp_path_factory.getbasetemp()
    if any(set(used[name]) - set(made[name]) for name in shared):
        with pytest.raises(WorkflowError, match="and there is none"):
            planned(folder, steps)
        return
    plan = planned(folder, steps)
    makers = [job for job in plan.jobs if job.step.name == "make"]
    for job in plan.jobs:
        if job.step.name == "use":
            agreeing = [one for one in makers if all(one.bindings[name] == job.bindings[name] for name in shared)]
            assert tuple(one.outputs["o"].path for one in agreeing) == job.inputs["i"].paths
            assert tuple(one.id for one in agreeing) == job.needs
            assert (not set(made) <= set(used)) == job.inputs["i"].many


cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=6), st.sampled_from([",", "\t"]), st.booleans())
def test_tables_keep_every_byte(rows: list[tuple[str, str, str]], delimiter: str, mark: bool) -> None:
    """Whatever a CSV writer can write is read back cell for cell, with a byte order mark or without."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b", "c"), *rows])
    data = out.getvalue().encode("utf-8-sig" if mark else "utf-8")
    table = read_table(data, "t.csv" if delimiter == "," else "t.tsv")
    assert (("a", "b", "c"), tuple(rows)) == (table.columns, table.rows)


@given(
    st.lists(st.tuples(*[st.sampled_from("xyz")] * 3), min_size=1, max_size=12),
    st.lists(st.sampled_from("abc"), unique=True),
)
def test_groups_partition_the_table(rows: list[tuple[str, str, str]], by: list[str]) -> None:
    """Every row is in one group, groups come in the order of their first rows, and lists keep the table's order."""
    data = "a,b,c\n" + "".join(",".join(row) + "\n" for row in rows)
    groups = grouped(read_table(data.encode(), "t.csv"), by)
    names = by or ["a", "b", "c"]
    keys = list(dict.fromkeys(tuple(row["abc".index(name)] for name in names) for row in rows))
    assert keys == [tuple(group.bindings.values()) for group in groups]
    for group, key in zip(groups, keys, strict=True):
        mine = [row for row in rows if tuple(row["abc".index(name)] for name in names) == key]
        for place, name in enumerate("abc"):
            expected = mine[0][place] if name in names else tuple(row[place] for row in mine)
            assert expected == group.values[name]


def test_parquet_is_spelled_canonically(tmp_path: Path) -> None:
    """Numbers, truth values, times and nulls of a Parquet table become text; text stays what it is."""
    import datetime as dt

    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "s": ["01", "b", ""],
        "n": [1, 20, None],
        "x": [0.1, 1e-20, 2.0],
        "t": [True, False, None],
        "d": [dt.date(2024, 2, 29), None, None],
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table((tmp_path / "t.parquet").read_bytes(), "t.parquet")
    assert ("s", "n", "x", "t", "d") == table.columns
    assert (
        ("01", "1", "0.1", "true", "2024-02-29"),
        ("b", "20", "1e-20", "false", ""),
        ("", "", "2.0", "", ""),
    ) == table.rows
    plan = planned(
        tmp_path, '  a: {foreach: {table: t.parquet, by: [n]}, outputs: {o: "o/{{ n }}x"}, run: "echo {{ s }}"}\n'
    )
    assert ["a[n=1]", "a[n=20]", 'a[n=""]'] == [job.id for job in plan.jobs]


def test_a_new_row_changes_no_other_job(tmp_path: Path) -> None:
    """Adding a row to a sample sheet adds a job and leaves the ids, commands and documents of the others alone."""
    steps = '  a: {foreach: {table: t.csv}, outputs: {o: "o/{{ s }}"}, run: "echo {{ s }}"}\n'
    (tmp_path / "t.csv").write_text("s,note\nx,first\ny,second\n")
    before = by_id(planned(tmp_path, steps))
    (tmp_path / "t.csv").write_text("s,note\nx,changed\nz,new\ny,second\n")
    after = by_id(planned(tmp_path, steps))
    assert ["a[s=x]", "a[s=z]", "a[s=y]"] == list(after)
    for name, job in before.items():
        assert job_document(job, {"cpus": "1"}) == job_document(after[name], {"cpus": "1"})
        assert render_command(job, resources=None) == render_command(after[name], resources=None)


@given(
    st.integers(1, 8).flatmap(
        lambda size: st.lists(st.sets(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size)
    )
)
def test_depths_and_cycles(needs: list[set[int]]) -> None:
    """Nodes get a depth exactly when no cycle is behind them, and every reported cycle is one."""
    depth = depths(needs)
    for node, of in enumerate(needs):
        if depth[node] is not None:
            assert depth[node] == 1 + max((depth[need] for need in of), default=-1)
        else:
            assert any(depth[need] is None for need in of)
    found = cycles(needs, depth)
    assert bool(found) == (None in depth)
    for cycle in found:
        assert all(cycle[(place + 1) % len(cycle)] in needs[node] for place, node in enumerate(cycle))
        assert min(cycle) == cycle[0]


def test_folder_project_globs(tmp_path: Path) -> None:
    """Stars stay in a folder, two stars span folders, dot files and our state are left out, links to files count."""
    for name in ("a.txt", "b.csv", ".hidden.txt", "d/c.txt", "d/e/f.txt", ".repro/records/r.txt", ".git/g.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.txt").symlink_to("a.txt")
    (tmp_path / "loop").symlink_to(".")
    project = FolderProject(tmp_path)
    assert ["a.txt", "link.txt"] == project.glob("*.txt")
    assert ["a.txt", "d/c.txt", "d/e/f.txt", "link.txt"] == project.glob("**/*.txt")
    assert ["d/c.txt"] == project.glob("d/[a-c].txt")
    assert [".hidden.txt"] == project.glob(".h*.txt")
    assert ["d/e/f.txt"] == project.glob("d/*/*.txt")
    assert [] == project.glob("none/*")


@pytest.mark.parametrize("name", [b"a\nb.txt", b"\xff.txt"])
@pytest.mark.parametrize("step", ['inputs: {x: "*.txt"}', 'foreach: {glob: "*.txt"}'])
def test_names_that_no_list_could_hold_are_refused(tmp_path: Path, name: bytes, step: str) -> None:
    """A glob that matches a name with a newline, or one that is not UTF-8, is a mistake and not a crash later."""
    (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(WorkflowError, match="rename the file"):
        planned(tmp_path, f"  s: {{{step}, outputs: {{o: o}}, run: x}}\n")


def test_defaults_are_located_where_they_stand(tmp_path: Path) -> None:
    """A mistake in a template of the defaults is shown at its place there, for each step that takes it."""
    text = HEAD.replace("{environment: e}", '{environment: e, resources: {memory: "{{ size }}GB"}}')
    steps = "steps:\n  a: {outputs: {o: a}, run: x}\n  b: {resources: {memory: 1GB}, outputs: {o: b}, run: x}\n"
    with pytest.raises(WorkflowError) as caught:
        read(text + steps, "workflow.yaml", FolderProject(tmp_path))
    found = [(problem.where.line, problem.where.column, problem.path) for problem in caught.value.problems]
    assert [(3, 49, "steps.a.resources.memory")] == found


WIDE = "x: [" + ", ".join(map(str, range(100))) + "]"
LARGE = {
    "table": '  a: {foreach: {table: t.csv}, inputs: {r: "{{ r }}"}, outputs: {o: "a/{{ s }}"}, run: "x {{ inputs.r }}"}\n',
    "glob": '  a: {foreach: {glob: "in/*", pattern: "{{ n }}.f"}, inputs: {r: "{{ path }}"}, outputs: {o: "a/{{ n }}"}, '
    'resources: {memory: "{{ 2 * attempt }}GB"}, run: "x {{ inputs.r }}"}\n',
    "chain": "  s0: {outputs: {o: o/0}, run: x}\n"
    + "".join(
        f"  s{n}: {{inputs: {{i: {{from: s{n - 1}.o}}}}, outputs: {{o: o/{n}}}, run: x}}\n" for n in range(1, 1000)
    ),
    "gather": f'  a: {{foreach: {{{WIDE}, {WIDE.replace("x", "y", 1)}}}, outputs: {{o: "a/{{{{ x }}}}/{{{{ y }}}}"}}, run: x}}\n'
    f'  b: {{foreach: {{{WIDE}}}, inputs: {{i: {{from: a.o}}}}, outputs: {{o: "b/{{{{ x }}}}"}}, run: x}}\n'
    "  c: {inputs: {i: {from: b.o}}, outputs: {o: c}, run: x}\n",
}


@pytest.mark.judge
@pytest.mark.parametrize("name", LARGE)
def test_large_plans_are_quick(tmp_path: Path, name: str) -> None:
    """Ten thousand jobs, a chain of a thousand, and a hundred times a hundred gathered, take less than a CPU second."""
    (tmp_path / "in").mkdir()
    (tmp_path / "t.csv").write_text("s,r\n" + "".join(f"s{n},in/{n}.f\n" for n in range(10_000)))
    for number in range(10_000):
        (tmp_path / f"in/{number}.f").touch()
    took = []
    for _ in range(3):  # the first imports what it needs; others may be busy on the same processors
        start = time.process_time()
        plan = planned(tmp_path, LARGE[name])
        took.append(time.process_time() - start)
    assert 1.0 > min(took)
    assert {"table": 10_000, "glob": 10_000, "chain": 1000, "gather": 10_101}[name] == len(plan.jobs)


def test_any_column_name_is_used_when_it_is_mentioned(tmp_path: Path) -> None:
    """Columns count as used by what templates mention, whatever they are called; group names win over columns."""
    (tmp_path / "t.csv").write_text("attempt,params,other\n1,x,y\n2,x,z\n")
    steps = '  a: {foreach: {table: t.csv}, params: {k: v}, outputs: {o: "o/{{ attempt }}.{{ params.k }}"}, run: x}\n'
    jobs = by_id(planned(tmp_path, steps))
    assert ["a[attempt=1]", "a[attempt=2]"] == list(jobs)
    assert [("attempt",), ("attempt",)] == [job.used for job in jobs.values()]
    assert "o/1.v" == jobs["a[attempt=1]"].outputs["o"].path


def test_values_are_no_patterns(tmp_path: Path) -> None:
    """A glob's own signs range over files; the same signs in a foreach value are letters."""
    for name in ("a*", "ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").touch()
    plan = planned(tmp_path, '  s: {foreach: {v: ["a*"]}, inputs: {x: "{{ v }}/*.txt"}, outputs: {o: o}, run: x}\n')
    assert ("a*/1.txt",) == plan.jobs[0].inputs["x"].paths
