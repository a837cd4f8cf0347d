"""From a locked environment to a Dockerfile that a person would write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest
from repro.environment.model import CondaPackage, EnvironmentLock, Package, SourceFile, Wheel
from repro.environment.render import Recipe, as_copy, as_run, quoted, render, shipped_template
from repro.errors import DockerfileError, Location, UsageError, WorkflowError
from repro.workflow.model import ArchiveBase, CondaSpec, ImageBase, SourceBuild, TemplateEnvironment

BASE = Digest.of(b"base")
BWA = Package(
    "bwa", "0.7.17-7+b2", "amd64", Digest.of(b"bwa"), 3, "pool/main/b/bwa/bwa_0.7.17-7+b2_amd64.deb", "debian/bookworm"
)
ZLIB = Package(
    "zlib1g", "1:1.2.13-1", "amd64", Digest.of(b"z"), 1, "pool/main/z/zlib/zlib1g_1.2.13-1_amd64.deb", "debian/bookworm"
)

EXPECTED = """\
# Environment align, made by repro from workflow.yaml and workflow.lock.
FROM archive:debian/bookworm

# The locked packages and no others, from the build context; apt's lists and caches lie in a folder that goes.
RUN --network=none --mount=type=bind,source=apt,target=/run/repro/apt \\
    export APT_CONFIG=/run/repro/apt/apt.conf DEBIAN_FRONTEND=noninteractive; \\
    mkdir -p /tmp/apt/lists/partial /tmp/apt/cache/archives/partial /tmp/apt/log \\
 && apt-get update -qq \\
 && apt-get install -y -qq --no-install-recommends \\
      bwa=0.7.17-7+b2 \\
      zlib1g=1:1.2.13-1 \\
 && rm -r /tmp/apt

ENV LC_ALL="C.UTF-8"
ENV PRICE="\\$5 \\"each\\""

RUN mkdir /opt/refs
RUN <<'EOF'
set -e
cd /opt
touch refs/a
EOF

CMD ["bash"]
"""


def environment(**changes) -> TemplateEnvironment:
    """Return an environment with some fields changed."""
    fields = {
        "name": "align",
        "where": Location("workflow.yaml", 7, 3),
        "base": ArchiveBase("debian", "bookworm"),
        "apt": ("bwa",),
        "env": {"LC_ALL": "C.UTF-8", "PRICE": '$5 "each"'},
        "run": ("mkdir /opt/refs", "cd /opt\ntouch refs/a\n"),
    }
    return TemplateEnvironment(**(fields | changes))


def recipe(env: TemplateEnvironment, *packages: Package, template: str | None = None, base: Digest = BASE) -> Recipe:
    """Return the recipe of ``env`` with ``packages``."""
    entry = EnvironmentLock(env.name, Digest.of(b"origin"), "archive:debian/bookworm", packages)
    text = shipped_template("debian") if template is None else template
    return render(env, entry, text, template_file="docker/mine.j2", base_digest=base)


def test_the_shipped_template_reads_like_a_dockerfile():
    """Base, exact versions from the locked repository, variables, commands: nothing else, in this order."""
    assert EXPECTED == recipe(environment(), ZLIB, BWA).dockerfile


def test_recipes_of_before_keep_their_digests():
    """What is made of base, apt, env and run alone has the digest it had before there was more: its images stay."""
    bare = environment(base=ImageBase("debian:12"), run=())
    assert "sha256:e840e7b0b3180805010ead0f33d245988e571e04063f6e42dbfa297f6b6254b6" == str(
        recipe(environment(), ZLIB, BWA).digest
    )
    assert "sha256:e6145d2b9635278a9e6a6e90a82a1b3c2e5c5dce76b32e71ab6a7794ef195b96" == str(recipe(bare).digest)


def test_an_environment_with_nothing_is_its_base():
    """Without packages, variables and commands only FROM and CMD are left."""
    bare = recipe(environment(base=ImageBase("debian:bookworm"), apt=(), env={}, run=())).dockerfile
    instructions = [line for line in bare.splitlines() if line and not line.startswith("#")]
    assert ["FROM debian:bookworm", 'CMD ["bash"]'] == instructions


def test_the_digest_names_all_that_decides_the_image():
    """Package bytes, base, and text each change it; equal parts give an equal digest."""
    rebuilt = Package("bwa", "0.7.17-7+b2", "amd64", Digest.of(b"other bytes"), 3, BWA.path, BWA.archive)
    digests = [
        recipe(environment(), BWA).digest,
        recipe(environment(), BWA, ZLIB).digest,
        recipe(environment(), rebuilt).digest,
        recipe(environment(), BWA, base=Digest.of(b"other")).digest,
        recipe(environment(env={}), BWA).digest,
    ]
    assert len(digests) == len(set(digests))
    assert recipe(environment(), ZLIB, BWA).digest == recipe(environment(), BWA, ZLIB).digest


def test_a_template_of_ones_own_gets_the_documented_variables():
    """Every variable and filter that the module documents is there."""
    template = (
        "{{ name }}|{{ base }}|{{ packages[0].name }} {{ packages[0].version }} {{ packages[0].architecture }}|"
        "{{ apt[0] }}|{{ env.LC_ALL }}|{{ run[0] | as_run }}|{{ env.PRICE | quoted }}"
    )
    expected = 'align|archive:debian/bookworm|bwa 0.7.17-7+b2 amd64|bwa|C.UTF-8|mkdir /opt/refs|"\\$5 \\"each\\""'
    assert expected == recipe(environment(), BWA, template=template).dockerfile


def everything() -> tuple[TemplateEnvironment, EnvironmentLock]:
    """Return an environment that has one of each kind, and its lock entry."""
    one = Digest.of(b"one")
    env = environment(
        pip=("numpy", "."),
        conda=CondaSpec(("conda-forge",), ("samtools",)),
        files={"/opt/refs/b": "data/b", "/opt/a [1]": "a $x*"},
        source=SourceBuild("https://example.org/tool-1.tar.gz", one, ("make install",), ("gcc",), "/opt/tool"),
    )
    entry = EnvironmentLock(
        env.name,
        one,
        "archive:debian/bookworm",
        (BWA,),
        build_packages=(ZLIB,),
        sources=(SourceFile("tool-1.tar.gz", one, 1),),
        conda=(
            CondaPackage("samtools", "1.21", "h5_0", "conda-forge", "linux-64", "samtools-1.21-h5_0.conda", one, 1),
        ),
        interpreter="cpython-3.11-manylinux_2_36-x86_64",
        wheels=(Wheel("numpy", "2.1.0", "numpy-2.1.0-cp311-cp311-x.whl", one, 1),),
        tools=(Wheel("pip", "25.0", "pip-25.0-py3-none-any.whl", one, 1),),
    )
    return env, entry


def rendered(template: str, env: TemplateEnvironment, entry: EnvironmentLock, **more) -> Recipe:
    """Return the recipe of a template of one's own for ``env``."""
    return render(env, entry, template, template_file="mine.j2", base_digest=BASE, **more)


def test_a_template_sees_every_kind_of_software():
    """Each variable beside those of apt, as the page of templates has them."""
    template = (
        "{{ build_packages[0].name }}|{{ conda[0].channel }}/{{ conda[0].build }}|{{ wheels[0].name }}|{{ tools[0].file }}"
        "|{{ projects | join }}|{{ interpreter }}|{{ python }}|{{ installer }}|{{ source.file }} {{ source.prefix }} "
        "{{ source.run[0] }}|{{ files[1].source }} {{ files[1].target }}|{{ files[0].source | as_copy(files[0].target) }}"
    )
    expected = (
        "zlib1g|conda-forge/h5_0|numpy|pip-25.0-py3-none-any.whl|0-self|cpython-3.11-manylinux_2_36-x86_64|python3|"
        "/run/repro/pip/pip-25.0-py3-none-any.whl/pip|source/tool-1.tar.gz /opt/tool make install|"
        'files/data/b /opt/refs/b|["files/a \\\\$x[*]", "/opt/a [1]"]'
    )
    assert expected == rendered(template, *everything(), projects={"0-self": BASE}).dockerfile


def test_pip_uses_condas_python_where_there_is_one():
    """The interpreter that wheels were chosen for is conda's, as soon as conda brings one."""
    env, entry = everything()
    python = replace(entry.conda[0], name="python", version="3.12.1")
    found = rendered("{{ python }}", env, replace(entry, conda=(*entry.conda, python))).dockerfile
    assert "/opt/conda/bin/python3" == found


def test_the_digest_covers_every_kind_of_software():
    """Other bytes of anything that is installed or copied make another recipe, whatever the template shows of it."""
    env, entry = everything()
    other = Digest.of(b"other")

    def digest(changed: EnvironmentLock = entry, **more) -> Digest:
        return rendered("FROM x", env, changed, **more).digest

    digests = [digest(), digest(files={"data/b": other}), digest(files={"data/b": BASE}), digest(projects={"0": other})]
    digests.append(digest(replace(entry, interpreter="cpython-3.12-manylinux_2_36-x86_64")))
    for kind in ("build_packages", "sources", "conda", "wheels", "tools", "packages"):
        (one,) = getattr(entry, kind)
        digests.append(digest(replace(entry, **{kind: (replace(one, digest=other),)})))
    assert len(digests) == len(set(digests))


@pytest.mark.parametrize(
    ("source", "target", "arguments"),
    [
        ("files/a.tsv", "/opt/a.tsv", "files/a.tsv /opt/a.tsv"),
        ("--from=x", "/a", '["--from=x", "/a"]'),
        ("a b", "/c d", '["a b", "/c d"]'),
        ("a[1]?*", "/a[1]?*", '["a[[]1][?][*]", "/a[1]?*"]'),
        ("a$b", "/${c}", '["a\\\\$b", "/\\\\${c}"]'),
        ("å", "/å", '["å", "/å"]'),
    ],
)
def test_copy_names_just_this_file(source, target, arguments):
    """Blanks, patterns and variables in names are themselves."""
    assert arguments == as_copy(source, target)


def test_a_shipped_template_can_be_included():
    """One's own template may build on a shipped one by name."""
    own = recipe(environment(), BWA, template='{% include "debian" %}\nLABEL mine=yes\n').dockerfile
    assert own.startswith(recipe(environment(), BWA).dockerfile.rstrip())
    assert own.endswith("LABEL mine=yes\n")


@pytest.mark.parametrize(
    ("template", "where", "message"),
    [
        ("FROM x\n{{ nme }}\n", "docker/mine.j2:2", "'nme' is undefined"),
        ("FROM x\n\n{% if %}\n", "docker/mine.j2:3", "Expected an expression"),
        ("FROM x\n{{ packages[7].name }}\n", "docker/mine.j2:2", "no element 7"),
        ("FROM x\n{{ 1 // 0 }}\n", "docker/mine.j2:2", "zero"),
        ("FROM x\n{{ name + 1 }}\n", "docker/mine.j2:2", "str"),
        ("{{ name.__class__.__mro__ }}", "docker/mine.j2:1", "unsafe"),
        ("\n{{ name | nothing }}", "docker/mine.j2:2", "nothing"),
        ('\n{% include "debain" %}', "docker/mine.j2:2", "debain"),
    ],
)
def test_a_mistake_in_a_template_is_located(template, where, message):
    """File and line are the template's own, and the message says what it knows."""
    with pytest.raises(DockerfileError) as caught:
        recipe(environment(), BWA, template=template)
    assert str(caught.value).startswith(where)
    assert message in str(caught.value)
    assert "base, packages, apt" in str(caught.value)


def test_an_unknown_template_names_those_there_are():
    """A slip in the name gets the list; a name is no way out of the folder."""
    with pytest.raises(UsageError, match="shipped are: conda, debian, python, r, source-build"):
        shipped_template("debain")
    with pytest.raises(UsageError):
        shipped_template("../templates/debian")


def test_values_that_no_dockerfile_can_hold_are_located():
    """A line break in env is the workflow's mistake, said before anything is built."""
    with pytest.raises(WorkflowError) as caught:
        recipe(environment(env={"A": "1\nRUN evil", "B C": "1"}))
    paths = [problem.path for problem in caught.value.problems]
    assert ["environments.align.env.A", "environments.align.env.B C"] == paths
    with pytest.raises(WorkflowError) as caught:
        source = SourceBuild("https://example.org/x", BASE, (), (), "/opt/a b")
        recipe(environment(env={}, files={"/a\\b": "b"}, source=source))
    paths = [problem.path for problem in caught.value.problems]
    assert ["environments.align.files./a\\b", "environments.align.source.prefix"] == paths


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ("echo $X '#' # note", "echo $X '#' # note"),
        ("  true  \n", "true"),
        ("--flag", "<<'EOF'\nset -e\n--flag\nEOF"),
        ('["x"]', "<<'EOF'\nset -e\n[\"x\"]\nEOF"),
        ("cat <<END", "<<'EOF'\nset -e\ncat <<END\nEOF"),
        ("a \\", "<<'EOF'\nset -e\na \\\nEOF"),
        ("EOF\nEOF0", "<<'EOF1'\nset -e\nEOF\nEOF0\nEOF1"),
    ],
)
def test_commands_reach_the_shell_as_they_are(command, argument):
    """A line that a Dockerfile would read in its own way goes into a heredoc, as do several lines."""
    assert argument == as_run(command)


@given(st.text(alphabet=st.characters(exclude_characters="\n\0"), max_size=30))
def test_quoting_is_undone_by_the_dockerfile(value):
    """What ENV gets is the value, with backslashes, quotes and dollars in it."""
    inner = quoted(value)[1:-1]
    result, index = "", 0
    while index < len(inner):
        index += inner[index] == "\\"
        result += inner[index]
        index += 1
    assert value == result
