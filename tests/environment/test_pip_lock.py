"""pip requirements to locked wheels, with a real uv and a small index on the loopback."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from repro.data.transports import Transports
from repro.digest import Digest
from repro.environment.model import EnvironmentLock
from repro.environment.resolvers.pip import declared_indexes, lock_wheels, pip_files
from repro.environment.resolvers.python import Interpreter
from repro.errors import FetchError, HostError, Location, LockError, UsageError
from repro.workflow.model import ImageBase, TemplateEnvironment
from tests.environment.small_index import SmallIndex

HERE = Location("workflow.yaml", 9, 5)
BOOKWORM = Interpreter.parse("cpython-3.11.2-manylinux_2_36-x86_64")


@pytest.fixture
def index():
    """An index that has pip, and a few packages that need each other."""
    index = SmallIndex()
    index.add("pip", "99.0")
    index.add("alpha", "1.0")
    index.add("alpha", "2.0", requires=["beta>=1", "win ; sys_platform == 'win32'", "old ; python_version < '3.11'"])
    index.add("beta", "1.0")
    index.add("beta", "1.5", requires=["gamma ; extra == 'fast'"])
    index.add("gamma", "3.0")
    yield index
    index.close()


@pytest.fixture
def environ(index, tmp_path):
    """A user whose pip is configured for the small index alone."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index.url,
        "UV_CACHE_DIR": str(tmp_path / "uv"),
    }


@pytest.fixture
def root(tmp_path):
    """The folder of a workflow."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def lock(root, environ):
    """Lock what is declared; returns the wheels, and keeps the tools."""

    def locked(*pip, before=None, upgrade=False, interpreter=BOOKWORM):
        env = environment(*pip)
        transports = Transports({}, pause=0.0)
        found = lock_wheels(env, interpreter, root, environ, transports=transports, before=before, upgrade=upgrade)
        locked.tools = found[1]
        return found[0]

    return locked


def environment(*pip: str) -> TemplateEnvironment:
    """Return an environment that declares ``pip``."""
    return TemplateEnvironment("py", HERE, ImageBase("debian:bookworm"), pip=pip)


def names(wheels) -> list[str]:
    """Return what is locked, short."""
    return [f"{wheel.name} {wheel.version}" for wheel in wheels]


def write(root, **files: str) -> None:
    """Write project files; ``__`` in a name stands for ``.``, ``_in_`` for ``/``."""
    for name, text in files.items():
        path = root / name.replace("_in_", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# ---- what is locked


def test_the_closure_is_locked_without_any_host(lock, index):
    """Newest releases and what they need on this platform, each with sha256 and size; markers are heeded."""
    wheels = lock("alpha")
    assert ["alpha 2.0", "beta 1.5"] == names(wheels)
    for wheel in wheels:
        data = index.files[wheel.file]
        assert (Digest.of(data), len(data)) == (wheel.digest, wheel.size)
    assert "127.0.0.1" not in repr(wheels)
    assert wheels == lock("alpha")


def test_nothing_declared_locks_nothing(lock):
    """Not even pip."""
    assert () == lock()


@pytest.mark.parametrize("form", ["html", "json"])
@pytest.mark.parametrize("sums", [True, False])
def test_size_and_sha256_are_known_whatever_the_index_tells(lock, index, form, sums):
    """What the index leaves out, the wheel itself tells."""
    index.form, index.sums = form, sums
    wheels = lock("alpha")
    expected = [(Digest.of(index.files[wheel.file]), len(index.files[wheel.file])) for wheel in wheels]
    assert expected == [(wheel.digest, wheel.size) for wheel in wheels]


def test_extras_and_pins(lock):
    """An extra brings what it needs; a pin is kept."""
    assert ["alpha 1.0", "beta 1.5", "gamma 3.0"] == names(lock("beta[fast]", "alpha==1.0"))


def test_the_wheel_that_pip_would_take(lock, index):
    """Of a release's wheels the most specific one for the interpreter; never one for a newer C library or Python."""
    for tag in ("py3-none-any", "cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_28_x86_64",
                "cp311-cp311-manylinux_2_39_x86_64", "cp312-cp312-manylinux_2_17_x86_64", "cp38-abi3-manylinux_2_17_x86_64",
                "cp311-cp311-musllinux_1_2_x86_64", "cp311-cp311-manylinux_2_17_aarch64"):  # fmt: skip
        index.add("native", "1.0", tag=tag)

    def chosen(interpreter: str) -> str:
        (wheel,) = lock("native", interpreter=Interpreter.parse(interpreter))
        return wheel.file.removeprefix("native-1.0-")

    assert "cp311-cp311-manylinux_2_28_x86_64.whl" == chosen("cpython-3.11.2-manylinux_2_36-x86_64")
    assert "cp311-cp311-manylinux_2_39_x86_64.whl" == chosen("cpython-3.11.9-manylinux_2_41-x86_64")
    assert "cp311-cp311-musllinux_1_2_x86_64.whl" == chosen("cpython-3.11.2-musllinux_1_2-x86_64")
    assert "cp311-cp311-manylinux_2_17_aarch64.whl" == chosen("cpython-3.11.2-manylinux_2_36-aarch64")
    assert "cp312-cp312-manylinux_2_17_x86_64.whl" == chosen("cpython-3.12.0-manylinux_2_36-x86_64")
    assert "py3-none-any.whl" == chosen("cpython-3.13.0-musllinux_1_2-x86_64")


def test_pip_is_always_among_the_tools(lock):
    """It installs, and stays out of the image."""
    lock("alpha")
    assert ["pip 99.0"] == names(lock.tools)


# ---- minimal updates


def before(wheels) -> EnvironmentLock:
    """Return an entry that holds ``wheels``."""
    return EnvironmentLock("py", Digest.of(b""), "debian:bookworm", (), wheels=wheels)


def test_locked_releases_stay_where_they_fit(lock, index):
    """New releases are taken only where the declaration asks for them, or on request."""
    first = lock("alpha")
    index.add("alpha", "3.0", requires=["beta"])
    index.add("beta", "2.0")
    assert first == lock("alpha", before=before(first))
    assert ["alpha 2.0", "beta 1.5", "gamma 3.0"] == names(lock("alpha", "gamma", before=before(first)))
    assert ["alpha 2.0", "beta 2.0"] == names(lock("alpha", "beta>=2", before=before(first)))
    assert ["alpha 3.0", "beta 2.0"] == names(lock("alpha", before=before(first), upgrade=True))


def test_a_locked_wheel_stays_when_a_better_one_is_added(lock, index):
    """An index may add wheels to a release; the lock does not move by itself."""
    index.add("native", "1.0")
    first = lock("native")
    index.add("native", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    assert first == lock("native", before=before(first))
    assert first != lock("native")


# ---- what cannot be had


def refusal(call, *pip, error=LockError) -> str:
    """Return what the refusal says."""
    with pytest.raises(error) as caught:
        call(*pip)
    return str(caught.value)


def test_no_wheel_of_a_project(lock, index):
    """A project of which the index has sources alone is named, and nothing is built."""
    index.files["source-1.0.tar.gz"] = b"not looked at"
    text = refusal(lock, "alpha", "source")
    assert text.startswith("workflow.yaml:9:5: environments.py.pip: there is no wheel of source for cpython-3.11.2-")
    assert "because you require source" in text
    assert "--no-build" not in text
    assert "fix: install it from `apt` or `conda`" in text
    assert not [path for path in index.asked if path.endswith(".gz")]


def test_no_wheel_for_this_python(lock, index):
    """Wheels for another Python do not help, and uv says for which they are."""
    index.add("native", "1.0", tag="cp39-cp39-manylinux_2_17_x86_64")
    text = refusal(lock, "native")
    assert "there is no wheel of native for cpython-3.11.2-" in text
    assert "cp39" in text


def test_an_unknown_project_is_told_in_uvs_words(lock):
    """The name stands in it, and the place."""
    text = refusal(lock, "nothing-like-it")
    assert text.startswith("workflow.yaml:9:5: environments.py.pip: the requirements cannot be met")
    assert "nothing-like-it was not found" in text


def test_what_cannot_be_together_is_told_in_uvs_words(lock):
    """Both sides of the conflict are named."""
    text = refusal(lock, "alpha==2.0", "beta<1")
    assert "alpha>=2.0 depends on beta>=1" in text


def test_an_index_that_is_down(lock, environ):
    """It is an error of fetching; nobody's password is shown."""
    environ["PIP_INDEX_URL"] = "http://me:secret@127.0.0.1:9/simple"
    environ["UV_HTTP_RETRIES"] = "0"
    text = refusal(lock, "alpha", error=FetchError)
    assert "an index cannot be asked" in text
    assert "secret" not in text


def test_without_uv(lock, monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "uv", None)
    assert "pip install 'repro-workflow[pip]'" in refusal(lock, "alpha", error=HostError)


# ---- files


def test_requirements_files_with_all_that_pip_reads(lock, root):
    """Nested files, constraints, comments, continuations and markers; each file counts for the origin."""
    write(
        root,
        requirements__txt="# ours\n-r more/nested.txt  # and theirs\nalpha \\\n  >=1\nold ; python_version < '3'\n",
        more_in_nested__txt="gamma\n-c ../limits.txt\n-r ../requirements.txt\n",
        limits__txt="beta<1.5\n",
    )
    assert ["alpha 2.0", "beta 1.0", "gamma 3.0"] == names(lock("requirements.txt"))
    files = pip_files(environment("requirements.txt"), root)
    assert {"requirements.txt", "more/nested.txt", "limits.txt"} == set(files)
    assert Digest.of(b"beta<1.5\n") == files["limits.txt"]


def test_a_list_named_by_an_option(root):
    """As it stands in the pip part of an environment.yml: its path is the project's, wherever the workflow lies."""
    write(root, lists_in_r__txt="alpha\n")
    env = TemplateEnvironment("py", Location("sub/workflow.yaml", 9, 5), ImageBase("x"), pip=("-r lists/r.txt",))
    assert {"lists/r.txt"} == set(pip_files(env, root))


def test_hashes_of_a_requirements_file_are_held(lock, root, index):
    """A wheel is locked only where its sha256 is one of those given."""
    data = index.files["beta-1.5-py3-none-any.whl"]
    write(
        root,
        r__txt=f"beta==1.5 \\\n    --hash=sha256:{hashlib.sha256(data).hexdigest()} \\\n --hash=sha256:{'0' * 64}\n",
    )
    assert ["beta 1.5"] == names(lock("r.txt"))
    write(root, r__txt=f"beta==1.5 --hash=sha256:{'0' * 64}\n")
    text = refusal(lock, "r.txt")
    assert "the wheels of beta 1.5 are not those that your files name" in text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("alpha=1", "'alpha=1' is not a requirement"),
        ("-e .", "'.' is a folder or a file"),
        ("./tools", "'./tools' is a folder or a file"),
        ("alpha @ https://host.invalid/a.whl", "alpha is wanted from an address"),
        ("--no-binary alpha", "the option --no-binary cannot be honoured"),
        ("-r https://host.invalid/r.txt", "not a file of the project"),
    ],
)
def test_lines_that_cannot_be_locked_are_located(lock, root, line, says):
    """The error points to the line in the file."""
    write(root, r__txt=f"alpha\n\n{line}\n")
    text = refusal(lock, "r.txt")
    assert text.startswith("r.txt:3:1: ")
    assert says in text


@pytest.mark.parametrize("item", ["gone.txt", "pyproject.toml", "uv.lock", "pylock.toml", ".", "./tools[x]"])
def test_a_missing_file_is_told_at_the_environment(root, item):
    """Whatever kind of file it is."""
    text = refusal(lambda: pip_files(environment(item), root), error=UsageError)
    assert text.startswith("workflow.yaml:9:5: environments.py.pip: ")
    assert "cannot be read" in text


def test_a_nested_file_that_is_missing(root):
    """It is named as the project knows it."""
    write(root, a_in_r__txt="-r sub/more.txt\n")
    assert "a/sub/more.txt cannot be read" in refusal(lambda: pip_files(environment("a/r.txt"), root), error=UsageError)


PROJECT = """\
[project]
name = "My.Project"
version = "1"
dependencies = ["alpha<2"]
[project.optional-dependencies]
fast = ["beta[fast]"]
all = ["my-project[fast]"]
[build-system]
requires = ["builder>=2"]
build-backend = "builder"
"""


def test_pyproject_gives_its_dependencies(lock, root):
    """Nothing is built, so nothing but pip is needed."""
    write(root, pyproject__toml=PROJECT)
    assert ["alpha 1.0"] == names(lock("pyproject.toml"))
    assert ["pip 99.0"] == names(lock.tools)


def test_own_packages_bring_dependencies_and_build_tools(lock, root, index):
    """What they need is locked, they themselves are built: no index is asked for them, whoever needs them."""
    index.add("builder", "2.1", requires=["gamma"])
    write(
        root,
        pyproject__toml=PROJECT,
        tools_in_pyproject__toml='[project]\nname="tools"\ndependencies=["my_project[all]"]\n',
    )
    index.add("setuptools", "80.0")
    assert ["alpha 1.0"] == names(lock("."))
    assert ["builder 2.1", "gamma 3.0", "pip 99.0"] == names(lock.tools)
    assert ["alpha 1.0", "beta 1.5", "gamma 3.0"] == names(lock(".[all]")) == names(lock(".", "./tools"))
    assert ["builder 2.1", "gamma 3.0", "pip 99.0", "setuptools 80.0"] == names(lock.tools)
    assert {"pyproject.toml", "tools/pyproject.toml"} == set(pip_files(environment(".", "./tools"), root))
    assert not [path for path in index.asked if "my-project" in path]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.poetry]\nname='x'\n", "there is no [project]"),
        ("[project]\nname='x'\ndynamic=['dependencies']\n", "its dependencies are dynamic"),
        ("[project]\nname='x'\ndependencies='alpha'\n", "project.dependencies is not a list of strings"),
        ("[project\n", "not a TOML file"),
    ],
)
def test_a_pyproject_that_cannot_be_locked(root, text, says):
    """The error is located in it; no build backend is asked."""
    write(root, pyproject__toml=text)
    assert refusal(lambda: pip_files(environment("."), root)).startswith(f"pyproject.toml:1:1: {says}")


def test_an_unknown_extra(lock, root):
    """The declared ones are listed."""
    write(root, pyproject__toml=PROJECT)
    assert "pyproject.toml declares no extra 'slow'\n  fix: declared are: all, fast" in refusal(lock, ".[slow]")


def test_dependencies_that_setuptools_reads_from_a_file(lock, root):
    """They are static, and the file counts."""
    text = "[project]\nname='x'\ndynamic=['dependencies']\n[tool.setuptools.dynamic]\ndependencies={file=['r.txt']}\n"
    write(root, pyproject__toml=text, r__txt="gamma  # why\n")
    assert ["gamma 3.0"] == names(lock("pyproject.toml"))
    assert {"pyproject.toml", "r.txt"} == set(pip_files(environment("pyproject.toml"), root))


def test_pylock(lock, root, index):
    """A standard lock file pins releases and sums; markers choose."""
    sum1 = hashlib.sha256(index.files["beta-1.0-py3-none-any.whl"]).hexdigest()
    text = """\
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "beta"
version = "1.0"
wheels = [{name = "beta-1.0-py3-none-any.whl", url = "https://host.invalid/x.whl", hashes = {sha256 = "SUM"}}]
[[packages]]
name = "win"
version = "1.0"
marker = "sys_platform == 'win32' or 'x' in dependency_groups"
wheels = []
"""
    write(root, pylock__toml=text.replace("SUM", sum1))
    assert ["beta 1.0"] == names(lock("pylock.toml"))
    write(root, pylock__toml=text.replace("SUM", "0" * 64))
    assert "the wheels of beta 1.0 are not those that your files name" in refusal(lock, "pylock.toml")
    write(root, pylock__toml="x = 1\n")
    assert refusal(lock, "pylock.toml").startswith("pylock.toml:1:1: not a lock file of version 1")


def test_uv_lock(lock, root, index, environ):
    """What uv locked is what is locked, with its sums; the project beside it is not built."""
    import uv

    write(
        root,
        pyproject__toml="[project]\nname='x'\nversion='1'\nrequires-python='>=3.11'\ndependencies=['alpha','beta<1.5']\n",
    )
    index.add("win", "1.0")
    index.add("old", "1.0")
    env = {**environ, "UV_DEFAULT_INDEX": environ["PIP_INDEX_URL"]}
    subprocess.run([uv.find_uv_bin(), "lock", "-q", "--python", sys.executable], cwd=root, env=env, check=True)
    assert ["alpha 2.0", "beta 1.0"] == names(lock("uv.lock"))
    assert {"uv.lock", "pyproject.toml"} == set(pip_files(environment("uv.lock"), root))
    text = (root / "uv.lock").read_text()
    start = text.index("sha256:", text.index('[[package]]\nname = "beta"')) + 7
    (root / "uv.lock").write_text(text[:start] + "0" * 64 + text[start + 64 :])
    assert "the wheels of beta 1.0 are not those" in refusal(lock, "uv.lock")
    (root / "uv.lock").write_text("version = \n")
    assert "uv.lock cannot be read" in refusal(lock, "uv.lock")


def test_indexes_of_a_requirements_file(lock, root, index, environ):
    """They are asked too, with variables of the environment put in."""
    environ["PIP_NO_INDEX"] = "1"
    links = root / "links"
    links.mkdir()
    (links / "delta-1.0-py3-none-any.whl").write_bytes(index.add("delta", "1.0"))
    (links / "pip-98.0-py3-none-any.whl").write_bytes(index.files["pip-99.0-py3-none-any.whl"])
    write(root, r__txt="--find-links links\n-i ${INDEX}\ndelta\n")
    assert ["delta 1.0"] == names(lock("r.txt"))
    found = declared_indexes(environment("r.txt"), root)
    assert ("${INDEX}", (str(links),)) == (found.index, found.find_links)
