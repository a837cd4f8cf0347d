"""Whole runs of small workflows in real containers."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from contextlib import closing

import pytest

from repro.errors import BuildError, BusyError, HostError, WorkflowError
from repro.files import remove_tree
from repro.runtime.container import Launcher
from tests.execution.driver import IMAGE, mode

UPPER = """
steps:
  upper:
    foreach: {s: [a, b]}
    inputs: {x: "data/{{ s }}.txt"}
    outputs: {y: "work/{{ s }}.up"}
    run: tr a-z A-Z < {{ inputs.x }} > {{ outputs.y }}
  join:
    inputs: {parts: {from: upper.y}}
    outputs: {all: results/all.txt}
    run: cat {{ inputs.parts }} > {{ outputs.all }}
"""
DATA = {"data/a.txt": "one\n", "data/b.txt": "two\n"}


def one_step(run, *, more="", inputs="{x: data/a.txt}", outputs="{y: out/y.txt}"):
    """Return a workflow of one step with this command."""
    indented = "\n".join(f"      {line}" for line in run.splitlines())
    return f"steps:\n  s:\n    inputs: {inputs}\n    outputs: {outputs}\n    run: |\n{indented}\n{more}"


def names_in(root):
    """Return all project files but those of .repro, sorted."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if ".repro" not in path.parts)


def test_pipeline_makes_its_outputs(pipeline):
    """Jobs run in the order of their needs; gathered inputs come in the declared order."""
    pipeline.steps(UPPER).write(DATA)
    finished = pipeline.run()
    assert ("succeeded", 3, 0, 0, 0) == (
        finished.status, finished.ran, finished.cached, finished.failed, finished.skipped
    )  # fmt: skip
    assert "ONE\nTWO\n" == pipeline.text("results/all.txt")
    assert ["join", "upper[s=a]", "upper[s=b]"] == pipeline.jobs("job-finished")
    assert ["tools"] == pipeline.asked


def test_second_run_is_all_cached(pipeline):
    """A run with nothing to do asks for no image, starts no container and reports each job as cached."""
    pipeline.steps(UPPER).write(DATA).run()
    executor = pipeline.executor(None)  # no launcher: it would fail if one were needed
    pipeline.events, pipeline.asked = [], []
    finished = executor.run("again")
    assert ("succeeded", 0, 3) == (finished.status, finished.ran, finished.cached)
    assert [] == pipeline.asked
    assert {"cached"} == {state.status for state in pipeline.assess().values()}


def test_changed_input_reruns_what_hangs_on_it(pipeline):
    """A new content of one input runs its job and what follows, not its sibling; plan says which file changed."""
    pipeline.steps(UPPER).write(DATA).run()
    pipeline.write({"data/b.txt": "three\n"})
    states = pipeline.assess()
    assert ("cached", "run", "pending") == tuple(states[name].status for name in ("upper[s=a]", "upper[s=b]", "join"))
    assert ["inputs.x data/b.txt"] == [change.part for change in states["upper[s=b]"].changes]
    pipeline.run()
    assert ["join", "upper[s=b]"] == pipeline.jobs("job-finished")
    assert "ONE\nTHREE\n" == pipeline.text("results/all.txt")


def test_touched_input_runs_nothing(pipeline):
    """A new mtime with the same bytes is no change."""
    pipeline.steps(UPPER).write(DATA).run()
    os.utime(pipeline.root / "data/a.txt", ns=(1, 1))
    assert 3 == pipeline.run().cached


def test_equal_output_cuts_the_rerun_off(pipeline):
    """A job that runs again and makes the same bytes leaves those that need it cached."""
    pipeline.steps(UPPER).write(DATA).run()
    pipeline.write({"data/a.txt": "One\n"})
    finished = pipeline.run()
    assert ["upper[s=a]"] == pipeline.jobs("job-finished")
    assert ["join", "upper[s=b]"] == pipeline.jobs("job-cached")
    assert (1, 2) == (finished.ran, finished.cached)


def test_changed_command_and_param_rerun(pipeline):
    """A new command or a new value of a param runs the job again, and the reason says what it was and is."""
    text = "params: {n: 1}\n" + one_step("head -n {{ params.n }} {{ inputs.x }} > {{ outputs.y }}")
    pipeline.steps(text).write({"data/a.txt": "1\n2\n3\n"}).run()
    pipeline.steps(text.replace("{n: 1}", "{n: 2}"))
    assert "params.n: 1 -> 2" in pipeline.assess()["s"].why
    pipeline.run()
    assert "1\n2\n" == pipeline.text("out/y.txt")
    pipeline.steps(text.replace("head", "tail"))
    pipeline.run()
    assert ["s"] == pipeline.jobs("job-finished")


def test_going_back_needs_no_run_only_with_the_old_bytes(pipeline):
    """An old key has its record still, but an output that another key made since is not its own."""
    text = one_step("cat {{ inputs.x }} > {{ outputs.y }}")
    pipeline.steps(text).write(DATA).run()
    pipeline.write({"data/a.txt": "x\n"}).run()
    pipeline.write({"data/a.txt": "one\n"})
    assert "not as it was recorded" in pipeline.assess()["s"].why
    pipeline.run()
    assert "one\n" == pipeline.text("out/y.txt")


def test_damaged_and_missing_outputs_are_made_again(pipeline):
    """An output that was edited or deleted runs its job, and the reason names it."""
    pipeline.steps(UPPER).write(DATA).run()
    pipeline.write({"work/a.up": "edited\n"})
    (pipeline.root / "results/all.txt").unlink()
    states = pipeline.assess()
    assert "output work/a.up is not as it was recorded" == states["upper[s=a]"].why
    pipeline.run()
    assert ["join", "upper[s=a]"] == pipeline.jobs("job-finished")
    assert "ONE\nTWO\n" == pipeline.text("results/all.txt")


def test_what_no_run_made_is_kept_when_an_output_comes(pipeline):
    """The user's own file and folder, where outputs go, are kept in the run's folder; recorded outputs are not."""
    pipeline.steps(
        "steps:\n"
        "  one: {outputs: {f: out/f.txt}, run: echo new > out/f.txt}\n"
        "  two: {outputs: {d: mine/}, run: mkdir mine; echo new > mine/made.txt}\n"
    )
    pipeline.write({"out/f.txt": "precious\n", "mine/data.txt": "precious\n"}).run()
    assert ["new\n", "new\n"] == [pipeline.text("out/f.txt"), pipeline.text("mine/made.txt")]
    assert not (pipeline.root / "mine/data.txt").exists()
    kept = sorted(path for path in pipeline.root.glob(".repro/runs/*/replaced/**/*") if path.is_file())
    assert ["data.txt", "f.txt"] == [path.name for path in kept]
    assert {"precious\n"} == {path.read_text() for path in kept}
    notices = [event.text for event in pipeline.events if event.kind == "notice"]
    assert 2 == sum("made by no recorded run" in text for text in notices)
    (pipeline.root / ".repro/records/one").rename(pipeline.root / "gone")
    pipeline.run()
    assert ["one"] == pipeline.jobs("job-finished")
    pipeline.steps("steps:\n  one: {outputs: {f: out/f.txt}, run: echo newer > out/f.txt}\n").run()
    assert [] == [event for event in pipeline.events if event.kind == "notice"]
    assert "newer\n" == pipeline.text("out/f.txt")


def test_another_image_reruns(pipeline):
    """Another image ID is another key."""
    pipeline.steps(UPPER).write(DATA).run()
    pipeline.image = type(IMAGE).of(b"another image")
    assert "image changed" in pipeline.assess()["upper[s=a]"].why


def test_image_that_is_not_known_yet(pipeline):
    """An environment without an image ID is asked for once; then its jobs may turn out to be cached."""
    pipeline.steps(UPPER).write(DATA)
    pipeline.known = {}
    assert "environment tools has no image yet" == pipeline.assess()["upper[s=a]"].why
    assert 3 == pipeline.run().ran
    assert ["tools"] == pipeline.asked
    assert 3 == pipeline.run().cached
    pipeline.known = None
    assert 3 == pipeline.run().cached


def test_image_that_cannot_be_had(pipeline):
    """A build that fails fails the jobs of its environment, is tried once a run, and says why."""
    pipeline.steps(UPPER).write(DATA)
    pipeline.image_error = BuildError("RUN failed", where="Dockerfile:3", hint="read its output")
    finished = pipeline.run()
    assert (2, 1) == (finished.failed, finished.skipped)
    assert ["tools"] == pipeline.asked
    failure = pipeline.failure("upper[s=a]")
    assert ("Dockerfile:3: RUN failed", "read its output", None) == (failure.message, failure.hint, failure.exit_status)


def test_other_image_than_the_key_says(pipeline):
    """A job never runs in another image than the one that its key holds."""
    pipeline.steps(UPPER).write(DATA)
    pipeline.known = {"tools": type(IMAGE).of(b"locked")}
    assert 2 == pipeline.run().failed
    assert "as expected" in pipeline.failure("upper[s=a]").message


def test_host_without_containers_ends_the_run(pipeline):
    """Where no container can be had the run ends with that error, not with a failure for each job."""
    pipeline.steps(UPPER).write(DATA)
    pipeline.image_error = HostError("no user namespaces", hint="ask your administrator")
    with pytest.raises(HostError, match="no user namespaces"):
        pipeline.run()
    assert [] == pipeline.jobs("job-failed")
    pipeline.image_error = None
    assert 3 == pipeline.run().ran


def test_ctrl_c_in_the_main_thread(pipeline):
    """KeyboardInterrupt while waiting ends the run like `stop` does."""
    pipeline.steps(one_step("sleep 600; touch {{ outputs.y }}")).write(DATA)
    pipeline.listener = lambda event: (
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start() if event.kind == "job-started" else None
    )
    finished = pipeline.run()
    assert ("interrupted", 0) == (finished.status, finished.failed)


def test_failing_command(pipeline):
    """A command that fails leaves nothing in the project; its last words are in the message, the rest in the log."""
    text = one_step("echo half > {{ outputs.y }}\necho broken >&2\nfalse\necho never")
    finished = pipeline.steps(text).write(DATA).run()
    failure = pipeline.failure("s")
    assert ("failed", 1) == (finished.status, finished.failed)
    assert 1 == failure.exit_status
    assert "broken" in failure.message
    assert "broken\n" == pipeline.text(failure.log)
    assert ["data", "data/a.txt", "data/b.txt", "workflow.yaml"] == names_in(pipeline.root)


def test_pipe_that_fails_in_the_middle_fails_the_job(pipeline):
    """A pipe fails as a whole (pipefail) where the image has bash."""
    pipeline.steps(one_step("false | cat > {{ outputs.y }}")).write(DATA)
    assert 1 == pipeline.run().failed


def test_failure_stops_only_what_needs_it(pipeline):
    """With `keep_going` the other sample's jobs go on; what needs the failed job is skipped and says why."""
    pipeline.more = {"keep_going": True}
    pipeline.steps(UPPER.replace("run: tr a-z", "run: test {{ s }} != a && tr a-z")).write(DATA)
    finished = pipeline.run()
    assert ("failed", 1, 1, 1) == (finished.status, finished.ran, finished.failed, finished.skipped)
    assert "TWO\n" == pipeline.text("work/b.up")
    skipped = [event for event in pipeline.events if event.kind == "job-skipped"]
    assert [("join", "upper[s=a]")] == [(event.job, event.because) for event in skipped]


def test_old_output_stays_when_the_new_attempt_fails(pipeline):
    """A failed rerun leaves the previous output as it was."""
    pipeline.steps(one_step("cat {{ inputs.x }} > {{ outputs.y }}")).write(DATA).run()
    pipeline.steps(one_step("echo new > {{ outputs.y }}; exit 3")).run()
    assert "one\n" == pipeline.text("out/y.txt")


def test_missing_output_names_the_near_miss(pipeline):
    """Exit 0 without a declared output is a failure that names it and what was written instead."""
    pipeline.steps(one_step("echo x > out/Y.txt")).write(DATA).run()
    failure = pipeline.failure("s")
    assert "output y: out/y.txt was not made; the step wrote out/Y.txt instead" == failure.message
    assert not (pipeline.root / "out").exists()


@pytest.mark.parametrize(
    ("run", "output", "said"),
    [
        ("mkdir {{ outputs.y }}", "out/y", "out/y is a folder, a file is declared"),
        ("touch out/y", "out/y/", "out/y/ is a file, a folder is declared"),
        ("mkfifo {{ outputs.y }}", "out/y", "out/y is no regular file"),
        ("mkdir out/y; mkfifo out/y/p", "out/y/", "out/y/p is no file, folder or link"),
        ("ln -s /etc/passwd {{ outputs.y }}", "out/y", "is a link to /etc/passwd"),
        ("ln -s y {{ outputs.y }}", "out/y", "chain of links"),
        ("rm -r out; mkdir /tmp/o; touch /tmp/o/y; ln -s /tmp/o out", "out/y", "out/y was not made"),
    ],
)
def test_wrong_kind_of_output(pipeline, run, output, said):
    """An output of the wrong kind, or reached through a link out of /work, fails the job and says what it is."""
    pipeline.steps(one_step(run, outputs=f"{{y: {output}}}")).write(DATA).run()
    assert said in pipeline.failure("s").message
    assert not (pipeline.root / "out").exists()


DEEP = "p=out/y; for i in $(seq {depth}); do p=$p/d; done; mkdir -p $p; echo x > $p/f"


def test_folder_deeper_than_the_stack(pipeline):
    """An output of a thousand nested folders comes out, is read by the next job, and is known again."""
    text = one_step(DEEP.format(depth=1200), outputs="{y: out/y/}")
    text += (
        "  n:\n    inputs: {d: {from: s.y}}\n    outputs: {n: n.txt}\n    run: ls -R {{ inputs.d }} > {{ outputs.n }}\n"
    )
    text += "  bad:\n    inputs: {n: {from: n.n}}\n    outputs: {o: o.txt}\n    run: cat only.csv > {{ outputs.o }}\n"
    finished = pipeline.steps(text).write({**DATA, "z/only.csv": ""}).run()
    assert (2, 1) == (finished.ran, finished.failed)
    assert 1201 == pipeline.text("n.txt").count(":\n")
    assert "the step reads z/only.csv" in pipeline.failure("bad").message  # looked for in the whole project
    assert 2 == pipeline.run().cached
    remove_tree(pipeline.root / "out")  # pytest's own clean-up recurses


def test_folder_deeper_than_a_path_can_name(pipeline):
    """An output that no program could open by its path is refused in a sentence."""
    deeper = "mkdir out/y; cd out/y; for i in $(seq 30); do n=$(printf '%0200d' $i); mkdir $n; cd $n; done; touch f"
    pipeline.steps(one_step(deeper, outputs="{y: out/y/}")).write(DATA).run()
    assert "output y: out/y/ is deeper than a path can name (File name too long)" == pipeline.failure("s").message
    assert not (pipeline.root / "out").exists()


def test_linked_output_is_the_bytes(pipeline):
    """An output that is a link to another file in /work, or to an input, comes out as that file's bytes."""
    text = one_step(
        "echo v1 > out/run1.txt\nln -s run1.txt {{ outputs.y }}\nln -s /work/{{ inputs.x }} {{ outputs.z }}",
        outputs="{y: out/y.txt, z: out/z.txt}",
    )
    finished = pipeline.steps(text).write(DATA).run()
    assert 1 == finished.ran
    assert ("v1\n", "one\n") == (pipeline.text("out/y.txt"), pipeline.text("out/z.txt"))
    assert not (pipeline.root / "out/y.txt").is_symlink()


def test_undeclared_read_names_the_file_to_declare(pipeline):
    """A project file that is not declared is not there for the step; the message names it and the line to add."""
    pipeline.steps(one_step("cat {{ inputs.x }} data/b.txt > {{ outputs.y }}")).write(DATA).run()
    failure = pipeline.failure("s")
    assert "the step reads data/b.txt, which it does not declare" in failure.message
    assert "b: data/b.txt" in failure.hint
    assert "inputs of step s (workflow.yaml:" in failure.hint


def test_undeclared_read_by_a_script(pipeline):
    """The same for a script that opens a file by a path it builds."""
    pipeline.steps("steps: {s: {outputs: {y: y.txt}, script: run.sh}}").write(
        {**DATA, "run.sh": 'd=data\nset -e\ncat "$d/b.txt" > y.txt\n'}
    )
    pipeline.run()
    assert "the step reads data/b.txt" in pipeline.failure("s").message


def test_undeclared_output_of_another_step(pipeline):
    """A file that another step makes is to be declared by `from`."""
    pipeline.steps(
        "steps:\n  a: {outputs: {o: mid/a.txt}, run: 'echo 1 > mid/a.txt'}\n"
        "  b: {inputs: {x: data/a.txt}, outputs: {o: b.txt}, run: 'cat mid/a.txt > b.txt'}\n"
    ).write(DATA)
    pipeline.run("r1")
    pipeline.run("r2")  # by now the file is there, outside
    assert "{from: a.o}" in pipeline.failure("b").hint


def test_world_of_a_step(pipeline):
    """/work holds the declared inputs alone; it, /tmp and HOME can be written; nothing of the host's environment."""
    os.environ["REPRO_TEST_SECRET"] = "1"
    try:
        text = one_step(
            "ls -A /work data > {{ outputs.y }}\nprintenv > {{ outputs.e }}\necho x > scratch.txt\n"
            'echo x > "$HOME/f"; echo x > "$TMPDIR/f"; id -u >> {{ outputs.y }}',
            outputs="{y: out/y.txt, e: out/env.txt}",
            more="    env: {LC_ALL: C}\n",
        )
        pipeline.steps(text).write(DATA).run()
    finally:
        del os.environ["REPRO_TEST_SECRET"]
    assert "/work:\ndata\nout\n\ndata:\na.txt\n0\n" == pipeline.text("out/y.txt")
    env = dict(line.split("=", 1) for line in pipeline.text("out/env.txt").splitlines())
    shell = {"PWD", "SHLVL", "_", "OLDPWD"}
    assert {
        "PATH": "/usr/bin:/bin", "HOME": "/tmp/home", "TMPDIR": "/tmp", "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "1700000000", "REPRO_JOB": "/run/repro/job.json",
    } == {name: value for name, value in env.items() if name not in shell}  # fmt: skip
    record = next(event.record for event in pipeline.events if event.kind == "job-finished")
    assert ("scratch.txt",) == record.dropped
    assert "scratch.txt" in pipeline.text(".repro/runs/run-1/logs/s.log")
    assert not (pipeline.root / "scratch.txt").exists()


def test_inputs_are_read_only(pipeline):
    """An input cannot be written, replaced or removed by the step, not even by its root."""
    text = one_step(
        "for c in 'echo x > data/a.txt' 'rm -f data/a.txt' 'chmod 777 data/a.txt' 'mv data/a.txt b'\n"
        'do if bash -c "$c"; then echo "$c" >> {{ outputs.y }}; fi; done\necho done >> {{ outputs.y }}'
    )
    pipeline.steps(text).write(DATA)
    before = (pipeline.root / "data/a.txt").stat()
    pipeline.run()
    assert "done\n" == pipeline.text("out/y.txt")
    after = (pipeline.root / "data/a.txt").stat()
    assert (before.st_mode, before.st_ctime_ns, "one\n") == (
        after.st_mode,
        after.st_ctime_ns,
        pipeline.text("data/a.txt"),
    )


def test_symlinked_and_folder_inputs(pipeline):
    """A symlinked input is there as its target's bytes; a folder input with all that is in it."""
    text = one_step(
        "cat {{ inputs.x }} {{ inputs.d }}sub/c.txt > {{ outputs.y }}; test ! -L {{ inputs.x }}",
        inputs="{x: link.txt, d: tree/}",
    )
    pipeline.steps(text).write({**DATA, "tree/sub/c.txt": "three\n"})
    (pipeline.root / "link.txt").symlink_to("data/a.txt")
    pipeline.run()
    assert "one\nthree\n" == pipeline.text("out/y.txt")
    pipeline.write({"tree/sub/c.txt": "four\n"})
    assert "run" == pipeline.assess()["s"].status


def test_folder_output_is_replaced_as_a_whole(pipeline):
    """A new folder output holds nothing of the old one."""
    text = one_step("mkdir {{ outputs.y }}; cp {{ inputs.x }} {{ outputs.y }}OLD", outputs="{y: out/d/}")
    pipeline.steps(text).write(DATA).run()
    pipeline.steps(text.replace("OLD", "NEW")).run()
    assert ["NEW"] == os.listdir(pipeline.root / "out/d")


def test_output_modes(pipeline):
    """Outputs can be read and written by the caller, keep their executable bit, and lose set-id bits."""
    text = one_step(
        "mkdir {{ outputs.y }}; cd {{ outputs.y }}; touch a b; chmod 000 a; chmod 4755 b; mkdir c; touch c/d; chmod 000 c",
        outputs="{y: out/d/}",
    )
    pipeline.steps(text).write(DATA).run()
    modes = {name: stat.S_IMODE((pipeline.root / "out/d" / name).stat().st_mode) for name in ("a", "b", "c")}
    assert {"a": 0o600, "b": 0o755, "c": 0o700} == modes
    assert os.getuid() == (pipeline.root / "out/d/a").stat().st_uid


def test_job_document_and_script(pipeline):
    """$REPRO_JOB holds inputs, outputs, params, foreach values and resources; a script runs by its extension."""
    pipeline.steps(
        "params: {fdr: 0.05}\nsteps:\n  s:\n    foreach: {k: [v1]}\n    params: {k: '{{ k }}'}\n"
        "    inputs: {x: data/a.txt}\n    outputs: {y: y.json}\n    resources: {cpus: 2}\n    script: s.sh\n"
    ).write({**DATA, "s.sh": 'cat "$REPRO_JOB" > y.json\n'})
    pipeline.run()
    document = json.loads(pipeline.text("y.json"))
    assert {"x": "data/a.txt"} == document["inputs"]
    assert {"y": "y.json"} == document["outputs"]
    assert {"k": "v1"} == document["foreach"]
    assert 2 == document["resources"]["cpus"]


def test_script_counts_as_an_input(pipeline):
    """A changed script runs its job again."""
    pipeline.steps("steps: {s: {outputs: {y: y.txt}, script: s.sh}}").write({"s.sh": "echo 1 > y.txt\n"}).run()
    pipeline.write({"s.sh": "echo 2 > y.txt\n"})
    assert ["code s.sh"] == [change.part for change in pipeline.assess()["s"].changes]
    pipeline.run()
    assert "2\n" == pipeline.text("y.txt")


def test_missing_interpreter_names_the_environment(pipeline):
    """A script whose interpreter the image lacks fails with 127 and says where to add it."""
    pipeline.steps("steps: {s: {outputs: {y: y.txt}, script: s.R}}").write({"s.R": "1\n"}).run()
    failure = pipeline.failure("s")
    assert 127 == failure.exit_status
    assert "environment tools has no Rscript" in failure.message
    assert "environments.tools" in failure.hint


def test_missing_program_names_it(pipeline):
    """A command that the image lacks is named, with the environment to add it to."""
    pipeline.steps(one_step("samtools view {{ inputs.x }} > {{ outputs.y }}")).write(DATA).run()
    failure = pipeline.failure("s")
    assert 127 == failure.exit_status
    assert "samtools is not in environment tools" in failure.hint


def test_exec_form(pipeline):
    """A list is executed as it is, without a shell."""
    pipeline.steps(
        'steps: {s: {inputs: {x: data/a.txt}, outputs: {y: y $HOME.txt}, run: [cp, "{{ inputs.x }}", "{{ outputs.y }}"]}}'
    )
    pipeline.write(DATA).run()
    assert "one\n" == pipeline.text("y $HOME.txt")


def test_long_lists_and_commands(pipeline):
    """A command far beyond the kernel's limit for one argument runs, and gathered paths come as a file too."""
    text = one_step(
        ": " + "x" * 200_000 + "\ncat {{ inputs.x.list }} > {{ outputs.y }}", inputs="{x: [data/a.txt, data/b.txt]}"
    )
    pipeline.steps(text).write(DATA).run()
    assert "data/a.txt\ndata/b.txt\n" == pipeline.text("out/y.txt")


def test_no_network_unless_declared(pipeline):
    """A step cannot reach a server on the host's loopback; one with `network: true` can."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = one_step(f"exec 3<>/dev/tcp/127.0.0.1/{port}\necho reached > {{{{ outputs.y }}}}")
        pipeline.steps(text).write(DATA).run()
        assert "network: true in step s" in pipeline.failure("s").hint
        assert not (pipeline.root / "out").exists()
        pipeline.steps(text + "    network: true\n").run()
        assert "reached\n" == pipeline.text("out/y.txt")


def test_jobs_run_side_by_side(pipeline):
    """Two jobs of one cpu each run at the same time where there are two: each waits for the other's file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        met = threading.Barrier(2, timeout=60)

        def serve():
            connection, _ = server.accept()
            with connection:
                met.wait()  # answers only once both are there
                connection.sendall(b"go\n")

        threads = [threading.Thread(target=serve) for _ in range(2)]
        for thread in threads:
            thread.start()
        pipeline.steps(
            "steps:\n  s:\n    foreach: {k: [a, b]}\n    outputs: {y: 'out/{{ k }}'}\n    network: true\n"
            f"    run: |\n      exec 3<>/dev/tcp/127.0.0.1/{port}\n      head -n 1 <&3 > {{{{ outputs.y }}}}\n"
        )
        finished = pipeline.run()
        for thread in threads:
            thread.join()
    assert 2 == finished.ran


def test_input_changed_under_the_job(pipeline):
    """A file that changes while a job reads it fails the job; the next run works with the new bytes."""
    pipeline.steps(one_step("cat {{ inputs.x }} > {{ outputs.y }}; sleep 1")).write(DATA)

    def meddle(event):
        if event.kind == "job-started":
            threading.Timer(0.5, lambda: pipeline.write({"data/a.txt": "changed\n"})).start()

    pipeline.listener = meddle
    assert 1 == pipeline.run().failed
    assert "input data/a.txt changed while the job ran" == pipeline.failure("s").message
    assert not (pipeline.root / "out").exists()
    pipeline.listener = lambda event: None
    assert 1 == pipeline.run().ran
    assert "changed\n" == pipeline.text("out/y.txt")


def test_new_mode_of_an_input_is_no_change(pipeline):
    """A new mode or hard link of an input while the job runs leaves the job alone: the bytes are the same."""
    pipeline.steps(one_step("cat {{ inputs.x }} > {{ outputs.y }}; sleep 1")).write(DATA)

    def meddle(event):
        if event.kind == "job-started":
            threading.Timer(0.5, lambda: os.link(pipeline.root / "data/a.txt", pipeline.root / "link")).start()

    pipeline.listener = meddle
    assert 1 == pipeline.run().ran


def test_stop_kills_and_leaves_nothing_half_done(pipeline):
    """`stop` ends a running job at once; no output, no failure, no scratch is left, and the next run completes."""
    pipeline.steps(one_step("cat {{ inputs.x }} > {{ outputs.y }}; test -e data/b.txt || sleep 600")).write(DATA)
    pipeline.events = []
    with closing(Launcher(mode())) as launcher:
        executor = pipeline.executor(launcher)
        pipeline.listener = lambda event: (
            threading.Timer(0.5, executor.stop).start() if event.kind == "job-started" else None
        )
        finished = executor.run("stopped")
    assert ("interrupted", 0, 0) == (finished.status, finished.ran, finished.failed)
    assert ["image-used", "job-started", "run-finished"] == [event.kind for event in pipeline.events]
    assert ["data", "data/a.txt", "data/b.txt", "workflow.yaml"] == names_in(pipeline.root)
    assert not (pipeline.root / ".repro/scratch").exists()
    pipeline.listener = lambda event: None
    pipeline.steps(one_step("cat {{ inputs.x }} > {{ outputs.y }}"))
    assert 1 == pipeline.run().ran


def test_two_runs_at_once_are_refused(pipeline):
    """A second run of the same project is refused and names the first."""
    pipeline.steps(UPPER).write(DATA)
    executor = pipeline.executor(None)
    with executor.state.exclusive("run first"), pytest.raises(BusyError, match="run first"):
        executor.run("second")


def test_cpus_are_clamped_and_memory_is_refused(pipeline):
    """More cpus than the host has is a notice; more memory is an error before anything starts."""
    text = one_step("echo {{ resources.cpus }} > {{ outputs.y }}", more="    resources: {cpus: 64}\n")
    pipeline.steps(text).write(DATA).run()
    assert "2\n" == pipeline.text("out/y.txt")
    assert ["step s asks for 64 cpus; this host gives 2"] == [e.text for e in pipeline.events if e.kind == "notice"]
    pipeline.steps(text.replace("cpus: 64", "memory: 64GB").replace("resources.cpus", "resources.memory"))
    with pytest.raises(WorkflowError, match=r"64\.0 GB of memory are asked for; this run has 1\.1 GB"):
        pipeline.run()


def test_scratch_on_another_file_system(pipeline, tmp_path):
    """With scratch elsewhere outputs are copied over; nothing stays there."""
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("one file system only")
    pipeline.scratch = type(tmp_path)(f"/dev/shm/repro-test-{os.getpid()}")
    pipeline.steps(
        one_step("mkdir {{ outputs.z }}; cp {{ inputs.x }} {{ outputs.y }}; cp {{ inputs.x }} {{ outputs.z }}",
                 outputs="{y: out/y.txt, z: out/z/}")
    ).write(DATA)  # fmt: skip
    try:
        assert 1 == pipeline.run().ran
        assert ("one\n", "one\n") == (pipeline.text("out/y.txt"), pipeline.text("out/z/a.txt"))
        assert [] == os.listdir(pipeline.scratch)
    finally:
        pipeline.scratch.rmdir()
    assert 1 == pipeline.run().cached
