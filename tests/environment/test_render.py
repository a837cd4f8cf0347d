"""From a locked environment to a Dockerfile that a person would write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest
from repro.environment.model import EnvironmentLock, Package
from repro.environment.render import Recipe, _as_run, _quoted, render, shipped_template
from repro.errors import DockerfileError, Location, UsageError, WorkflowError
from repro.workflow.model import ArchiveBase, ImageBase, TemplateEnvironment

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
    with pytest.raises(UsageError, match="shipped are: debian"):
        shipped_template("debain")
    with pytest.raises(UsageError):
        shipped_template("../templates/debian")


def test_values_that_no_dockerfile_can_hold_are_located():
    """A line break in env is the workflow's mistake, said before anything is built."""
    with pytest.raises(WorkflowError) as caught:
        recipe(environment(env={"A": "1\nRUN evil", "B C": "1"}))
    paths = [problem.path for problem in caught.value.problems]
    assert ["environments.align.env.A", "environments.align.env.B C"] == paths


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
    assert argument == _as_run(command)


@given(st.text(alphabet=st.characters(exclude_characters="\n\0"), max_size=30))
def test_quoting_is_undone_by_the_dockerfile(value):
    """What ENV gets is the value, with backslashes, quotes and dollars in it."""
    inner = _quoted(value)[1:-1]
    result, index = "", 0
    while index < len(inner):
        index += inner[index] == "\\"
        result += inner[index]
        index += 1
    assert value == result
