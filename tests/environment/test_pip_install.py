"""Locked wheels and the project's own package, installed with no network by the real engine on a real base."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import pytest

from repro import api
from repro.api.image_build import BuildRequest, build_image
from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.digest import Digest
from repro.environment.resolvers.pip import locate, lock_wheels
from repro.environment.resolvers.python import probe_interpreter
from repro.environment.resolvers.wheels import pip_folder
from repro.errors import BuildError, FetchError, Location, LockError
from repro.events import ignore
from repro.files import remove_tree
from repro.oci.store import Store
from repro.workflow.model import ImageBase, TemplateEnvironment
from tests.environment import apt_installer
from tests.environment.conftest import MODE
from tests.environment.small_index import SmallIndex

pytestmark = pytest.mark.archive
BASE = (
    "FROM archive:debian/bookworm\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3\n"
)
OPTIONS = "--isolated install -q --no-index --no-deps --no-cache-dir --root-user-action=ignore"
INSTALL = """\
FROM python-base AS wheels
RUN --network=none --mount=type=bind,source=pip,target=/run/repro/pip \\
    --mount=type=bind,source=project,target=/run/repro/project \\
    python3 -B {pip} {options} --require-hashes --find-links /run/repro/pip --target /tmp/tools \\
      -r /run/repro/pip/tools.txt \\
 && cp -R /run/repro/project /tmp/project \\
 && for folder in /tmp/project/*; do \\
      PYTHONPATH=/tmp/tools PATH="/tmp/tools/bin:$PATH" python3 -B -m pip --isolated wheel -q --no-index \\
        --no-deps --no-build-isolation --no-cache-dir --wheel-dir /wheels "$folder" || exit 1; \\
    done
FROM python-base
RUN --network=none --mount=type=bind,source=pip,target=/run/repro/pip \\
    python3 -B {pip} {options} --require-hashes --break-system-packages --no-warn-script-location \\
      --find-links /run/repro/pip -r /run/repro/pip/requirements.txt
RUN --network=none --mount=type=bind,source=pip,target=/run/repro/pip \\
    --mount=type=bind,from=wheels,source=/wheels,target=/run/repro/wheels \\
    python3 -B {pip} {options} --break-system-packages --no-warn-script-location --find-links /run/repro/wheels \\
      $(ls /run/repro/wheels | sed 's/^\\([^-]*\\)-\\([^-]*\\)-.*/\\1==\\2/')
"""
PYPROJECT = """\
[project]
name = "our-tool"
version = "0.1"
dependencies = ["alpha"]
scripts = {our-tool = "our_tool:main"}
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
"""


def installer(tools) -> str:
    """Return where RUN finds pip: inside its own wheel."""
    (pip,) = (wheel for wheel in tools if wheel.name == "pip")
    return f"/run/repro/pip/{pip.file}/pip"


class Bench:
    """A store with a base that has python3, and what a user's project needs around it."""

    def __init__(self, folder, cache, launcher) -> None:
        self.folder = folder
        self.launcher = launcher
        self.environ = {**os.environ, "REPRO_STORE": str(folder / "store"), "REPRO_CACHE": str(cache)}
        self.host = dataclasses.replace(api.Host.current(), cwd=folder, environ=self.environ)
        self.store = Store(folder / "store", MODE.value)
        self.base = self.build("base", BASE, tags=("python-base",)).image_id

    def build(self, name: str, dockerfile: str, **more):
        """Build ``dockerfile`` in the folder ``name``."""
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "Dockerfile").write_text(dockerfile)
        return build_image(self.host, BuildRequest(name, **more), sink=ignore)

    def interpreter(self, env):
        """Return the base's Python."""
        return probe_interpreter(env, self.store.image_layers(self.base), store=self.store, launcher=self.launcher)

    def lock(self, *pip: str, **environ: str):
        """Lock ``pip`` for the base's Python; return wheels and tools."""
        env = TemplateEnvironment("py", Location("workflow.yaml", 9, 5), ImageBase("python-base"), pip=pip)
        transports = Transports(self.environ)
        user = {**self.environ, **environ}
        return lock_wheels(env, self.interpreter(env), self.folder, user, transports=transports)

    def lay_out(self, name: str, downloads, wheels, tools, **environ: str):
        """Fetch what is locked and make the context folder."""
        wanted = locate((*wheels, *tools), {**self.environ, **environ}, Transports(self.environ))
        downloads.fetch(wanted, sink=ignore, what="tests")
        pip_folder(wheels, tools, downloads, self.folder / name / "pip")

    def say(self, image_id: Digest, command: str) -> str:
        """Return what ``command`` prints in an image."""
        log = self.folder / "said"
        with self.store.workspace() as room:
            layers = self.store.image_layers(image_id)
            status = apt_installer.run(self.launcher, layers, room, command, log, fake_owners=True)
        assert status == 0, log.read_text()
        return log.read_text()


@pytest.fixture(scope="module")
def bench(download_cache, launcher):
    """A base image with python3, on a real file system."""
    folder = Path(tempfile.mkdtemp(prefix="repro-pip-", dir="/var/tmp"))
    yield Bench(folder, download_cache, launcher)
    remove_tree(folder)


@pytest.fixture
def index():
    """A small index beside the one that this host is configured for."""
    index = SmallIndex()
    index.add("alpha", "1.0", requires=["beta"], files={"alpha/data.txt": "data"})
    index.add("beta", "2.0")
    yield index
    index.close()


def test_the_interpreter_is_read_from_the_image(bench):
    """Version, C library and machine are the image's own; a base without Python says what to add."""
    env = TemplateEnvironment("py", Location("workflow.yaml", 9, 5), ImageBase("python-base"), pip=("alpha",))
    found = bench.interpreter(env)
    assert ("cpython", (3, 11), "manylinux_2_36") == (found.implementation, found.release, found.libc)
    assert os.uname().machine == found.machine
    bare = bench.store.image_layers(bench.base)[:-1]
    with pytest.raises(LockError, match=r"workflow\.yaml:9:5: .*the image has no python3\n  fix: add python3 to `apt`"):
        probe_interpreter(env, bare, store=bench.store, launcher=bench.launcher)


def test_own_package_and_wheels_offline(bench, index, downloads):
    """What is locked is installed without network, and runs.

    Neither caches nor build tools stay, byte-code is there, and a wheel with another byte is refused by its name.
    """
    extra = {"PIP_EXTRA_INDEX_URL": index.url}
    project = bench.folder / "install" / "project" / "our-tool"
    (project / "our_tool").mkdir(parents=True)
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "our_tool" / "__init__.py").write_text("import alpha\ndef main(): print('ours', alpha.__version__)\n")
    (bench.folder / "pyproject.toml").write_text(PYPROJECT)
    wheels, tools = bench.lock(".", **extra)
    assert ["alpha", "beta"] == [wheel.name for wheel in wheels]
    assert {"pip", "setuptools"} <= {wheel.name for wheel in tools}
    bench.lay_out("install", downloads, wheels, tools, **extra)
    built = bench.build("install", INSTALL.format(pip=installer(tools), options=OPTIONS))
    said = bench.say(
        built.image_id,
        "our-tool; cd /usr/local/lib/python3.11/dist-packages; ls -A . __pycache__ alpha alpha/__pycache__ 2>&1; "
        "ls -A /tmp /wheels /root/.cache 2>&1; find / -xdev -name '*.whl' -o -name 'setuptools*'",
    )
    assert [
        "ours 1.0", "ls: cannot access '__pycache__': No such file or directory",
        ".:", "alpha", "alpha-1.0.dist-info", "beta", "beta-2.0.dist-info", "our_tool", "our_tool-0.1.dist-info", "",
        "alpha:", "__init__.py", "__pycache__", "data.txt", "", "alpha/__pycache__:", "__init__.cpython-311.pyc",
        "ls: cannot access '/wheels': No such file or directory",
        "ls: cannot access '/root/.cache': No such file or directory", "/tmp:",
    ] == said.splitlines()  # fmt: skip

    altered = bench.folder / "install" / "pip" / "beta-2.0-py3-none-any.whl"
    data = bytearray(altered.read_bytes())
    data[-1] ^= 1
    altered.unlink()
    altered.write_bytes(data)
    with pytest.raises(BuildError) as caught:
        bench.build("install", INSTALL.format(pip=installer(tools), options=OPTIONS))
    assert "beta==2.0" in str(caught.value)


def test_an_altered_wheel_is_refused_when_it_is_fetched(bench, index, tmp_path):
    """Its name is told; what is in the cache already is looked at again."""
    extra = {"PIP_EXTRA_INDEX_URL": index.url}
    wheels, _ = bench.lock("beta", **extra)
    index.sums = False
    index.files["beta-2.0-py3-none-any.whl"] = index.files["beta-2.0-py3-none-any.whl"][:-1] + b"x"
    with pytest.raises(FetchError, match=r"beta-2\.0-py3-none-any\.whl: other bytes than"):
        bench.lay_out("altered", Downloads(tmp_path / "cache", Transports({}, pause=0.0)), wheels, (), **extra)


@pytest.mark.judge
def test_numpy_from_the_configured_index(bench, downloads):
    """The real thing: locked for the image's Python, installed offline, the same elsewhere, and it computes."""
    text = PYPROJECT.replace("alpha", "numpy<2.4").replace("our", "sum")
    code = "import numpy\ndef main(): print(numpy.__version__, (numpy.eye(3) @ numpy.ones(3)).sum())\n"
    for folder in (bench.folder / "sum", bench.folder / "numpy" / "project" / "sum-tool"):
        (folder / "sum_tool").mkdir(parents=True)
        (folder / "pyproject.toml").write_text(text)
        (folder / "sum_tool" / "__init__.py").write_text(code)
    (wheel,), tools = bench.lock("./sum")
    assert "cp311-cp311-manylinux" in wheel.file
    bench.lay_out("numpy", downloads, (wheel,), tools)
    built = bench.build("numpy", INSTALL.format(pip=installer(tools), options=OPTIONS), verify=True)
    assert built.verdict is not None
    assert () == built.verdict.differences
    assert f"{wheel.version} 3.0\n" == bench.say(built.image_id, "sum-tool")
