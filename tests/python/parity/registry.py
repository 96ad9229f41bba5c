"""The list of scenarios, one area a module.

Invariant: a module named here registers at least one scenario, and `all_scenarios` is the whole truth: the Rust tests
compare the number that ran with the number listed.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Callable

AREAS = (
    "admin",
    "aggregation",
    "bulk",
    "change_streams",
    "crud",
    "cursors",
    "errors",
    "gridfs_files",
    "indexes",
    "read_preference",
    "retries",
    "sessions",
    "sizes",
    "special_collections",
    "timeouts",
    "transactions",
    "wire",
    "write_concern",
)


@dataclass(frozen=True)
class Scenario:
    """One behaviour: its area, its name and the function that shows it."""

    area: str
    name: str
    run: Callable[[Any], Any]
    alone: bool

    @property
    def full_name(self) -> str:
        return f"{self.area}.{self.name}"


_found: dict[str, Scenario] = {}


def scenario(function=None, *, alone: bool = False):
    """Registers a function as a scenario named after it, in the area named after its module.

    `alone` keeps it from running beside other scenarios of the same process: for those that measure or hold back a
    node.
    """

    def register(run):
        area = run.__module__.rsplit(".", 1)[-1]
        found = Scenario(area, run.__name__, run, alone)
        if found.full_name in _found:
            raise ValueError(f"two scenarios are named {found.full_name}")
        _found[found.full_name] = found
        return run

    return register if function is None else register(function)


def all_scenarios() -> list[Scenario]:
    """Every scenario, in the order of the areas and then of the definitions."""
    for area in AREAS:
        importlib.import_module(f"parity.{area}")
    found = sorted(_found.values(), key=lambda one: AREAS.index(one.area))
    empty = set(AREAS) - {one.area for one in found}
    if empty:
        raise ValueError(f"areas without a scenario: {sorted(empty)}")
    return found


def select(only: list[str]) -> list[Scenario]:
    """The scenarios whose area or full name is in `only`; all if it is empty. An unknown name is an error."""
    everything = all_scenarios()
    if not only:
        return everything
    known = {one.area for one in everything} | {one.full_name for one in everything}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"no such scenario or area: {', '.join(unknown)}")
    return [one for one in everything if one.area in only or one.full_name in only]
