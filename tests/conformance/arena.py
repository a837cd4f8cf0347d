"""One run of the table: the judges, our builders and the bases, made once, and each case tried in all of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests import accounts
from tests.conformance.bases import unpack, write_base
from tests.conformance.cases import Case
from tests.conformance.expected import expected_image
from tests.conformance.judges import Buildah, Docker, JudgeError, install
from tests.conformance.layout import lay_out
from tests.conformance.ours import Builder, Built
from tests.conformance.served import Served
from tests.conformance.trees import Image, compare, sort_out, walk


@dataclass
class Row:
    """What came out for one case: a line of the table.

    Attributes:
        case: the case.
        faults: what is wrong; nothing: the case holds.
        modes: for each other kind of user: ``same``, ``listed`` or ``differs``.
        judge_seconds: what the judge's build took; wall time.
        our_seconds: what ours took, as root.
    """

    case: Case
    faults: list[str] = field(default_factory=list)
    modes: dict[str, str] = field(default_factory=dict)
    judge_seconds: float = 0.0
    our_seconds: float = 0.0


class Arena:
    """Where cases are tried. ``judges`` False: only what needs no judge."""

    def __init__(self, place: Path, *, judges: bool = True, docker: str = "", modes: tuple[str, ...] = ()) -> None:
        self.place = place
        self._judges = judges
        self.docker = Docker(place / "docker", docker)
        self.buildah = Buildah(place / "buildah")
        self._wanted = modes
        self._served: Served | None = None
        self._accounts: list[accounts.Account] = []
        self.builders: dict[str, Builder] = {}
        self._bases: dict[str, Path] = {}
        self._trees: dict[str, dict] = {}
        self._loaded: set[tuple[str, str]] = set()

    def start(self) -> None:
        """Install and start all that is wanted."""
        if self._judges:
            install()
            self.docker.start()
            self.buildah.start()
        self._served = Served(self.place / "served")
        home = self.place / "root"
        home.mkdir()
        root = accounts.caller(home)
        self.builders["real"] = Builder(root, "real", home)
        for mode in self._wanted:
            account = MAKERS[mode]()
            self._accounts.append(account)
            self.builders[mode] = Builder(account, mode, account.home)

    def stop(self) -> None:
        """Stop what was started and remove it."""
        if self._judges:
            self.docker.stop()
            self.buildah.stop()
        if self._served is not None:
            self._served.stop()
        for account in self._accounts:
            accounts.remove(account)

    def run(self, case: Case) -> Row:
        """Try one case: the judge, root, and each other kind of user."""
        row = Row(case)
        room = Path(tempfile.mkdtemp(prefix=f"{case.name}-", dir=self.place))
        try:
            self._run(self._with_server(case), row, room)
        except (JudgeError, RuntimeError) as error:
            row.faults.append(str(error))
        finally:
            shutil.rmtree(room, ignore_errors=True)
        return row

    def build(self, case: Case) -> Built:
        """Build one case as root, by us alone."""
        return self._build_as("real", self._with_server(case))

    def _with_server(self, case: Case) -> Case:
        """Serve what the case wants served; return it with the address in its options."""
        if not case.serve:
            return case
        assert self._served is not None
        server = self._served.put(case)
        return replace(case, options=tuple(option.replace("{server}", server) for option in case.options))

    def _run(self, case: Case, row: Row, room: Path) -> None:
        for base in case.bases:
            self._load(base, "real", self.builders["real"].load)
        if case.refused is not None:
            self._refused(case, row, self.builders["real"].build(case), room)
            return
        others = [mode for mode in self.builders if mode != "real"]
        with ThreadPoolExecutor() as pool:  # judge and builders are processes of their own, and wait for each other
            judged = pool.submit(self._expected, case, row, room)
            again = {mode: pool.submit(self._build_as, mode, case) for mode in others}
            started = time.monotonic()
            built = self.builders["real"].build(case)
            row.our_seconds = time.monotonic() - started
            if built.status != 0:
                row.faults.append(f"we cannot build it: {built.output[-3000:]}")
            wanted = judged.result()
        if built.status != 0 or wanted is None:
            return
        ours = self.builders["real"].read(case, room)
        row.faults += _judge(wanted, ours, case.differences, "")
        if case.podman and self._judges:
            tree = self.buildah.unpack(self.builders["real"].layout(case), f"podman-{case.name}")
            tree["/"] = ours.tree["/"]  # podman's own, where no layer has it
            row.faults += [f"as podman unpacks it: {one}" for one in compare(ours, Image(tree, ours.config))]
        for mode in others:
            self._other_mode(case, row, mode, built, again[mode].result(), ours, room)

    def _build_as(self, mode: str, case: Case) -> Built:
        for base in case.bases:
            self._load(base, mode, self.builders[mode].load)
        return self.builders[mode].build(case)

    def _other_mode(self, case: Case, row: Row, mode: str, built: Built, again: Built, ours: Image, room: Path) -> None:
        """Compare with another kind of user's: the image ID is root's, or each difference is listed."""
        builder = self.builders[mode]
        listed = case.single if mode == "one" else case.subordinate
        row.modes[mode] = "same"
        if again.status != 0:
            row.modes[mode] = "listed" if set(listed) == {"build"} else "differs"
            if row.modes[mode] == "differs":
                row.faults.append(f"{mode}: we cannot build it: {again.output[-3000:]}")
        elif again.image_id != built.image_id:
            faults = _judge(ours, builder.read(case, room), listed, f"{mode}: ")
            if not faults and not listed:
                faults = [f"{mode}: the image ID is not root's, although tree and config are"]
            row.modes[mode] = "differs" if faults else "listed"
            row.faults += faults
        elif listed:
            row.faults.append(f"{mode}: differences are listed, and the image ID is root's")

    def _refused(self, case: Case, row: Row, built: Built, room: Path) -> None:
        """Check that the judge refuses it, and that our error says where and what."""
        refusal = case.refused
        assert refusal is not None
        if built.status == 0:
            row.faults.append("we build what must be refused")
        elif "Traceback" in built.output or "mistake in repro" in built.output:
            row.faults.append(f"status {built.status}: {built.output[-3000:]}")
        elif refusal.says not in built.output:
            row.faults.append(f"our error does not say {refusal.says!r}: {built.output[-2000:]}")
        elif refusal.line and not re.search(rf"Dockerfile:{refusal.line}:\d+", built.output):
            row.faults.append(f"our error does not name line {refusal.line}: {built.output[-2000:]}")
        if case.judge != "written" and self._judges:
            try:
                self._build_by_judge(case, room)
            except JudgeError:
                row.faults += ["listed as refused by us alone, but the judge refuses it"] if refusal.alone else []
            else:
                row.faults += [] if refusal.alone else [f"{case.judge} builds it"]

    def _expected(self, case: Case, row: Row, room: Path) -> Image | None:
        """Return what the judge says must come out; None where there is no judge in this run."""
        if case.judge == "written":
            (base,) = case.bases
            return expected_image(case, self._base_tree(base))
        if not self._judges:
            return None
        started = time.monotonic()
        tag = self._build_by_judge(case, room)
        row.judge_seconds = time.monotonic() - started
        judge = self.docker if case.judge == "docker" else self.buildah
        try:
            return judge.read(tag, room)
        finally:
            judge.remove(tag)

    def _build_by_judge(self, case: Case, room: Path) -> str:
        judge = self.docker if case.judge == "docker" else self.buildah
        for base in case.bases:
            self._load(base, case.judge, judge.load)
        folder = lay_out(case, room / "judge")
        for name, file in case.images.items():
            judge.build(folder, name, case.options, file)
        tag = f"conformance-{case.name}"
        judge.build(folder, tag, case.options)
        return tag

    def _load(self, base: str, who: str, load) -> None:
        if (base, who) not in self._loaded:
            load(self._base(base), base)
            self._loaded.add((base, who))

    def _base(self, name: str) -> Path:
        """Return the layout of a base, made when first asked for; readable for every account."""
        if name not in self._bases:
            layout = self.place / f"base-{name}"
            self._bases[name] = write_base(layout) if name == "base" else self.builders["real"].archive_base(layout)
            for path in (layout, *layout.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
        return self._bases[name]

    def _base_tree(self, name: str) -> dict:
        if name not in self._trees:
            self._trees[name] = walk(unpack(self._base(name), "latest", self.place / f"tree-{name}"))
        return self._trees[name]


def _judge(wanted: Image, actual: Image, listed: dict[str, str], prefix: str) -> list[str]:
    """Return what differs and is not listed, and what is listed and does not differ."""
    unlisted, idle = sort_out(compare(wanted, actual), listed)
    return [f"{prefix}{one}" for one in unlisted] + [f"{prefix}listed, but does not differ: {one}" for one in idle]


MAKERS = {"one": accounts.make_ordinary, "sub": accounts.make_with_ranges}


@contextlib.contextmanager
def arena(*, judges: bool = True, docker: str = "", modes: tuple[str, ...] = ()) -> Iterator[Arena]:
    """Give a started arena below /var/tmp, readable for ordinary users; stopped and removed at the end."""
    place = Path(tempfile.mkdtemp(prefix="repro-conformance-", dir="/var/tmp"))
    os.chmod(place, 0o755)
    made = Arena(place, judges=judges, docker=docker, modes=modes)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        from repro.files import remove_tree

        remove_tree(place)


def print_faults(row: Row, most: int = 12) -> None:
    """Print what is wrong with a row, for developers."""
    for fault in row.faults[:most]:
        print(f"    {fault}")
    if len(row.faults) > most:
        print(f"    … and {len(row.faults) - most} more")
