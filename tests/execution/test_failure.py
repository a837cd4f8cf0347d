"""What a failed job's message says, from its exit status, log, command and script."""

from __future__ import annotations

import errno

import pytest

from repro.errors import Location
from repro.execution.failure import explain, os_hint, os_text, status_words
from repro.execution.state import log_name
from repro.workflow.model import Job, JobInput, JobOutput, Step

STEP = Step("align", Location("workflow.yaml", 12, 3), "tools", {}, {}, run="true")
JOB = Job(
    "align", STEP, {}, {}, (), {}, {"x": JobInput(("data/a.txt",), many=False), "d": JobInput(("ref/",), many=False)},
    {"y": JobOutput("out/y.txt", folder=False)}, (), ("scripts/run.py",),
)  # fmt: skip


@pytest.fixture
def project(tmp_path):
    """A project with declared and undeclared files."""
    for name in (
        "data/a.txt",
        "data/b.txt",
        "data/deep/only.csv",
        "ref/g.fa",
        "scripts/run.py",
        "lib/own.py",
        "x1/t.dat",
        "x2/t.dat",
        "word",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


def told(project, log, *, command="true", status=1, makers=None):
    """Return the explanation of a job with this log."""
    path = project / "job.log"
    path.write_text(log)
    return explain(JOB, exit_status=status, log=path, command=command, project=project, makers=makers or {})


@pytest.mark.parametrize(
    ("log", "command", "path"),
    [
        ("cat: data/b.txt: No such file or directory\n", "true", "data/b.txt"),
        ("Error: cannot open file '/work/data/b.txt'\n", "true", "data/b.txt"),
        ("FileNotFoundError: [Errno 2] No such file or directory: './data/b.txt'\n", "true", "data/b.txt"),
        ('[E::hts_open_format] Failed to open file "data/b.txt" : No such file\n', "true", "data/b.txt"),
        ("could not open only.csv\n", "true", "data/deep/only.csv"),
        ("ls: cannot access 'data/deep/': No such file\n", "true", "data/deep/"),
        ("cat: 'data/*.csv': No such file\n", "true", None),
        ("cat: 'data/b*.txt': No such file\n", "true", "data/b*.txt"),
        ("", "test -s data/b.txt", "data/b.txt"),
        ("boom\n", "tool --in=data/b.txt", "data/b.txt"),
        ("cannot open t.dat\n", "true", None),
        ("cannot open data/a.txt\n", "true", None),
        ("cannot open ref/g.fa\n", "true", None),
        ("cannot open out/y.txt\n", "cp data/a.txt out/y.txt", None),
        ("cannot open ../../etc/passwd\n", "true", None),
        ("repro: /bin/x: not found in data container\n", "true", None),
        ("cat: word: No such file\n", "true", "word"),
        ("cannot open 'word' for reading: missing\n", "true", "word"),
        ("boom\n", "mkdir -p data out", None),
        ("boom\n", "sort word", None),
        ("cannot open mid/not-yet.txt\n", "true", "mid/not-yet.txt"),
    ],
)  # fmt: skip
def test_undeclared_file_is_found(project, log, command, path):
    """The path is found in the log, by its bare name if there is only one, or in the command; declared ones never are."""
    explanation = told(project, log, command=command, makers={"mid/not-yet.txt": "other.o"})
    assert (path is not None) == ("which it does not declare" in explanation.message)
    if path:
        assert f" {path}, which" in explanation.message
        declared = "{from: other.o}" if path.startswith("mid") else f'"{path}"' if "*" in path else path
        assert f": {declared}" in explanation.hint
        assert "step align (workflow.yaml:12)" in explanation.hint


def test_file_named_in_a_script(project):
    """A path in the job's own script counts when nothing better is known."""
    (project / "scripts/run.py").write_text("open('data/b.txt')\n")
    assert "the step names data/b.txt" in told(project, "died\n").message


def test_own_module_belongs_to_code(project):
    """An import of the project's own module is to be declared as code, not as an input."""
    explanation = told(project, "ModuleNotFoundError: No module named 'own'\n")
    assert "reads lib/own.py" in explanation.message
    assert "defaults: {code: [lib/own.py]}" in explanation.hint


def test_index_files_beside_an_input(project):
    """Files that continue an input's name are offered where the tool says that something is missing."""
    for extension in ("amb", "bwt"):
        (project / f"data/a.txt.{extension}").touch()
    explanation = told(project, "[E::bwa_idx_load_from_disk] fail to locate the index files\n")
    assert "may need data/a.txt.amb, data/a.txt.bwt beside its input" in explanation.message
    assert "step align (workflow.yaml:12): x: {path: data/a.txt, with: [.amb, .bwt]}" in explanation.hint


def test_output_of_another_step_is_declared_by_from(project):
    """What another step makes is to be taken from it."""
    explanation = told(project, "cat: data/b.txt: No such file\n", makers={"data/b.txt": "trim.r1"})
    assert "b: {from: trim.r1}" in explanation.hint


@pytest.mark.parametrize(
    ("log", "status", "hint"),
    [
        ("/run/repro/command.sh: line 1: bwa: command not found\n", 127, "bwa is not in environment tools"),
        ("sh: 1: bwa: not found\n", 127, "bwa is not in environment tools"),
        ("ModuleNotFoundError: No module named 'numpy'\n", 1, "numpy is not in environment tools"),
        ("there is no package called 'DESeq2'\n", 1, "DESeq2 is not in environment tools"),
        ("curl: (6) Could not resolve host: example.org\n", 6, "network: true in step align"),
        ("touch: cannot touch 'ref/x': Read-only file system\n", 1, "ref/x is read-only"),
        ("rm: cannot remove 'data/a.txt': Device or resource busy\n", 1, "data/a.txt is an input"),
        ("umount: /mnt/x: Device or resource busy\n", 1, ""),
        ("", 137, "out of memory"),
        ("", 139, "crashed"),
        ("boom\n", 1, ""),
    ],
)
def test_hint(project, log, status, hint):
    """Common causes come with what to do about them; an unknown one with nothing made up."""
    found = told(project, log, status=status).hint
    assert hint in found
    assert bool(hint) == bool(found)


def test_message_has_the_last_words(project):
    """The end of the log is in the message, its beginning is not."""
    message = told(project, "".join(f"line {number}\n" for number in range(100))).message
    assert "line 99" in message
    assert "line 5\n" not in message
    assert "it printed nothing" in told(project, "").message


def test_error_of_the_system_stays_readable():
    """A file's name is shown, the end of it where it is long; the hint is about the error that it is."""
    long = OSError(errno.ENAMETOOLONG, "File name too long", "/x" * 5000)
    assert os_text(long).startswith("File name too long: .../x")
    assert len(os_text(long)) < 300
    assert "No space left on device: /a" == os_text(OSError(errno.ENOSPC, "No space left on device", "/a"))
    assert "room" in os_hint(OSError(errno.ENOSPC, ""))
    assert "room" not in os_hint(long)


def test_long_line_is_cut(project):
    """A line of a million characters is searched at its ends alone: in full it would take hours."""
    found = told(project, f"{'a' * 1_000_000} data/b.txt: No such file\n")
    assert "the step reads data/b.txt" in found.message
    assert len(found.message) < 1000


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "exit status 1"),
        (126, "exit status 126 (found, but it cannot be executed)"),
        (137, "exit status 137 (killed by SIGKILL)"),
        (255, "exit status 255"),
    ],
)
def test_status_words(status, words):
    """Exit statuses are told in words where they have a meaning."""
    assert words == status_words(status)


def test_log_names_do_not_collide():
    """Ids that a file name cannot hold get names of their own; plain ones stay as they are."""
    ids = ["align", "align[s=a,l=1]", "align[p=a/b]", "align[p=a_b]", "x" * 300, "x" * 301]
    names = [log_name(name) for name in ids]
    assert len(ids) == len(set(names))
    assert ids[:2] == names[:2]
    assert all("/" not in name and len(name) < 200 for name in names)
