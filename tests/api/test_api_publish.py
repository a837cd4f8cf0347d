"""`repro publish`: only what recorded jobs left, where the workflow says, and a record of it; and `run --publish`."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro.api.host import Host
from repro.api.publish_targets import Destination
from repro.api.publishing import publish, published
from repro.cli.main import main
from repro.data.sources.model import ExistsError, Reach
from repro.data.sums import read_sums
from repro.digest import Digest
from repro.errors import BusyError, DataError, FetchError, UsageError
from repro.events import Notice, Progress, ignore
from repro.execution.state import State
from repro.files import locked
from repro.oci.store import Store
from repro.workflow.model import Access
from tests.build.conftest import MODE, put_base

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOW = """\
repro: 1
name: shelf
params: {version: v1}
environments: {tool: {image: base}}
inputs:
  secret.txt: {uri: elsewhere/secret.txt, private: true}
  closed/: {uri: elsewhere/closed/, private: true, mount: true, fingerprint: {label: closed-1}}
steps:
  table:
    environment: tool
    inputs: {words: words.txt}
    outputs: {table: results/table.tsv}
    run: cat {{ inputs.words }} > {{ outputs.table }}
  plots:
    environment: tool
    inputs: {table: results/table.tsv}
    outputs: {plots: results/plots/}
    run: |
      mkdir -p {{ outputs.plots }}/deep
      echo one > {{ outputs.plots }}/deep/one.svg
      ln -s deep/one.svg {{ outputs.plots }}/link.svg
      ln -s /etc/passwd {{ outputs.plots }}/away
  copy:
    environment: tool
    inputs: {secret: secret.txt}
    outputs: {copy: copy.txt}
    run: cat {{ inputs.secret }} > {{ outputs.copy }}
  leak:
    environment: tool
    inputs: {closed: closed/}
    outputs: {leak: leak.txt}
    run: cat {{ inputs.closed }}deep/one.txt > {{ outputs.leak }}
"""
RESULTS = {"table.tsv": b"a\nb\n", "plots/deep/one.svg": b"one\n", "plots/link.svg": b"one\n"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose jobs were run, and the environment variables with which they were."""
    folder = tmp_path_factory.mktemp("made")
    store = Store(folder / "store", MODE.value)
    store.tag("base", put_base(store))
    project = folder / "project"
    (project / "elsewhere").mkdir(parents=True)
    (project / "workflow.yaml").write_text(WORKFLOW)
    (project / "words.txt").write_text("a\nb\n")
    (project / "elsewhere/secret.txt").write_text("secret\n")
    (project / "elsewhere/closed/deep").mkdir(parents=True)
    (project / "elsewhere/closed/deep/one.txt").write_text("closed\n")
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "REPRO_STORE": str(store.root), "NO_COLOR": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "repro", "run"], cwd=project, env=env, text=True, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return project, env


@pytest.fixture
def desk(made, tmp_path):
    """A function that makes a copy of the project with this ``publish:``; it returns the host in it."""
    project, env = made

    def make(text: str) -> Host:
        place = tmp_path / "project"
        if not place.exists():
            shutil.copytree(project, place, symlinks=True)
        (place / "workflow.yaml").write_text(f"{WORKFLOW}publish:\n{text}")
        return dataclasses.replace(Host.current(), cwd=place, environ=env)

    return make


def _states(standing):
    return {file.path: file.state for file in standing}


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _run(host, *arguments):
    command = [sys.executable, "-m", "repro", *arguments]
    return subprocess.run(command, cwd=host.cwd, env=host.environ, text=True, capture_output=True, check=False)


def test_outputs_below_a_folder_are_published(desk, tmp_path):
    """A folder stands for the outputs in it; what no job made, and links that lead out, are left out and told."""
    host = desk("  results/: ../out/{{ params.version }}/\n")
    (host.cwd / "results/mine.txt").write_text("by hand\n")
    told = []
    standing = publish(host, None, sink=told.append)
    assert {f"results/{name}": "sent" for name in RESULTS} == _states(standing)
    found = _files(tmp_path / "out/v1")
    sums = read_sums(found.pop("SHA256SUMS"), "SHA256SUMS")
    assert found == RESULTS
    assert {name: Digest.of(data).hex for name, data in RESULTS.items()} == {
        name: sums.expected(name).hex for name in sums.names()
    }
    (notice,) = [event.text for event in told if isinstance(event, Notice)]
    assert notice == "not published, for no job made them: results/mine.txt, results/plots/away"
    assert (12, 12, "bytes") == [(one.done, one.total, one.unit) for one in told if isinstance(one, Progress)][-1]


def test_published_again_nothing_is_sent_nor_recorded(desk, tmp_path):
    """The same results at the same address: nothing to do, and the record of the first time stays the only one."""
    host = desk("  results/table.tsv: ../out/{{ workflow }}/{{ run.id }}.tsv\n")
    (first,) = publish(host, None, sink=ignore)
    run = json.loads(next((host.cwd / ".repro/published").iterdir()).read_text())["run"]
    assert str(tmp_path / f"out/shelf/{run}.tsv") == first.address
    assert (first.state, first.size, Digest.of(b"a\nb\n")) == ("sent", 4, first.digest)
    (again,) = publish(host, None, sink=ignore)
    assert "there" == again.state
    (record,) = published(host, None)
    assert (run, "workflow.yaml", (first,)) == (record.run, record.workflow, record.files)


def test_date_is_the_day_of_the_run(desk, tmp_path):
    """``date`` is the day, in UTC, on which the last run that succeeded ended."""
    host = desk("  results/table.tsv: ../out/{{ date }}/table.tsv\n")
    (file,) = publish(host, None, sink=ignore)
    journal = next((host.cwd / ".repro/runs").iterdir()) / "journal.jsonl"
    last = json.loads(journal.read_text().splitlines()[-1])
    assert ("run-finished", str(tmp_path / "out" / last["time"][:10] / "table.tsv")) == (last["kind"], file.address)


def test_template_without_a_run_is_told(desk):
    """Where no run is known, only an address that does not need one can be made."""
    host = desk("  results/table.tsv: ../out/{{ run.id }}/table.tsv\n")
    shutil.rmtree(host.cwd / ".repro/runs")
    with pytest.raises(UsageError, match=r"the address of results/table\.tsv cannot be made") as caught:
        publish(host, None, sink=ignore)
    assert "workflow.yaml" in str(caught.value.where)
    host = desk("  results/table.tsv: ../out/table.tsv\n")
    assert ["sent"] == [file.state for file in publish(host, None, sink=ignore)]


def test_stale_results_are_not_published(desk, tmp_path):
    """Jobs that must run first are named, with why; nothing is written anywhere."""
    host = desk("  results/: ../out/\n")
    (host.cwd / "words.txt").write_text("other\n")
    with pytest.raises(DataError, match="2 of 2 jobs must run") as caught:
        publish(host, None, sink=ignore)
    assert "table: words.txt changed" in (caught.value.why or "") or "table: " in (caught.value.why or "")
    assert "repro run workflow.yaml" in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_edited_result_is_not_published(desk, tmp_path):
    """A file that was edited since its job made it is nothing that a job made."""
    host = desk("  results/plots/: ../out/\n")
    (host.cwd / "results/plots/deep/one.svg").write_text("edited\n")
    with pytest.raises(DataError, match="1 of 1 jobs must run"):
        publish(host, None, sink=ignore)
    assert not (tmp_path / "out").exists()


def test_file_written_while_it_is_looked_at_is_not_published(desk, monkeypatch):
    """A write between the look at the jobs and the digests of the files is noticed."""
    host = desk("  results/: ../out/\n")
    from repro.api import publishing as module

    real = module.assessed

    def assessed(*args):
        states = real(*args)
        (host.cwd / "results/plots/deep/one.svg").write_text("edited\n")
        return states

    monkeypatch.setattr(module, "assessed", assessed)
    with pytest.raises(DataError, match="changed while it was looked at"):
        publish(host, None, sink=ignore)


def test_copy_of_a_private_input_is_not_published(desk):
    """The bytes of a private input do not leave under another name."""
    host = desk("  copy.txt: ../out/copy.txt\n")
    with pytest.raises(DataError, match=r"copy of secret\.txt, which is private"):
        publish(host, None, sink=ignore)


def test_copy_of_a_file_in_a_private_folder_is_not_published(desk):
    """Nor do they where the folder is bound in place, and nobody read it until now."""
    host = desk("  leak.txt: ../out/leak.txt\n")
    with pytest.raises(DataError, match=r"copy of closed/deep/one\.txt, which is private"):
        publish(host, None, sink=ignore)


def test_part_of_a_folder_output_is_published(desk, tmp_path):
    """A file in an output that is a folder, or a folder in one, can be published by itself."""
    host = desk("  results/plots/deep/: ../out/\n  results/plots/link.svg: ../one.svg\n")
    assert {"results/plots/deep/one.svg": "sent", "results/plots/link.svg": "sent"} == _states(
        publish(host, None, sink=ignore)
    )
    assert {"one.svg", "SHA256SUMS"} == set(_files(tmp_path / "out"))
    listed = (tmp_path / "one.svg.sha256").read_text()
    assert (b"one\n", f"{Digest.of(b'one' + chr(10).encode()).hex}  one.svg\n") == (
        (tmp_path / "one.svg").read_bytes(),
        listed,
    )


def test_entries_are_chosen_by_path(desk):
    """Paths choose entries of `publish:`; others are told with those that there are."""
    host = desk("  results/plots/: ../a/\n  results/table.tsv: ../b/table.tsv\n")
    assert {"results/table.tsv"} == set(_states(publish(host, None, paths=("results/table.tsv",), sink=ignore)))
    assert {"there", "missing"} == set(_states(publish(host, None, dry_run=True, sink=ignore)).values())
    with pytest.raises(UsageError, match=r"results/ is not under") as caught:
        publish(host, None, paths=("results/",), sink=ignore)
    assert "results/plots/" in (caught.value.hint or "")


def test_two_entries_for_one_place_are_refused(desk):
    """Two folders would mix at one address."""
    host = desk("  results/: ../out/\n  results/plots/: ../out/\n")
    with pytest.raises(UsageError, match="same address"):
        publish(host, None, sink=ignore)


def test_nothing_is_published_where_one_target_fails(desk, tmp_path):
    """All entries are one: where the second address cannot be written, the first stays empty."""
    host = desk("  results/plots/: ../out/\n  results/table.tsv: ../file/table.tsv\n")
    (tmp_path / "file").write_text("no folder\n")
    with pytest.raises((FetchError, DataError)):
        publish(host, None, sink=ignore)
    assert {} == _files(tmp_path / "out")
    (tmp_path / "file").unlink()
    publish(host, None, sink=ignore)
    assert {"deep/one.svg", "link.svg", "SHA256SUMS"} == set(_files(tmp_path / "out"))
    assert ["deep"] == [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_what_was_staged_elsewhere_is_removed(desk, tmp_path):
    """When the address changed since a publication that did not end, what that one left there goes."""
    host = desk("  results/: ../old/\n")
    place = Destination.of("../old/", Access(), host.cwd)
    state = place.state(host.cwd / ".repro/publish", "workflow.yaml", "results/")
    place.note(state)
    staged = tmp_path / "old/.repro-staging-0123456789abcdef/0123456789abcdef"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"half")
    entry = {"name": "table.tsv", "digest": str(Digest.of(b"x")), "size": 9, "phase": "staged", "found": None,
             "replaced": False, "token": {"staged": str(staged.relative_to(tmp_path / "old"))}}  # fmt: skip
    (state / "journal.jsonl").write_text(json.dumps(entry))
    host = desk("  results/: ../new/\n")
    publish(host, None, sink=ignore)
    assert ({}, False) == (_files(tmp_path / "old"), state.exists())
    assert {*RESULTS, "SHA256SUMS"} == set(_files(tmp_path / "new"))


def test_run_under_way_is_waited_for_by_the_user(desk):
    """While a run has the project, its results are not published."""
    host = desk("  results/: ../out/\n")
    with locked(State(host.cwd).lock, owner="run r1"), pytest.raises(BusyError) as caught:
        publish(host, None, sink=ignore)
    assert "run r1" in (caught.value.why or "")


def test_other_bytes_are_replaced_when_that_is_said(desk, tmp_path):
    """ExistsError names the files; `replace` puts ours there."""
    host = desk("  results/table.tsv: ../out/table.tsv\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/table.tsv").write_text("theirs\n")
    with pytest.raises(ExistsError) as caught:
        publish(host, None, sink=ignore)
    assert str(tmp_path / "out/table.tsv") in (caught.value.why or "")
    assert ["differs"] == [file.state for file in publish(host, None, dry_run=True, sink=ignore)]
    publish(host, None, replace=True, sink=ignore)
    assert b"a\nb\n" == (tmp_path / "out/table.tsv").read_bytes()


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("../out/", "/up/out/", ""),
        ("/abs/file.txt", "/abs/", "file.txt"),
        ("file:///abs/f", "/abs/", "f"),
        ("/", "/", ""),
        ("s3://bucket/a.txt", "s3://bucket/", "a.txt"),
        ("s3://bucket/x/", "s3://bucket/x/", ""),
        ("sftp://me@host:22/~/x/", "sftp://host:22/~/x/", ""),
        ("smb://me@host/share/x", "smb://host/share/", "x"),
    ],
)
def test_addresses(text, address, name):
    """A folder, or a file in one; a path is from the workflow's folder, and no user's name is shown."""
    place = Destination.of(text, Access(), Path("/up/project"))
    assert (address, name) == (place.address, place.name)


def test_mounted_share_is_written_where_it_is_mounted(tmp_path, monkeypatch):
    """What is mounted on this machine needs no client of its own; what is not is reached by its protocol."""
    places = {"server": tmp_path}
    monkeypatch.setattr("repro.data.sources.mounts.mounted", lambda uri: places.get(uri.host))
    reach = Reach({}, 0, 0)
    here, there = (
        Destination.of(f"nfs://{host}/export/x/", Access(), tmp_path).target(reach)
        for host in ("server", "127.0.0.1:1")
    )
    assert ("FolderTarget", "NfsTarget") == (type(here).__name__, type(there).__name__)


# ---- the command


def test_command_prints_a_line_per_file(desk, tmp_path, monkeypatch, capsys):
    """`repro publish` says path, address, digest and what was done; --list and --json tell the same later."""
    host = desk("  results/table.tsv: ../out/table.tsv\n")
    monkeypatch.chdir(host.cwd)
    monkeypatch.setenv("REPRO_STORE", host.environ["REPRO_STORE"])
    line = f"results/table.tsv -> {tmp_path}/out/table.tsv  {Digest.of(b'a' + bytes([10]) + b'b' + bytes([10])).hex}  "
    for options, said in ((["--dry-run"], "to be sent"), ([], "sent"), (["workflow.yaml"], "there")):
        assert (0, f"{line}({said})\n") == (main(["-q", "publish", *options]), capsys.readouterr().out)
    (tmp_path / "out/table.tsv").write_text("mine")
    assert (4, f"{line}(other bytes are there)\n") == (main(["-q", "publish", "-n"]), capsys.readouterr().out)
    assert 4 == main(["publish", "results/table.tsv"])
    assert "--replace" in capsys.readouterr().err
    assert 0 == main(["publish", "--list"])
    head, row = capsys.readouterr().out.splitlines()
    assert (["TIME", "RUN", "PATH", "ADDRESS", "SIZE", "DIGEST"], "results/table.tsv") == (head.split(), row.split()[2])
    assert 0 == main(["publish", "--list", "--json", ".", "results"])
    (entry,) = json.loads(capsys.readouterr().out)
    assert ("results/table.tsv", 4) == (entry["file"]["path"], entry["file"]["size"])
    assert 0 == main(["publish", "--list", "plots"])
    assert 1 == len(capsys.readouterr().out.splitlines())


def test_run_publishes_afterwards(desk, tmp_path):
    """`run --publish` runs what must run, then publishes; a run that fails publishes nothing."""
    host = desk("  results/: ../out/\n")
    (host.cwd / "words.txt").write_text("c\n")
    done = _run(host, "run", "--publish")
    assert (0, b"c\n") == (done.returncode, (tmp_path / "out/table.tsv").read_bytes()), done.stderr
    assert 3 == len(done.stdout.splitlines())
    text = (host.cwd / "workflow.yaml").read_text()
    (host.cwd / "workflow.yaml").write_text(text.replace("run: cat {{ inputs.words }}", "run: false; cat x"))
    failed = _run(host, "run", "--publish")
    assert (1, "") == (failed.returncode, failed.stdout)
    (host.cwd / "workflow.yaml").write_text(WORKFLOW)
    nothing = _run(host, "run", "--publish")
    assert (2, True) == (nothing.returncode, "publishes nothing" in nothing.stderr)


def test_interrupted_command_leaves_nothing_half_done(desk, tmp_path):
    """TERM in mid-transfer ends with 130, nothing is seen, and the next time it goes on."""
    host = desk("  results/table.tsv: ../out/table.tsv\n")
    big = "x" * 1000 + "\n"
    (host.cwd / "words.txt").write_text(big * 40_000)
    assert 0 == _run(host, "run").returncode
    command = [sys.executable, "-m", "repro", "publish"]
    running = subprocess.Popen(command, cwd=host.cwd, env=host.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 30
    while not list(tmp_path.glob("out/.repro-staging-*/*")) and running.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    assert (130, False) == (running.returncode, (tmp_path / "out/table.tsv").exists())
    assert 0 == _run(host, "publish").returncode
    assert {"table.tsv", "table.tsv.sha256"} == set(_files(tmp_path / "out"))
    assert big.encode() * 40_000 == (tmp_path / "out/table.tsv").read_bytes()
