"""The quick `dataclass` makes what the standard one makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro import dataclass as module
from repro.digest import Digest

OPTIONS = st.fixed_dictionaries({"frozen": st.booleans(), "order": st.booleans(), "kw_only": st.booleans()})
VALUES = st.integers(-2, 2)


def _class(decorator, **options):
    """Return a class with a field of each sort."""

    @decorator(slots=True, **options)
    class Point:
        """A point."""

        x: int
        y: int = 0
        label: str = dataclasses.field(default="", compare=False)
        hidden: tuple[int, ...] = dataclasses.field(default=(), repr=False)
        items: list[int] = dataclasses.field(default_factory=list, init=False, compare=False)

    return Point


def _said(act):
    """Return what an act gives: its value, or the type of its error."""
    try:
        return act()
    except Exception as error:
        return type(error)


def _observed(decorator, options, numbers, named):
    """Return all that can be seen of a class made by ``decorator``, and of two instances of it."""
    cls = _class(decorator, **options)

    def make(x, y):
        return cls(x=x, y=y, label=str(y)) if named or options["kw_only"] else cls(x, y)

    one, other = make(*numbers[:2]), make(*numbers[2:])
    return [
        repr(one).rpartition(".")[2],
        one == other,
        one != other,
        one == numbers,
        _said(lambda: one < other),
        _said(lambda: one <= other),
        _said(lambda: one > other),
        _said(lambda: one >= other),
        _said(lambda: hash(one)),
        _said(lambda: setattr(one, "x", 7)),
        _said(lambda: delattr(one, "y")),
        _said(lambda: one.nothing),
        copy.deepcopy(other) == other,
        _said(cls),
        _said(lambda: cls(1, 2, "", (), 3)),
        _said(lambda: cls(x=1, z=2)),
        dataclasses.asdict(make(5, 6)),
        _said(lambda: dataclasses.astuple(dataclasses.replace(make(5, 6), x=9))),
        make(1, 2).items is make(1, 2).items,
        [(f.name, f.init, f.repr, f.compare, f.kw_only) for f in dataclasses.fields(cls)],
        cls.__match_args__,
        cls.__slots__,
        hasattr(one, "__dict__"),
    ]


@given(OPTIONS, st.lists(VALUES, min_size=4, max_size=4), st.booleans())
def test_every_operation_gives_what_the_standard_decorator_gives(options, numbers, named):
    """Representation, comparison, hash, errors, `replace`, `asdict`: equal for every choice of options."""
    ours, standard = (_observed(one, options, numbers, named) for one in (module.dataclass, dataclasses.dataclass))
    assert ours == standard


def test_own_methods_stay_and_post_init_runs():
    """What a class defines is not replaced."""

    @module.dataclass(frozen=True, slots=True)
    class Named:
        """A name."""

        name: str
        upper: str = dataclasses.field(init=False)

        def __post_init__(self):
            object.__setattr__(self, "upper", self.name.upper())

        def __eq__(self, other):
            return self.upper == other.upper

        def __hash__(self):
            return hash(self.upper)

        def __repr__(self):
            return f"<{self.name}>"

    assert Named("a") == Named("A")
    assert len({Named("a"), Named("A")}) == 1
    assert repr(Named("a")) == "<a>"


def test_values_survive_pickle():
    """As between processes."""
    digest = Digest.of(b"")
    assert pickle.loads(pickle.dumps(digest)) == digest


def test_a_subclass_has_the_fields_of_both():
    """Fields are inherited, equality is not."""

    @module.dataclass(frozen=True, slots=True)
    class Base:
        """Base."""

        a: int

    @module.dataclass(frozen=True, slots=True)
    class More(Base):
        """More."""

        b: int = 2

    assert Base(1) != More(1)
    assert (More(1).a, More(1).b) == (1, 2)
    assert hash(More(1)) == hash(More(1, 2))
    with pytest.raises(TypeError, match="b"):
        Base(a=1, b=2)
