"""`repro image build` as users type it: what it prints, its exit statuses, and the files it writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest

from repro.cli.docker_flags import NEEDLESS, REFUSED
from repro.cli.main import main
from repro.files import remove_tree
from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base
from tests.cli.terminal import run_on_terminal

REPRO = [sys.executable, "-m", "repro.cli.main"]


class Desk:
    """A folder with a Dockerfile, and a store with the image ``base`` in it."""

    def __init__(self, folder) -> None:
        self.folder = folder / "context"
        self.folder.mkdir()
        self.store = Store(folder / "store", MODE.value)
        self.store.tag("base:1", put_base(self.store))
        self.env = {**os.environ, "REPRO_STORE": str(folder / "store"), "PYTHONPATH": str(PROJECT), "TERM": "xterm"}
        self.env.pop("SOURCE_DATE_EPOCH", None)

    def write(self, text: str, name: str = "Dockerfile") -> None:
        """Write the Dockerfile; findings of lint are not what is tested here."""
        (self.folder / name).write_text(f"# check=skip=all\n{text}")

    def build(self, *arguments: str, **more) -> subprocess.CompletedProcess[str]:
        """Run `repro image build` here."""
        env = {**self.env, **more.pop("env", {})}
        return subprocess.run(
            [*REPRO, "image", "build", *arguments],
            cwd=self.folder,
            env=env,
            text=True,
            capture_output=True,
            check=False,
            **{"stdin": subprocess.DEVNULL, **more},
        )

    def inspect(self, name: str, field: str):
        """Return a field of the image as `repro image inspect` prints it."""
        done = subprocess.run(
            [*REPRO, "image", "inspect", "-f", f"{{{{ json .{field} }}}}", name],
            env=self.env, text=True, capture_output=True, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)


@pytest.fixture
def desk(tmp_path):
    """A desk of its own."""
    yield Desk(tmp_path)
    remove_tree(tmp_path)
    tmp_path.mkdir()


def test_the_image_id_alone_goes_to_stdout(desk):
    """With -q nothing else is printed at all, before and after the command's name; --iidfile has the same without newline."""
    desk.write("FROM base:1\nRUN echo hello > /x\n")
    done = desk.build("-q", "-t", "a:1", "-t", "b", "--iidfile", "id", ".")
    assert (0, "") == (done.returncode, done.stderr)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", done.stdout)
    assert done.stdout.strip() == (desk.folder / "id").read_text()
    assert done.stdout.strip() == desk.inspect("b", "Id")
    assert ["a:1", "b:latest"] == desk.inspect("a:1", "RepoTags")


def test_metadata_has_dockers_keys(desk):
    """--metadata-file names image ID, manifest digest and names under Docker's keys, and is JSON."""
    desk.write("FROM base:1\nLABEL a=b\n")
    done = desk.build("-q", "-t", "a:1", "--metadata-file", "meta.json", ".")
    known = json.loads((desk.folder / "meta.json").read_text())
    assert done.stdout.strip() == known["containerimage.config.digest"]
    assert known["containerimage.digest"] == known["containerimage.descriptor"]["digest"]
    assert "docker.io/library/a:1" == known["image.name"]


def test_a_failed_build_leaves_no_older_image_id(desk):
    """After a failure --iidfile does not tell of an older image, as in Docker."""
    (desk.folder / "id").write_text("sha256:old")
    desk.write("FROM base:1\nRUN exit 3\n")
    assert 1 == desk.build("-q", "--iidfile", "id", ".").returncode
    assert not (desk.folder / "id").exists()


def test_labels_and_arguments_as_docker_takes_them(desk):
    """A label without value is empty; an argument without value is the environment's, else left out."""
    desk.write('FROM base:1\nARG A=1\nARG B=1\nENV GOT="$A $B"\n')
    done = desk.build("-q", "-t", "x", "--label", "empty", "--label", "a=b=c", "--build-arg", "A", "--build-arg", "B", ".",
                      env={"A": "outside"})  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    assert {"a": "b=c", "empty": ""} == desk.inspect("x", "Config.Labels")
    assert "GOT=outside 1" in desk.inspect("x", "Config.Env")


def test_source_date_epoch_is_an_argument_too(desk):
    """The image bears the time of --build-arg SOURCE_DATE_EPOCH, which goes before the environment's."""
    desk.write("FROM base:1\nRUN echo > /x\n")
    arguments = ("-t", "x", "--build-arg", "SOURCE_DATE_EPOCH=1000000000", ".")
    done = desk.build(*arguments, env={"SOURCE_DATE_EPOCH": "5"})
    assert 0 == done.returncode, done.stderr
    assert "not used" not in done.stderr
    assert "2001-09-09T01:46:40Z" == desk.inspect("x", "Created")
    assert 2 == desk.build("--build-arg", "SOURCE_DATE_EPOCH=now", ".").returncode


def test_a_failing_instruction_is_shown_in_its_place(desk):
    """Exit status 1, the instruction marked among its neighbours by line number, and its last lines."""
    desk.write("FROM base:1\nENV A=b\n\nRUN echo one; \\\n    echo two; \\\n    exit 3\nCMD a\n")
    done = desk.build("--progress=plain", ".")
    assert (1, "") == (done.returncode, done.stdout)
    lines = done.stderr.splitlines()
    shown = [line for line in lines if re.match(r" [3456] \|", line)]
    assert [" 3 |     ENV A=b", " 4 |", " 5 | >>> RUN echo one; \\", " 6 | >>>     echo two; \\"] == shown
    assert "./Dockerfile:5" in lines
    assert any(re.fullmatch(r"#\d+ \d\.\d{3} two", line) for line in lines)
    assert any(re.fullmatch(r"#\d+ ERROR after \d\.\ds", line) for line in lines)


def test_a_mistake_in_the_dockerfile_is_usage(desk):
    """Exit status 2 and the line, for a mistake that is seen without building."""
    desk.write("FROM base:1\nCOPPY a b\n")
    done = desk.build(".")
    assert (2, "") == (done.returncode, done.stdout)
    assert " 3 | >>> COPPY a b" in done.stderr


def test_plain_progress_numbers_instructions(desk):
    """Each instruction has a number, its output too; what only sets something is not shown; the second time is CACHED."""
    desk.write("FROM base:1 AS one\nENV A=b\nRUN echo hello\nCMD a\n")
    first = desk.build("--progress=plain", ".").stderr
    assert re.search(
        r"^#(\d) \[one 3/4\] RUN echo hello\n#\1 0\.\d{3} hello\n#\1 DONE \d\.\ds$", first, re.MULTILINE
    ), first
    assert "ENV" not in first
    assert "CMD" not in first
    again = desk.build("--progress=plain", "--explain", ".").stderr
    assert re.search(r"^#(\d) \[one 3/4\] RUN echo hello\n#\1 hit\n#\1 CACHED$", again, re.MULTILINE), again


def test_json_progress_is_json_alone(desk):
    """Every line on stderr is an object with its kind first, the error that ends a build too."""
    desk.write("FROM base:1\nRUN echo hello; exit 4\n")
    done = desk.build("--progress=json", ".")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert 1 == done.returncode
    assert ["hello"] == [event["text"] for event in events if event["kind"] == "build-output"]
    assert ("error", "build", "./Dockerfile:3:1") == tuple(events[-1][key] for key in ("kind", "code", "where"))


SLOW = "FROM base:1 AS a\nRUN for i in 1 2 3; do echo line $i; sleep 0.2; done\nFROM base:1\nENV A=b\nRUN echo wide 漢字; sleep 0.3\nCOPY --from=a /etc /a\n"


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (24, 6), (9, 3)])
def test_a_terminal_keeps_a_line_per_instruction(desk, columns, lines):
    """What moved is gone in the end; every instruction has one line that was not wrapped; the cursor was never hidden."""
    desk.write(SLOW)
    command = [*REPRO, "image", "build", "."]
    status, out, screen, sent = run_on_terminal(command, cwd=desk.folder, env=desk.env, columns=columns, lines=lines)
    assert 0 == status, sent
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", out)
    assert "\033[?25l" not in sent
    rows = [row for row in screen.rows if row]
    assert 5 == len(rows), screen.rows  # 2 FROM, 2 RUN, 1 COPY; nothing for ENV
    assert not any("line 3" in row or "building" in row for row in rows)
    if columns == 80:
        assert "line 3" in sent
        assert "\033[2m  | wide 漢字\033[0m" in sent


def test_no_colour_where_it_is_not_wanted(desk):
    """NO_COLOR leaves the moving display without colours; a dumb terminal gets plain lines."""
    desk.write(SLOW)
    command = [*REPRO, "image", "build", "."]
    sent = run_on_terminal(command, cwd=desk.folder, env={**desk.env, "NO_COLOR": "1"})[3]
    assert "\033[2m" not in sent
    assert "\033[K" in sent
    dumb = run_on_terminal(command, cwd=desk.folder, env={**desk.env, "TERM": "dumb"})[3]
    assert "\033" not in dumb
    assert "CACHED" in dumb


@pytest.mark.parametrize("progress", ["tty", "plain"])
def test_ctrl_c_leaves_a_clean_terminal(desk, progress):
    """Exit status 130, the moving block gone, nothing of the build left running or half made."""
    desk.write("FROM base:1\nRUN echo begun; sleep 100\n")
    command = [*REPRO, "image", "build", f"--progress={progress}", "."]
    started = time.monotonic()
    status, out, screen, sent = run_on_terminal(command, cwd=desk.folder, env=desk.env, interrupt_at="begun")
    assert (130, "") == (status, out), sent
    assert time.monotonic() - started < 60  # it did not wait for the command
    assert "repro: interrupted" == [row for row in screen.rows if row][-1]
    assert [] == [name for name in os.listdir(desk.store.root / "tmp") if not name.startswith(".")]


@pytest.mark.parametrize("flag", [flag for refused in REFUSED for flag in refused.flags])
def test_flags_of_docker_that_are_refused_say_why(flag, capsys):
    """Each is an error of usage with a reason and a way out, with a value and without."""
    for arguments in ([flag, "x"], [flag]):
        assert 2 == main(["image", "build", *arguments])
        told = capsys.readouterr().err.splitlines()
        assert f"error: {flag} is not supported" == told[0]
        assert ["  why: ", "  fix: "] == [line[:7] for line in told[1:]]


def test_flags_that_ask_for_what_is_so_anyhow_are_taken(desk):
    """Lines of scripts with --rm, --load and the like work."""
    desk.write("FROM base:1\n")
    assert 0 == desk.build("-q", *NEEDLESS, ".").returncode


def test_the_platform_may_be_named(desk):
    """This machine's platform is taken in Docker's spellings; another one, and several, are refused with the reason."""
    desk.write("FROM base:1\n")
    machine = os.uname().machine
    assert 0 == desk.build("-q", "--platform", f"linux/{machine}", ".").returncode
    for other in ("linux/s390x", f"linux/{machine},linux/s390x", "windows/amd64"):
        done = desk.build("-q", "--platform", other, ".")
        assert 2 == done.returncode
        assert "  why: " in done.stderr


def test_pull_asks_the_registry_though_the_store_has_the_image(desk):
    """--pull is an error at FROM where the registry cannot be had; without it the store's image is taken."""
    desk.store.tag("127.0.0.1:1/base:1", desk.store.resolve("base:1"))
    desk.write("FROM 127.0.0.1:1/base:1\n")
    assert 0 == desk.build("-q", ".").returncode
    (desk.folder.parent / "registries.toml").write_text('[registry."127.0.0.1:1"]\nattempts = 1\n')
    done = desk.build("--pull", ".", env={"REPRO_REGISTRIES": str(desk.folder.parent / "registries.toml")})
    assert 4 == done.returncode
    assert "Dockerfile:2:6: " in done.stderr
    assert "127.0.0.1" in done.stderr


def test_a_secret_is_given_and_leaves_no_trace(desk):
    """RUN reads secrets from a file and from a variable; neither output nor layer nor config holds one."""
    (desk.folder.parent / "key").write_text("s3cr3t-from-file")
    desk.write(
        "FROM base:1\n"
        "RUN --mount=type=secret,id=a --mount=type=secret,id=b,target=/b cat /run/secrets/a /b && wc -c < /b > /size\n"
    )
    done = desk.build("--progress=plain", "-t", "x", "--secret", "id=a,src=../key", "--secret", "id=b,env=KEY", ".",
                      env={"KEY": "s3cr3t-from-variable"})  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert "s3cr3t" not in done.stderr
    found = subprocess.run(["grep", "-r", "s3cr3t", desk.store.root], capture_output=True, text=True, check=False)
    assert (1, "") == (found.returncode, found.stdout)


@pytest.mark.parametrize(
    "text",
    ["src=x", "id=a,src=missing", "id=a,env=NOT_SET", "id=a,foo=b", "id=a,src=x,env=y", "id=a,type=ssh", "id=a,id=b"],
)
def test_secrets_that_cannot_be_had_are_refused(desk, text):
    """A spelling, a file or a variable that is wrong is told before the build."""
    desk.write("FROM base:1\n")
    done = desk.build("--secret", text, ".")
    assert 2 == done.returncode
    assert done.stderr.startswith("error: --secret")


def test_verify_compares_with_a_second_build(desk):
    """--verify says whether a second build is the same image, and ends with 1 where it is not."""
    desk.write("FROM base:1\nRUN echo same > /x\n")
    same = desk.build("--progress=plain", "--verify", ".")
    assert 0 == same.returncode, same.stderr
    desk.write("FROM base:1\nRUN cat /proc/sys/kernel/random/uuid > /x\n")
    other = desk.build("--progress=plain", "--verify", ".")
    assert 1 == other.returncode, other.stderr
    assert "/x" in other.stderr


def test_a_dockerfile_alone_on_stdin(desk):
    """`-` with a text is the Dockerfile and an empty context; `-f -` is the Dockerfile beside a folder."""
    (desk.folder / "a.txt").write_text("a")
    alone = desk.folder.parent / "alone"
    alone.write_text("FROM base:1\nRUN true\n")
    with open(alone) as stdin:
        assert 0 == desk.build("-q", "-", stdin=stdin).returncode
    alone.write_text("FROM base:1\nCOPY a.txt /\n")
    with open(alone) as stdin:
        assert 0 == desk.build("-q", "-f", "-", ".", stdin=stdin).returncode


def test_inspect_has_dockers_fields(desk):
    """What the Dockerfile sets is found under Docker's names."""
    desk.write(
        "FROM base:1\nMAINTAINER ada\nEXPOSE 80 53/udp\nVOLUME /data\nSTOPSIGNAL SIGINT\n"
        'SHELL ["/bin/sh", "-ec"]\nHEALTHCHECK --interval=5s CMD ["true"]\nONBUILD RUN true\n'
    )
    done = desk.build("-q", "-t", "x", ".")
    assert 0 == done.returncode, done.stderr
    settings = desk.inspect("x", "Config")
    assert {"80/tcp": {}, "53/udp": {}} == settings["ExposedPorts"]
    assert ({"/data": {}}, "SIGINT", ["/bin/sh", "-ec"]) == tuple(
        settings[key] for key in ("Volumes", "StopSignal", "Shell")
    )
    assert {"Test": ["CMD", "true"], "Interval": 5_000_000_000} == settings["Healthcheck"]
    assert (["RUN true"], "ada") == (settings["OnBuild"], desk.inspect("x", "Author"))
