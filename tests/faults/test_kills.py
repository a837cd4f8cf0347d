"""Commands killed at any moment leave a store in which nothing is damaged and everything goes on."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from repro.files import remove_tree
from repro.oci.store import Store
from tests import servers
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base
from tests.faults.campaign import REPRO, Campaign, Command

BUILD = ("image", "build", "-q", "-t", "work:{turn}", "-t", "work", "--build-arg", "N={turn}", ".")


def commands(registry: str) -> list[Command]:
    """Return the commands, each killed in its turn; what is pulled is not in the store when the pull begins."""
    sent, fetched = f"{registry}/kills/sent:{{turn}}", f"{registry}/kills/fetched:1"
    without = (("image", "pull", "-q", fetched), ("image", "rm", "-f", fetched), ("store", "gc", "--cache"))
    return [
        Command(BUILD),
        Command(("image", "push", "-q", sent), first=(BUILD, ("image", "tag", "work", sent))),
        Command(("store", "gc"), first=(BUILD,)),
        Command(("image", "pull", "-q", fetched), first=without),
        Command(("store", "gc", "--cache"), first=(BUILD,)),
        Command(("store", "check", "--repair")),
    ]


DOCKERFILE = """# check=skip=all
FROM base:1
ARG N
COPY many /many
RUN echo $N > /n && for i in 1 2 3 4 5 6 7 8 9; do echo $N$i > /file$i; done
COPY many /again/$N
"""


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """A registry without a login."""
    if servers.missing():
        pytest.skip(f"{servers.missing()} is not installed: see tests/run")
    with servers.plain_registry(tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture
def campaign(tmp_path, registry):
    """A campaign on a store with a base image, in a folder with a Dockerfile; the image ``kept`` is never touched."""
    store, other = Store(tmp_path / "store", MODE.value), Store(tmp_path / "other", MODE.value)
    for one in (store, other):
        one.tag("base:1", put_base(one))
    store.tag("kept", store.resolve("base:1"))
    folder = tmp_path / "context"
    (folder / "many").mkdir(parents=True)
    for number in range(200):
        (folder / "many" / str(number)).write_bytes(b"%d" % number * 100)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    settings = tmp_path / "registries.toml"
    settings.write_text(f'[registry."{registry.host}"]\ninsecure = true\n')
    env = {
        "REPRO_STORE": str(store.root),
        "REPRO_MODE": MODE.value,
        "PYTHONPATH": str(PROJECT),
        "REPRO_REGISTRIES": str(settings),
    }
    fetched = f"{registry.host}/kills/fetched:1"
    (tmp_path / "fetched").mkdir()
    for number in range(8):
        (tmp_path / "fetched" / str(number)).write_bytes(os.urandom(1 << 20))
    (tmp_path / "fetched/Dockerfile").write_text("FROM base:1\nCOPY [0-3] /a/\nCOPY [4-7] /b/\n")
    for arguments in (("image", "build", "-q", "-t", fetched, "."), ("image", "push", "-q", fetched)):
        theirs = {**os.environ, **env, "REPRO_STORE": str(other.root)}
        subprocess.run([*REPRO, *arguments], cwd=tmp_path / "fetched", env=theirs, check=True, capture_output=True)
    yield lambda seed: (Campaign(folder, env, commands(registry.host), seed), store)
    remove_tree(tmp_path)
    tmp_path.mkdir()


def _judge(campaign, kills: int, seed: int) -> None:
    running, store = campaign(seed)
    done = running.run(kills)
    assert [] == [kill for kill in done if kill.wrong], f"seed {seed}"
    assert store.has_image(store.resolve("kept"))
    assert kills // 2 <= sum(kill.after is not None for kill in done)


def test_a_kill_of_each_command_does_no_harm(campaign):
    """At the same moments each time."""
    _judge(campaign, len(commands("")), 3)


@pytest.mark.judge
@pytest.mark.timeout(3600)
def test_two_hundred_kills_do_no_harm(campaign):
    """At other moments each time; REPRO_KILLS sets another number, REPRO_SEED repeats one campaign."""
    seed = int(os.environ.get("REPRO_SEED") or time.time_ns() % 2**32)
    _judge(campaign, int(os.environ.get("REPRO_KILLS") or 200), seed)
