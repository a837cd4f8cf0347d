"""Images with conda packages, by the real engine: locked, linked outside, finished inside, with no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import cache_from_source
from pathlib import Path
from py_compile import PycInvalidationMode
from py_compile import compile as compile_file
from typing import TYPE_CHECKING

import pytest

from repro.data.cache import Downloads
from repro.environment.resolvers.conda import CondaImage, lock_conda
from repro.environment.resolvers.conda_channels import locate_conda
from repro.environment.resolvers.conda_prefix import conda_prefix
from repro.errors import Location
from repro.events import BuildOutput
from repro.files import remove_tree
from repro.workflow.model import CondaSpec
from tests.build.conftest import Workshop
from tests.environment.conda_channel import MTIME, PLACEHOLDER, File, Made, make_channel

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{VERSION}/{'dist' if Path('/etc/debian_version').exists() else 'site'}-packages"
LEFT_OUT = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "distutils", "pydoc_data", "__pycache__"}
DOCKERFILE = """\
FROM base
COPY conda/prefix/ /opt/conda/
ENV PATH=/opt/conda/bin:$PATH CONDA_PREFIX=/opt/conda LD_LIBRARY_PATH=/opt/conda/lib
RUN --network=none --mount=type=bind,source=conda/finish.sh,target=/run/repro/conda/finish.sh \\
    sh /run/repro/conda/finish.sh
"""
LINK = b'{"noarch": {"type": "python", "entry_points": ["tool = tool:main"]}, "package_metadata_version": 1}'
POST_LINK = b"""\
echo "$PREFIX $PKG_NAME $PKG_VERSION $PKG_BUILDNUM" > "$PREFIX/etc/linked"
echo "read me" > "$PREFIX/.messages.txt"
"""


def host_python() -> Made:
    """Make a conda package of the Python that runs the tests, its libraries with it."""
    program = Path(sys._base_executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    files = [File(f"bin/python{VERSION}", program.read_bytes(), 0o755)]
    for folder, folders, names in os.walk(standard):
        folders[:] = [
            name for name in folders if name not in LEFT_OUT and not name.endswith(("packages", "-linux-gnu"))
        ]
        for name in names:
            path = Path(folder) / name
            if name.endswith(".py") and path.is_file():
                files.append(File(f"lib/python{VERSION}/{path.relative_to(standard)}", path.read_bytes()))
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [Path(name) for name in re.findall(r"=> (/\S+)", listed) if "/libc.so" not in name]
    files += [File(f"lib/{library.name}", library.read_bytes(), 0o755) for library in libraries]
    files.append(File(f"lib/python{VERSION}/lib-dynload/README"))  # by which Python knows its prefix
    number = ".".join(map(str, sys.version_info[:3]))
    return Made("python", number, files=tuple(files), index={"python_site_packages_path": SITE})


def with_byte_code(folder: Path) -> Made:
    """Make a package that brings byte-code, checked by its source's time as conda-build leaves it."""
    source = folder / "fresh.py"
    source.write_bytes(b"fresh = True\n")
    os.utime(source, (MTIME, MTIME))
    compile_file(str(source), doraise=True, invalidation_mode=PycInvalidationMode.TIMESTAMP)
    code = Path(cache_from_source(str(source)))
    files = (File(f"{SITE}/fresh.py", source.read_bytes()), File(f"{SITE}/__pycache__/{code.name}", code.read_bytes()))
    return Made("fresh", files=files, depends=("python",))


def make_software(folder: Path) -> Path:
    """Make a channel with a Python, a noarch package for it, and a tool that was built for another prefix."""
    folder.mkdir()
    old = PLACEHOLDER.encode()
    prefixed = Made(
        "prefixed",
        files=(
            File("bin/prefixed", b"#!" + old + b"/bin/shell\ncat " + old + b"/share/text\n", 0o755, placeholder="text"),
            File("bin/shell", link="../../../bin/sh"),
            File("share/text", b"from the prefix\n"),
            File("share/binary", b"\0" + old + b"/share\0end", placeholder="binary"),
            File("bin/.prefixed-post-link.sh", POST_LINK, 0o755),
            File("etc/conda/activate.d/x.sh", b"export X=1\n"),
        ),
    )
    module = b"def main():\n    print('the entry point ran')\n"
    tool = Made(
        "tool",
        depends=("python",),
        subdir="noarch",
        index={"noarch": "python"},
        files=(File("site-packages/tool/__init__.py", module), File("site-packages/tool/bad.py", b"no python {{\n")),
        info={"link.json": LINK},
    )
    return make_channel(folder / "channel", host_python(), with_byte_code(folder), prefixed, tool)


def build(folder: Path, channel: Path, launcher, text: str = DOCKERFILE):
    """Lock from ``channel``, fetch, take the channel away, link and build; return workshop and image."""
    shop = Workshop(folder, launcher)
    shutil.copytree(channel, folder / "chan")
    spec = CondaSpec(("./chan",), ("tool", "prefixed", "fresh"))
    downloads = Downloads(folder / "cache")
    image = CondaImage("linux-64", "2.36")
    where = Location("workflow.yaml", 1)
    packages = lock_conda(spec, folder, image, where=where, downloads=downloads, environ={})
    downloads.fetch(locate_conda(packages, spec, folder, {}), sink=lambda _: None, what="conda packages")
    shutil.rmtree(folder / "chan")
    conda_prefix(packages, downloads, shop.context / "conda")
    return shop, shop.build(text)


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Path:
    """The channel, made once."""
    return make_software(tmp_path_factory.mktemp("software") / "made")


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """A folder for workshops, removed at once: pytest would keep their stores for three sessions."""
    yield tmp_path
    remove_tree(tmp_path)
    tmp_path.mkdir()


def test_conda_packages_run_in_an_image(folder, channel, launcher):
    """Entry points, replaced prefixes, byte-code and post-link scripts, all without network."""
    run = (
        "RUN --network=none tool > /said && prefixed >> /said && python"
        + VERSION
        + " -v -c 'import fresh' 2> /verbose\n"
    )
    shop, result = build(folder / "one", channel, launcher, DOCKERFILE + run)
    said = [event.text for event in shop.events if isinstance(event, BuildOutput)]
    assert "the entry point ran\nfrom the prefix\n" == shop.read(result, "/said")
    assert "/opt/conda prefixed 1.0 0\n" == shop.read(result, "/opt/conda/etc/linked")
    assert b"/opt/conda/share" == shop.view(result).read("/opt/conda/share/binary").strip(b"\0").split(b"\0")[0]
    assert f"matches /opt/conda/{SITE}/fresh.py" in shop.read(result, "/verbose")
    assert shop.view(result).entry(cache_from_source(f"/opt/conda/{SITE}/tool/__init__.py")) is not None
    assert ["post-link script of prefixed 1.0", "read me"] == said[:2]
    assert shop.view(result).entry("/opt/conda/.messages.txt") is None
    assert any(line.endswith("$CONDA_PREFIX/etc/conda/activate.d/x.sh") for line in said)


def test_the_same_lock_gives_the_same_image(folder, channel, launcher):
    """Two machines' worth of folders: another store, cache, context and umask, one image ID."""
    _, first = build(folder / "one", channel, launcher)
    old = os.umask(0o027)
    try:
        _, second = build(folder / "two", channel, launcher)
    finally:
        os.umask(old)
    assert first.image_id == second.image_id
