"""apt names to locked packages to an image, with a real base, a real apt, and archives real and small."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.environment.resolvers.apt import lock_packages
from repro.environment.resolvers.archive import build_base, fetch_indexes, fetch_packages
from repro.environment.resolvers.network import apt_network_config
from repro.environment.resolvers.os_release import archive_of
from repro.errors import Location, LockError
from repro.events import ignore
from repro.oci.view import View
from repro.runtime.spec import Bind, Mode, Network, Privileges
from repro.workflow.model import ArchiveBase
from tests.data.loopback import Loopback
from tests.environment import apt_installer
from tests.environment.small_archive import Item, control, deb, key

pytestmark = pytest.mark.archive
MODE = Mode.REAL if os.getuid() == 0 else Mode.ONE
BOOKWORM = ArchiveBase("debian", "bookworm")
WHERE = Location("workflow.yaml", 9, 5)
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(scope="module")
def base(bookworm_lock, downloads, store, launcher):
    """The base's image ID."""
    return build_base(bookworm_lock, source=None, downloads=downloads, store=store, launcher=launcher, sink=ignore)


def add(archive, name: str, version: str, *, epochs: bool = False, **fields: str) -> None:
    """Put a package with one program into the archive."""
    stanza = control(name, version, Maintainer="Nobody <nobody@example.invalid>", Section="misc", **fields)
    script = f"#!/bin/sh\necho {name} {version}\n".encode()
    archive.add(stanza, deb(stanza, Item(f"./usr/bin/{name}", script, mode=0o755)), epochs=epochs)


@pytest.fixture
def archive(small_archive):
    """Packages with the names and versions that trip programs up: an epoch, a tilde, pluses, a conflict, a choice."""
    libs = [("libodd++", "1:1.0~rc1+b2", {}), ("libodd++", "1:0.9", {})]
    tools = [
        ("odd-tool", "2.0-1", {"Depends": "libodd++ (>= 1:0.5), bash", "Recommends": "odd-extra"}),
        ("odd-extra", "1", {}),
        ("odd-rival", "1", {"Conflicts": "odd-tool"}),
        ("mailer-a", "1", {"Provides": "odd-mailer"}),
        ("mailer-b", "1", {"Provides": "odd-mailer"}),
        ("only-one", "1", {"Provides": "odd-virtual"}),
    ]
    for name, version, fields in (*libs, *tools):
        add(small_archive, name, version, **fields)
    small_archive.publish()
    return small_archive


class Solver:
    """Locks packages of the small archive, as it is published at the time, on the real base."""

    def __init__(self, archive, downloads, base, store, launcher) -> None:
        self.archive, self.downloads, self.source = archive, downloads, archive.source()
        self._place = (base, store, launcher)

    def __call__(self, *apt: str, keep=()):
        """Return the locked packages."""
        base, store, launcher = self._place
        get = Transports({}, pause=0.0).get
        return lock_packages(
            apt,
            base,
            fetch_indexes(self.source, self.downloads, get, now=NOW, sink=ignore),
            what="environments.align.apt",
            where=WHERE,
            downloads=self.downloads,
            store=store,
            launcher=launcher,
            keep=keep,
        )

    def fetch(self, packages) -> None:
        """Have the packages' files, as a build does."""
        fetch_packages(packages, source=self.source, downloads=self.downloads, sink=ignore, what="tests")

    def add(self, name: str, version: str, **fields: str) -> None:
        """Put a package into the archive, and publish it."""
        add(self.archive, name, version, **fields)
        self.archive.publish()

    def withdraw(self, name: str) -> None:
        """Take all versions of a package out of the archive, and publish it."""
        self.archive.withdraw(name)
        self.archive.publish()


@pytest.fixture
def solve(archive, tmp_path, base, store, launcher):
    """Lock packages of the small archive on the real base."""
    return Solver(archive, Downloads(tmp_path / "cache", Transports({}, pause=0.0)), base, store, launcher)


def versions(packages) -> list[tuple[str, str]]:
    """Return names and versions."""
    return [(package.name, package.version) for package in packages]


def test_closure_is_what_the_base_lacks(solve, archive):
    """Dependencies come along in their newest version, recommended and present packages do not; sorted, hashed."""
    packages = solve("odd-tool")
    assert [("libodd++", "1:1.0~rc1+b2"), ("odd-tool", "2.0-1")] == versions(packages)
    for package in packages:
        data = (archive.root / package.path).read_bytes()
        assert (package.size, "debian/bookworm") == (len(data), package.archive)
    assert packages == solve("odd-tool")
    assert str(archive.root) not in repr(packages)


def test_names_in_any_order_and_twice(solve):
    """The declaration's order decides nothing."""
    assert solve("odd-tool", "odd-extra") == solve("odd-extra", "odd-tool", "odd-extra")


def test_a_named_version_is_taken(solve):
    """An older version is locked where the declaration asks for it."""
    assert [("libodd++", "1:0.9"), ("odd-tool", "2.0-1")] == versions(solve("odd-tool", "libodd++=1:0.9"))


def test_a_virtual_package_with_one_provider(solve):
    """As apt does, the only provider is taken."""
    assert [("only-one", "1")] == versions(solve("odd-virtual"))


def test_nothing_to_add(solve):
    """No names, or names that the base has, lock nothing."""
    assert () == solve()


def test_every_unknown_name_is_told_at_once_with_near_ones(solve):
    """The message is located and offers what may have been meant; options for apt are no names."""
    with pytest.raises(LockError) as caught:
        solve("odd-tol", "nothing-like-it", "odd-tool=3", "-oDebug=1", "odd-tool/sid")
    text = str(caught.value)
    assert text.startswith("workflow.yaml:9:5: environments.align.apt: 5 of its apt packages cannot be had")
    assert "there is no package 'odd-tol'; near it: odd-tool" in text
    assert "there is no package 'nothing-like-it'\n" in text
    assert "odd-tool has no version '3'; available: 2.0-1" in text
    assert "'-oDebug=1' is not `name` or `name=version`" in text
    assert "'odd-tool/sid' is not" in text


def test_what_cannot_be_together_is_said_in_apts_words(solve):
    """A conflict names both packages."""
    with pytest.raises(LockError, match=r"(?s)workflow\.yaml:9:5: .*odd-rival : Conflicts: odd-tool"):
        solve("odd-tool", "odd-rival")


def test_a_virtual_package_with_several_providers_needs_a_choice(solve):
    """The message lists the providers."""
    with pytest.raises(LockError, match=r"(?s)virtual package provided by.*mailer-b.*mailer-a"):
        solve("odd-mailer")


def test_offline_install_is_exact_and_leaves_nothing_of_apt(solve, tmp_path, base, store, launcher):
    """The locked versions and no others are installed, with no network; no list, cache or temporary file stays."""
    packages = solve("odd-tool", "libodd++=1:0.9")
    solve.fetch(packages)
    layer = apt_installer.install(packages, solve.downloads, store, launcher, base, tmp_path)
    said = apt_installer.say(
        "odd-tool; dpkg-query -W -f '${Package}=${Version} ${Status}\\n' odd-tool libodd++; dpkg --audit; ls /tmp",
        store, launcher, base, layer, tmp_path,
    )  # fmt: skip
    assert "odd-tool 2.0-1\nlibodd++=1:0.9 install ok installed\nodd-tool=2.0-1 install ok installed\n" == said
    made = {str(path.relative_to(store.layer_path(layer))) for path in store.layer_path(layer).rglob("*")}
    assert {"usr/bin/odd-tool", "usr/bin/libodd++", "var/lib/dpkg/status"} <= made
    assert set() == {path for path in made if path.startswith(("run", "tmp/", "var/lib/apt/lists", "var/cache/apt"))}
    assert set() == {path for path in made if path.startswith("var/log/apt")}


def test_what_was_locked_stays_where_it_fits(solve):
    """Another name leaves the other versions alone; without what was locked, all are today's."""
    before = solve("odd-tool", "libodd++=1:0.9")
    solve.add("odd-tool", "3.0", Depends="libodd++")
    after = solve("odd-tool", "odd-extra", keep=before)
    assert [("libodd++", "1:0.9"), ("odd-extra", "1"), ("odd-tool", "2.0-1")] == versions(after)
    assert before == tuple(package for package in after if package.name != "odd-extra")
    assert [("libodd++", "1:1.0~rc1+b2"), ("odd-tool", "3.0")] == versions(solve("odd-tool"))
    assert [("libodd++", "1:0.9"), ("odd-tool", "3.0")] == versions(solve("odd-tool=3.0", keep=before))


def test_what_no_longer_fits_moves_on(solve):
    """Only what the new name needs in a newer version is given up."""
    before = solve("odd-tool", "odd-extra", "libodd++=1:0.9")
    for name in ("odd-tool", "odd-extra"):
        solve.add(name, "7")
    solve.add("odd-new", "1", Depends="libodd++ (>= 1:1.0~)")
    expected = [("libodd++", "1:1.0~rc1+b2"), ("odd-extra", "1"), ("odd-new", "1"), ("odd-tool", "2.0-1")]
    assert expected == versions(solve("odd-tool", "odd-extra", "odd-new", keep=before))


def test_what_the_archive_lost_is_kept_from_the_downloads(solve, tmp_path, base, store, launcher):
    """The bytes are enough: an old version is locked on and installed, by its declared version too."""
    before = solve("odd-tool")
    solve.fetch(before)
    for name in ("odd-tool", "libodd++"):
        solve.withdraw(name)
        solve.add(name, "1:9")
    after = solve("odd-tool", "odd-extra", keep=before)
    assert before == tuple(package for package in after if package.name != "odd-extra")
    assert before == solve("odd-tool=2.0-1", keep=before)
    solve.fetch(after)
    layer = apt_installer.install(after, solve.downloads, store, launcher, base, tmp_path)
    assert "odd-tool 2.0-1\n" == apt_installer.say("odd-tool", store, launcher, base, layer, tmp_path)


def test_what_is_lost_everywhere_moves_on(solve):
    """Without the bytes, or with other bytes, a version cannot be kept."""
    before = solve("odd-tool")
    solve.fetch(before)
    for package in before:
        path = solve.downloads.path(package.digest)
        path.chmod(0o600)
        path.write_bytes(b"damaged")
    for name in ("odd-tool", "libodd++"):
        solve.withdraw(name)
        solve.add(name, "1:9")
    assert [("odd-tool", "1:9")] == versions(solve("odd-tool", keep=before))
    with pytest.raises(LockError, match=r"odd-tool has no version '2\.0-1'; available: 1:9"):
        solve("odd-tool=2.0-1", keep=before)


def test_a_locked_version_with_other_bytes_moves_on(solve):
    """An archive that has rebuilt a version is believed: the old bytes under that name are not kept."""
    before = solve("odd-tool")
    solve.fetch(before)
    solve.withdraw("odd-tool")
    solve.add("odd-tool", "2.0-1", Depends="bash", Homepage="other")
    (tool,) = solve("odd-tool", keep=before)
    assert "2.0-1" == tool.version
    assert tool not in before


def test_an_old_base_is_brought_up_where_a_name_needs_it(solve, tmp_path, base, store, launcher):
    """What the base has in too old a version comes along in a newer one, and replaces it."""
    solve.add("odd-base", "1", Depends="bash (>= 99)")
    stanza = control("bash", "99", Maintainer="Nobody <nobody@example.invalid>", Essential="yes")
    solve.archive.add(stanza, deb(stanza, Item("./bin/bash", b"#!/bin/sh\necho new bash\n", mode=0o755)))
    solve.archive.publish()
    packages = solve("odd-base")
    assert [("bash", "99"), ("odd-base", "1")] == versions(packages)
    solve.fetch(packages)
    layer = apt_installer.install(packages, solve.downloads, store, launcher, base, tmp_path)
    assert "new bash\n" == apt_installer.say("bash", store, launcher, base, layer, tmp_path)


def test_epochs_in_names_of_files_are_installed(solve, tmp_path, base, store, launcher):
    """A file's name with %3a, as some archives have it, goes through apt's addresses and back."""
    add(solve.archive, "odd-epoch", "3:1~b+c", epochs=True)
    solve.archive.publish()
    packages = solve("odd-epoch")
    assert ["odd-epoch_3%3a1~b+c"] == [package.file_name.rpartition("_")[0] for package in packages]
    solve.fetch(packages)
    layer = apt_installer.install(packages, solve.downloads, store, launcher, base, tmp_path)
    assert "odd-epoch 3:1~b+c\n" == apt_installer.say("odd-epoch", store, launcher, base, layer, tmp_path)


def test_an_index_from_before_its_key_expired(solve):
    """What was signed in time stays good: a snapshot can be locked when the keys of its day are long over."""
    owner = key()
    end = datetime.now(UTC) + timedelta(seconds=2)
    solve.archive.publish()
    solve.source = solve.archive.source(
        keyring=bytes(owner.extract_certificate().set_expiration(end, owner.certifier()))
    )
    time.sleep(2.5)
    assert [("odd-extra", "1")] == versions(solve("odd-extra"))


def test_a_base_says_which_archive_it_is_from(base, store):
    """An image made from the archive is one of Debian with apt, like any other."""
    assert BOOKWORM == archive_of(View(store.image_layers(base), store.form))


@pytest.mark.parametrize("who", ["caller", "ordinary"])
def test_samtools_and_bwa(
    request, who, bookworm_lock, downloads, apt_source, bookworm_indexes, base, store, launcher, tmp_path
):
    """The real thing, for this user and for an ordinary one: locked by apt, installed offline, and they run."""
    packages = lock_packages(
        ("samtools", "bwa"),
        base,
        bookworm_indexes,
        what="environments.align.apt",
        where=WHERE,
        downloads=downloads,
        store=store,
        launcher=launcher,
    )
    assert {"samtools", "bwa", "libhts3"} <= {package.name for package in packages}
    assert set() == {package.name for package in packages} & {package.name for package in bookworm_lock.packages}
    fetch_packages(packages, source=apt_source, downloads=downloads, sink=ignore, what="tests")
    command = "samtools --version | head -n 1; bwa 2>&1 | grep Version; dpkg --audit; id -u"
    if who == "caller":
        layer = apt_installer.install(packages, downloads, store, launcher, base, tmp_path)
        said = apt_installer.say(command, store, launcher, base, layer, tmp_path)
    else:
        ordinary = request.getfixturevalue("ordinary")
        place = ordinary.home / "apt"
        place.mkdir()
        (place / "lock").write_bytes(pickle.dumps((bookworm_lock, packages)))
        for package in (*bookworm_lock.packages, *packages):
            target = Downloads(place / "cache").path(package.digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(downloads.path(package.digest), target)
        ordinary.give(place)
        script = Path(ordinary.path) / "tests" / "environment" / "apt_installer.py"
        paths = (str(place / "lock"), str(place / "cache"), str(place / "store"))
        done = ordinary.run(ordinary.python, str(script), *paths, Mode.ONE.value, command)
        assert (0, "") == (done.returncode, done.stderr)
        said = done.stdout
    lines = said.splitlines()
    assert ["samtools 1", "Version: 0", "0"] == [lines[0][:10], lines[1][:10], lines[2]]


def test_a_networked_run_has_the_mirrors_and_leaves_no_host_name(archive, tmp_path, base, store, launcher):
    """A user's own Dockerfile can `apt-get update && apt-get install`; the lists' names are the same on any host."""
    server = Loopback()
    try:
        for file in archive.root.rglob("*"):
            if file.is_file():
                server.files[f"/debian/{file.relative_to(archive.root)}"] = file.read_bytes()
        source = archive.source()
        mirrored = type(source)(
            "debian",
            "bookworm",
            ((server.url("/debian"), ("bookworm",)),),
            source.keyring,
            frozenset(),
            source.architecture,
        )
        binds, env = apt_network_config(mirrored, tmp_path / "apt.d", environ={})
        with store.workspace() as room:
            status = apt_installer.run(
                launcher,
                store.image_layers(base),
                room,
                "apt-get update && apt-get install -y --no-install-recommends odd-tool && odd-tool",
                tmp_path / "log",
                network=Network.HOST,
                env={**apt_installer.ENV, **env, "DEBIAN_FRONTEND": "noninteractive"},
                binds=tuple(Bind(path, target) for path, target in binds),
                privileges=Privileges.BUILD,
            )
            assert (0, "odd-tool 2.0-1") == (status, (tmp_path / "log").read_text().splitlines()[-1])
            lists = sorted(path.name for path in (room / "upper/var/lib/apt/lists").iterdir() if path.is_file())
    finally:
        server.close()
    assert {"lock"} < set(lists)
    assert [] == [name for name in lists if "127.0.0.1" in name]
