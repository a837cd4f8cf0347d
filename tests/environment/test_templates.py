"""The shipped templates: what each adds, lint-clean, the same from equal locks, and built by the real engine."""

from __future__ import annotations

import io
import tarfile

import pytest

from repro.build.context import MappingContext
from repro.build.lint import lint
from repro.build.stages import architecture, plan_build
from repro.digest import Digest
from repro.dockerfile.grammar import read
from repro.environment.model import EnvironmentLock, SourceFile
from repro.environment.portable import portable
from repro.environment.render import render, shipped_template
from repro.environment.templating import shipped_names, with_shipped
from repro.errors import DockerfileError
from repro.workflow.model import ImageBase, SourceBuild
from tests.build.conftest import launcher, shop  # noqa: F401 - fixtures
from tests.environment.test_render import BASE, BWA, environment, everything

NAMES = shipped_names()


def text_of(name, env, entry, **more) -> str:
    """Return the Dockerfile that the template ``name`` gives."""
    text = shipped_template(name)
    return render(env, entry, text, template_file=f"{name}.Dockerfile.j2", base_digest=BASE, **more).dockerfile


def plan_of(text: str):
    """Return a Dockerfile, parsed, and its stages."""
    dockerfile = read(text, "Dockerfile")
    return dockerfile, plan_build(dockerfile, target=None, arguments={}, arch=architecture())


def test_these_are_shipped():
    """The five that the page of templates describes."""
    assert ("conda", "debian", "python", "r", "source-build") == NAMES


@pytest.mark.parametrize("full", [True, False], ids=["full", "bare"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_doubtful_in_a_template(name, full):
    """Our own linter finds nothing, whatever the environment has; no line is left with blanks at its end."""
    env, entry = everything()
    if not full:
        env = environment(apt=(), env={}, run=())
        entry = EnvironmentLock(env.name, BASE, entry.base, ())
    text = text_of(name, env, entry, projects={"0-self": BASE} if full else None)
    dockerfile, plan = plan_of(text)
    assert () == lint(plan, dockerfile)
    assert [] == [line for line in text.splitlines() if line != line.rstrip()]
    assert "\n\n\n" not in text


def test_what_changes_least_comes_first():
    """A change of code, of a variable or a command leaves the layers of packages alone."""
    text = text_of("debian", *everything(), projects={"0-self": BASE})
    marks = [
        "FROM archive:debian/bookworm AS source",
        "source=apt-build",
        "ADD source/tool-1.tar.gz /usr/src/unpacked/",
        "RUN --network=none make install",
        "FROM archive:debian/bookworm AS system",
        "source=apt,",
        "COPY conda/prefix/ /opt/conda/",
        "conda/finish.sh",
        "FROM system AS wheels",
        "-r /run/repro/pip/tools.txt",
        "FROM system\n",
        "-r /run/repro/pip/requirements.txt",
        "COPY --from=source /opt/tool /opt/tool/",
        "--find-links /run/repro/wheels",
        "COPY files/data/b /opt/refs/b",
        "ENV LC_ALL",
        "RUN mkdir /opt/refs",
        'CMD ["bash"]',
    ]
    places = [text.index(mark) for mark in marks]
    assert sorted(places) == places


def test_compilers_and_sources_stay_in_their_stages():
    """The last stage installs no build package and binds no sources; every installing RUN has its network off."""
    dockerfile, plan = plan_of(text_of("source-build", *everything(), projects={"0-self": BASE}))
    last = plan.stages[-1].instructions
    assert ["source", "system", "wheels"] == [stage.name for stage in plan.stages[:-1]]
    assert not [one for one in last if "apt-build" in str(one) or "tools.txt" in str(one)]
    runs = [one for one in dockerfile.instructions if type(one).__name__ == "Run"]
    assert 2 == len([one for one in runs if one.network != "none"])  # those of `run:`


SETTINGS = {
    "debian": (None, '["bash"]'),
    "python": ("PYTHONNOUSERSITE=1", '["python3"]'),
    "conda": ("CONDA_DEFAULT_ENV=base", '["bash"]'),
    "r": ("R_LIBS_USER=NULL", '["R", "--no-save", "--no-restore"]'),
    "source-build": (None, '["bash"]'),
}


@pytest.mark.parametrize("name", NAMES)
def test_each_template_has_its_own_settings(name):
    """Settings come before the workflow's own variables, which win; there is one CMD."""
    text = text_of(name, environment(), EnvironmentLock("align", BASE, "archive:debian/bookworm", (BWA,)))
    setting, command = SETTINGS[name]
    assert [f"CMD {command}"] == [line for line in text.splitlines() if line.startswith("CMD")]
    if setting is not None:
        assert text.index("apt-get") < text.index(setting) < text.index('ENV LC_ALL="C.UTF-8"')


@pytest.mark.parametrize("name", NAMES)
def test_ones_own_template_extends_a_shipped_one(name):
    """Every block can be replaced and added to."""
    template = f'{{% extends "{name}" %}}\n{{% block settings %}}{{{{ super() }}}}LABEL mine=yes\n{{% endblock %}}'
    env, entry = everything()
    text = render(env, entry, template, template_file="docker/mine.j2", base_digest=BASE).dockerfile
    assert "LABEL mine=yes\n" in text
    assert text.replace("LABEL mine=yes\n", "") == text_of(name, env, entry)


def test_a_mistake_in_a_block_is_located_in_ones_own_template():
    """Not in the one that it extends."""
    env, entry = everything()
    template = '{% extends "python" %}\n{% block env %}\n{{ pips }}\n{% endblock %}'
    with pytest.raises(DockerfileError, match=r"docker/mine\.j2:3:1: .*'pips' is undefined(?s:.*)wheels, tools"):
        render(env, entry, template, template_file="docker/mine.j2", base_digest=BASE)


def test_a_templates_text_is_that_of_all_it_is_made_of():
    """What is shipped is part of what decides an image, however far it is extended."""
    own = '{% extends "python" %}\n{%- include \'r\' %}{% include "./mine" %}'
    parts = [own, *(shipped_template(name) for name in ("python", "r", "debian"))]
    whole = with_shipped(own)
    assert len(whole) == sum(map(len, parts))
    assert all(part in whole for part in parts)
    assert shipped_template("debian") == with_shipped(shipped_template("debian"))


# ---- with the real engine, on a base of a few programs


def tarball(path, members: dict[str, str], mtime: int = 0):
    """Write a .tar.gz of text files and return its lock entry."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(text), 0o755, mtime
            archive.addfile(info, io.BytesIO(text.encode()))
    return SourceFile(path.name, Digest.of_file(path), path.stat().st_size)


@pytest.mark.parametrize("top", ["tool-1/", ""], ids=["in a folder", "at the top"])
@pytest.mark.parametrize("name", ["debian", "source-build"])
def test_a_source_is_built_in_a_stage_of_its_own(shop, name, top):  # noqa: F811 - a fixture
    """Commands run in the unpacked sources; what they install below the prefix is all that the image gets."""
    source = tarball(
        shop.context / "tool.tar.gz", {f"{top}configure": "#!/bin/sh\necho $1 >where\n", f"{top}tool": "x"}
    )
    build = SourceBuild(
        "https://example.org/tool.tar.gz",
        source.digest,
        ("sh configure /opt/tool", "mkdir -p /opt/tool/bin\ncp tool $(cat where)/bin/"),
        prefix="/opt/tool",
    )
    env = environment(base=ImageBase("base"), apt=(), env={}, run=(), source=build)
    entry = EnvironmentLock(env.name, BASE, "base", (), sources=(source,))
    files = MappingContext({"source": shop.context})
    text = text_of(name, env, entry)
    first = shop.build(text, context=files)
    assert ["bin"] == shop.view(first).listdir("/opt/tool")
    assert "x" == shop.read(first, "/opt/tool/bin/tool")
    assert shop.view(first).entry("/usr/src") is None
    assert first.image_id == shop.build(text, context=files, no_cache=True).image_id


def test_files_of_the_project_are_copied(shop):  # noqa: F811 - a fixture
    """Files and folders, with names that mean something to a Dockerfile, modes kept."""
    for path in ("data/a $x [1]*.tsv", "data/plain", "folder/sub/b"):
        (shop.context / path).parent.mkdir(parents=True, exist_ok=True)
        (shop.context / path).write_text(path)
    (shop.context / "data/plain").chmod(0o755)
    wanted = {"/opt/$refs [2]/a?": "data/a $x [1]*.tsv", "/opt/plain": "data/plain", "/srv/all": "folder/"}
    env = environment(base=ImageBase("base"), apt=(), env={}, run=("echo $(cat /srv/all/sub/b) >/said",), files=wanted)
    text = text_of("debian", env, EnvironmentLock(env.name, BASE, "base", ()))
    built = shop.build(text, context=MappingContext({"files": shop.context}))
    assert "data/a $x [1]*.tsv" == shop.read(built, "/opt/$refs [2]/a?")
    assert 0o755 == shop.view(built).entry("/opt/plain").stat.st_mode & 0o7777
    assert "folder/sub/b\n" == shop.read(built, "/said")


# ---- for other builders


def test_a_portable_dockerfile_has_no_heredocs_and_our_epoch():
    """Commands of several lines become scripts, each stage gets the epoch, FROM names what others can have."""
    env = environment(apt=(), env={}, run=("true", "cd /opt\ntouch a"))
    text = text_of("debian", env, EnvironmentLock(env.name, BASE, "archive:debian/bookworm", ()))
    first = "FROM scratch AS repro-base\nADD base.tar /\n\n"
    bases = {"archive:debian/bookworm": "repro-base"}
    found = portable(text, file="Dockerfile", bases=bases, epoch=5, first_stage=first)
    assert {"run/1.sh": "set -e\ncd /opt\ntouch a\n"} == found.scripts
    expected = text.replace("FROM archive:debian/bookworm\n", f"{first}FROM repro-base\nARG SOURCE_DATE_EPOCH=5\n")
    expected = expected.replace(
        "RUN <<'EOF'\nset -e\ncd /opt\ntouch a\nEOF\n",
        "RUN --mount=type=bind,source=run/1.sh,target=/run/repro/run.sh sh /run/repro/run.sh\n",
    )
    assert expected == found.dockerfile


def test_a_portable_dockerfile_builds_the_same(shop):  # noqa: F811 - a fixture
    """Our engine makes the same files of both."""
    env = environment(base=ImageBase("base"), apt=(), run=("echo a >/a", "cd /opt || mkdir /opt\necho $PRICE >/opt/b"))
    text = text_of("debian", env, EnvironmentLock(env.name, BASE, "base", ()))
    other = portable(text, file="Dockerfile", bases={"base": "plain"}, epoch=1_700_000_000)
    for path, script in other.scripts.items():
        (shop.context / path).parent.mkdir(exist_ok=True)
        (shop.context / path).write_text(script)
    results = [shop.build(text), shop.build(other.dockerfile)]
    layers = [shop.store.config(result.image_id).diff_ids for result in results]
    assert layers[0] == layers[1]
    assert '$5 "each"\n' == shop.read(results[1], "/opt/b")


def test_a_portable_dockerfile_has_no_flag_that_docker_20_lacks():
    """RUN --network=none goes, wherever it stands among the flags; mounts and all else stay."""
    text = (
        "FROM a\nRUN --network=none true\nRUN --mount=type=tmpfs,target=/t --network=none \\\n    echo --network=none\n"
        "run --network=host true\nRUN --network=none <<'EOF'\nset -e\na\nb\nEOF\n"
    )
    found = portable(text, file="x", bases={}, epoch=0)
    assert (
        "FROM a\nARG SOURCE_DATE_EPOCH=0\nRUN true\nRUN --mount=type=tmpfs,target=/t \\\n    echo --network=none\n"
        "run --network=host true\nRUN --mount=type=bind,source=run/1.sh,target=/run/repro/run.sh sh /run/repro/run.sh\n"
    ) == found.dockerfile
    env, entry = everything()
    assert "--network" not in portable(text_of("source-build", env, entry), file="x", bases={}, epoch=0).dockerfile


def test_a_heredoc_of_copy_cannot_leave():
    """A template of one's own may write one; the error says what to write instead."""
    with pytest.raises(DockerfileError, match=r"(?s)x:2:1: a heredoc.*as_run"):
        portable("FROM a\nCOPY <<EOF /b\nx\nEOF\n", file="x", bases={}, epoch=0)
