"""``inputs:``, ``publish:`` and secrets of a workflow, and how planning sees what is not in the project."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workflow_cases import CASES

from repro.errors import DataError, LockError, WorkflowError
from repro.names import hidden
from repro.workflow.loader import load
from repro.workflow.model import Access, Fingerprint
from repro.workflow.plan import read
from repro.workflow.project import FolderProject, PinnedInput, PinnedProject

GOOD = load((CASES / "good" / "data" / "workflow.yaml").read_text(), "workflow.yaml")
HEAD = "repro: 1\ndefaults: {environment: e}\nenvironments: {e: {base: 'debian:bookworm'}}\n"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ref/tx.fa.gz", {"uri": "s3://genomes/human/tx.fa.gz"}),
        (
            "ref/gencode.gtf",
            {
                "uri": "https://server.example/gencode.v44.gtf?download=1",
                "checksum": "md5:d41d8cd98f00b204e9800998ecf8427e",
            },
        ),
        ("db/nt/", {"site": "nt", "mount": True, "fingerprint": Fingerprint("manifest", "SHA256SUMS")}),
        ("shared/", {"uri": "../shared/"}),
        (
            "scan.bin",
            {"uri": "nfs://server/export/scan.bin", "mount": True, "fingerprint": Fingerprint("stat"), "private": True},
        ),
        (
            "reads/",
            {
                "uri": "s3://bucket/run 1/*.fq.gz",
                "access": Access("http://127.0.0.1:9000", "lab", requester_pays=True),
            },
        ),
        (
            "one.bin",
            {
                "uri": "s3://bucket/one.bin",
                "version": "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
                "access": Access(anonymous=True),
            },
        ),
        ("archive/", {"uri": "sftp://someone@server/data/", "checksums": "manifest-sha256.txt", "private": True}),
        (
            "share/",
            {
                "uri": "smb://server/share/folder/",
                "mount": True,
                "fingerprint": Fingerprint("label", "2026-03, as copied by hand"),
            },
        ),
    ],
)
def test_what_is_declared_is_read(path, expected):
    """Every field of an input comes out as declared; what is not said has its default."""
    plain = {
        "uri": None,
        "site": None,
        "version": None,
        "checksum": None,
        "checksums": None,
        "mount": False,
        "fingerprint": Fingerprint("sha256"),
        "private": False,
        "access": Access(),
    }
    source = GOOD.inputs[path]
    assert plain | expected == {name: getattr(source, name) for name in plain}
    assert (path, "workflow.yaml") == (source.path, source.where.file)


def test_all_that_is_declared_is_tried_above():
    """No input of the case is left out of the test before this one."""
    assert 9 == len(GOOD.inputs)


def test_targets_are_kept_as_templates():
    """A target is tried with a made-up run, and kept as it was written."""
    results = GOOD.publish["results/"]
    assert "s3://{{ params.bucket }}/{{ workflow }}/{{ date }}/{{ run.id }}/" == results.target
    assert Access("https://s3.lab.example", "lab") == GOOD.publish["results/idx/"].access
    assert "../out/a.n" == GOOD.publish["results/a.n"].target


def test_secrets_are_names():
    """A step says which secrets it is given, in its order; other steps have none."""
    assert ("s3-login", "token.txt") == GOOD.steps["count"].secrets
    assert () == GOOD.steps["index"].secrets


def test_no_login_is_said_again():
    """What is refused for the login in it is shown without it, also in the line of the file."""
    for case in ("data_inputs", "data_targets"):
        folder = CASES / "bad" / case
        assert "hunter" in (folder / "workflow.yaml").read_text()
        assert "hunter" not in (folder / "expected.txt").read_text()


@given(
    st.sampled_from(["s3", "nfs", "smb", "sftp", "http", "https", "ftp"]),
    st.sampled_from(
        [
            "inputs: {{x: '{}'}}",
            "inputs: {{x: {{site: a, uri: '{}'}}}}",
            "inputs: {{x: {{uri: 's3://b/x', checksums: '{}'}}}}",
            "inputs: {{x: {{uri: 's3://b/x', endpoint: '{}'}}}}",
            "publish: {{x: '{}'}}",
            "publish: {{x/: {{to: '{}/', profile: p}}}}",
            "inputs: {{x: a: '{}'}}",
        ]
    ),
    st.text(st.sampled_from("abcXYZ019!$%^*+-_.:/?="), min_size=4, max_size=20),
)
def test_no_password_is_shown(scheme, form, password):
    """Wherever a login stands, and whatever is in its password, no message shows it, nor the line it stands in."""
    secret = f"pw{password}"
    text = HEAD + form.format(f"{scheme}://user:{secret}@server/x") + "\nsteps: {a: {run: echo}}\n"
    with pytest.raises(WorkflowError) as caught:
        load(text, "workflow.yaml")
    assert secret not in str(caught.value)


# ---- the project with pinned inputs laid over it

segments = st.sampled_from(["a", "b", "ab", ".a", "a.txt", "b.txt"])
file_names = st.lists(segments, min_size=1, max_size=3).map("/".join)
patterns = st.lists(
    st.sampled_from(["**", "*", "a*", "?", "[ab]", ".*", "*.txt", "a", "b", "pin", "d"]), min_size=1, max_size=4
).map("/".join)


def _tree(files: set[str]) -> set[str]:
    """Return the files that can be together: none of them a folder of another."""
    return {name for name in files if not any(other.startswith(f"{name}/") for other in files)}


def _write(root: Path, files: set[str]) -> FolderProject:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return FolderProject(root)


@settings(max_examples=150, deadline=None)
@given(
    st.sets(file_names, max_size=6).map(_tree),
    st.sampled_from(["pin/", "d/pin/", "a/"]),
    st.sets(file_names, min_size=1, max_size=6).map(_tree),
    st.lists(patterns, min_size=1, max_size=4),
)
def test_an_overlay_is_a_tree(own, pinned, names, tried):
    """Overlaid, pinned files are found as if they lay in the project, and hide what lies at their place."""
    top = pinned.split("/", 1)[0]
    own = {name for name in own if name != top and name != pinned.rstrip("/")}
    seen = {name for name in own if not name.startswith(pinned)} | {pinned + name for name in names}
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        (Path(folder) / "own").mkdir()
        overlay = PinnedProject(
            _write(Path(folder) / "own", own), {pinned: PinnedInput(pinned, frozenset(names), str.encode)}
        )
        unlocked = PinnedProject(overlay.own, {pinned: PinnedInput(pinned, None, None)})
        real = _write(Path(folder) / "real", seen)
        for pattern in tried:
            assert real.glob(pattern) == overlay.glob(pattern)
            assert [] == overlay.unknown(pattern)
            if any(found.startswith(pinned) for found in real.glob(pattern)):
                assert [pinned] == unlocked.unknown(pattern)
        for path in [*seen, *own, *(f"{name}/x" for name in seen), *(name.rpartition("/")[0] or "a" for name in seen)]:
            assert (path, real.exists(path)) == (path, overlay.exists(path))
            assert (path, real.is_folder(path)) == (path, overlay.is_folder(path))
            assert (path, real.is_folder(path)) == (path, overlay.is_folder(f"{path}/"))
        for path in seen:
            assert path == overlay.read(path).decode()


def test_a_pinned_file_hides_that_of_the_project(tmp_path):
    """A file of the project at a pinned path is not read, and nothing below a pinned file is there."""
    own = _write(tmp_path, {"ref/x", "ref/y"})
    project = PinnedProject(own, {"ref/x": PinnedInput("ref/x", frozenset(), lambda path: b"pinned " + path.encode())})
    assert b"pinned ref/x" == project.read("ref/x")
    assert b"ref/y" == project.read("ref/y")
    assert ["ref/x", "ref/y"] == project.glob("ref/*")
    assert (False, False) == (project.exists("ref/x/below"), project.is_folder("ref/x"))


def test_anything_may_be_in_a_folder_that_was_never_locked(tmp_path):
    """Before the first lock any path in a folder counts as there, a folder where it says so; a pattern cannot know."""
    project = PinnedProject(FolderProject(tmp_path), {"db/nt/": PinnedInput("db/nt/", None, None)})
    assert project.exists("db/nt/any/thing")
    assert (False, True) == (project.is_folder("db/nt/x"), project.is_folder("db/nt/x/"))
    assert (True, True, False) == (project.is_folder("db"), project.exists("db/"), project.exists("db/other"))
    for pattern in ("**/*.fa", "db/*/x", "db/nt/*", "d*/**"):
        assert ["db/nt/"] == project.unknown(pattern)
    for pattern in ("db/*", "data/*.fa", "*", "db/other/*", "db/n/*"):
        assert [] == project.unknown(pattern)
    with pytest.raises(DataError, match="db/nt/x is not here yet") as caught:
        project.read("db/nt/x")
    assert "fetch it with `repro data get db/nt/x`" == caught.value.hint


# ---- planning


def _plan(text: str, folder: Path, pinned: dict[str, PinnedInput]):
    return read(HEAD + text, "workflow.yaml", PinnedProject(FolderProject(folder), pinned))


def _mistakes(text: str, folder: Path, pinned: dict[str, PinnedInput]) -> list[tuple[str, str, str]]:
    with pytest.raises(WorkflowError) as caught:
        _plan(text, folder, pinned)
    return [(problem.path, problem.message, problem.hint) for problem in caught.value.problems]


TABLE = """
inputs: {ref/samples.tsv: s3://bucket/samples.tsv}
steps: {a: {foreach: {table: ref/samples.tsv}, outputs: {o: "{{ sample }}"}, run: "touch {{ outputs.o }}"}}
"""


def test_jobs_come_from_a_pinned_table(tmp_path):
    """A table need not be in the project: its pinned bytes give the jobs."""
    pinned = PinnedInput("ref/samples.tsv", frozenset(), lambda _: b"sample\nx\ny\n")
    found = _plan(TABLE, tmp_path, {"ref/samples.tsv": pinned})
    assert ["a[sample=x]", "a[sample=y]"] == [job.id for job in found.jobs]


def test_a_table_that_is_not_here_is_a_located_mistake(tmp_path):
    """It is told how to fetch it, or what the lock lacks."""

    def fails(path: str) -> bytes:
        raise LockError(f"inputs.{path} is not locked", hint="run `repro lock`")

    path = "ref/samples.tsv"
    for read_bytes, hint in ((None, f"fetch it with `repro data get {path}`"), (fails, "run `repro lock`")):
        said = _mistakes(TABLE, tmp_path, {path: PinnedInput(path, frozenset(), read_bytes)})
        assert [("steps.a.foreach.table", hint)] == [(field, fix) for field, _, fix in said]


def test_what_is_not_known_is_no_second_mistake(tmp_path):
    """Where the text has a mistake, nobody is sent to lock or fetch what planning could not see for it."""
    pinned = {path: PinnedInput(path, None, None) for path in ("ref/samples.tsv", "db/")}
    text = TABLE.replace("inputs: {", "inputs: {db/: s3://bucket/db/, ").rstrip().removesuffix("}")
    text += ", b: {inputs: {x: 'db/*.fa'}, runn: echo}}\n"
    assert ["steps.b.runn"] == [field for field, _, _ in _mistakes(text, tmp_path, pinned)]


def test_patterns_range_over_locked_folders(tmp_path):
    """The names in the lock are as good as files of the project, and both are found together."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.fq").touch()
    text = """
inputs: {data/run/: s3://bucket/run/}
steps: {a: {inputs: {x: "data/**/*.fq"}, run: "cat {{ inputs.x }}"}}
"""
    pinned = PinnedInput("data/run/", frozenset(("1.fq", "deep/2.fq", "notes.txt")), None)
    (job,) = _plan(text, tmp_path, {"data/run/": pinned}).jobs
    assert ("data/own.fq", "data/run/1.fq", "data/run/deep/2.fq") == job.inputs["x"].paths


def test_a_path_that_a_locked_folder_has_not_is_missing(tmp_path):
    """Once locked, a folder has what the lock says and nothing else; near names are offered."""
    text = "inputs: {run/: s3://b/run/}\nsteps: {a: {inputs: {x: run/sample1.fq}, run: echo}}\n"
    pinned = PinnedInput("run/", frozenset(("sample2.fq",)), None)
    ((field, message, hint),) = _mistakes(text, tmp_path, {"run/": pinned})
    assert "steps.a.inputs.x" == field
    assert message.startswith("run/sample1.fq is not in the project")
    assert "did you mean run/sample2.fq?" == hint


@pytest.mark.parametrize("network", [True, False])
def test_private_data_and_the_network(tmp_path, network):
    """A step with the network reads no private input, nor anything in one; without the network it may."""
    text = f"""
inputs: {{mine/: {{uri: /data/, private: true}}, one: {{uri: /x, private: true}}, free: /y}}
steps:
  a: {{inputs: {{x: mine/sub/f, y: [free, one], z: free}}, network: {str(network).lower()}, run: echo}}
"""
    if not network:
        assert 1 == len(read(HEAD + text, "workflow.yaml", FolderProject(tmp_path)).jobs)
        return
    said = _mistakes(text, tmp_path, {path: PinnedInput(path, None, None) for path in ("mine/", "one", "free")})
    assert ["steps.a.inputs.x", "steps.a.inputs.y"] == [field for field, _, _ in said]


def test_outputs_of_foreach_steps_clash_as_well(tmp_path):
    """What an output's template makes of its values is held against the inputs, once all names are known."""
    text = """
inputs: {out/b.txt: s3://b/x}
steps: {a: {foreach: {s: [a, b]}, outputs: {o: "out/{{ s }}.txt"}, run: "touch {{ outputs.o }}"}}
"""
    said = _mistakes(text, tmp_path, {"out/b.txt": PinnedInput("out/b.txt", frozenset(), None)})
    assert [("inputs.out/b.txt", "out/b.txt is an output as well: a[s=b] (o)")] == [one[:2] for one in said]


def test_publishing_follows_templated_outputs(tmp_path):
    """A folder is published for what foreach puts into it; while outputs are not known, nothing is said of it."""
    text = """
steps: {a: {foreach: {s: [a, b]}, outputs: {o: "out/{{ s }}.txt"}, run: "touch {{ outputs.o }}"}}
publish: {out/: s3://b/out/, out/a.txt: s3://b/a, out/c.txt: s3://b/c}
"""
    assert ["publish.out/c.txt"] == [field for field, _, _ in _mistakes(text, tmp_path, {})]
    broken = text.replace("foreach: {s: [a, b]}", "foreach: {table: none.tsv}")
    assert ["steps.a.foreach.table"] == [field for field, _, _ in _mistakes(broken, tmp_path, {})]


@pytest.mark.parametrize(
    "key", ["X-Amz-Credential", "private_token", "download_token", "auth", "key", "jwt", "hmac", "api-key", "PASSWD"]
)
def test_a_login_in_a_query_is_refused_and_not_shown(key):
    """Whatever it is called: the file is committed, and the lock would have it."""
    text = f'repro: 1\ninputs: {{a.txt: "https://server/a?part=1&{key}=hunter2"}}\n'
    with pytest.raises(WorkflowError) as caught:
        load(text, "workflow.yaml")
    assert any(problem.path == "inputs.a.txt" for problem in caught.value.problems)
    assert "hunter2" not in str(caught.value)


def test_an_ordinary_query_is_an_address():
    """Data repositories choose files by it; a message shows its names alone."""
    text = 'repro: 1\ninputs: {a.txt: "https://server/a?id=NM_1&format=fasta"}\n'
    with pytest.raises(WorkflowError) as caught:
        load(text, "workflow.yaml")
    assert [problem.path for problem in caught.value.problems] == ["steps"]
    assert hidden("https://server/a?id=NM_1&format=fasta") == "https://server/a?id=***&format=***"
    assert hidden("s3://bucket/a?b=c") == "s3://bucket/a?b=c"
