"""Runs scenarios on both sides, compares, and prints one JSON line each and a summary."""

import faulthandler
import json
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from .context import Context
from .normalise import normalised
from .registry import Scenario
from .replica_set import ReplicaSet

SIDES = ("direct", "proxy")


class Runner:
    """One run of a list of scenarios."""

    def __init__(self, uris: dict, deadline: float):
        self.uris = uris
        self.replica_set = ReplicaSet(uris["direct"])
        self.print_lock = threading.Lock()
        self.running = {}
        self.failed = []
        self.ran = 0
        watchdog = threading.Timer(deadline, self._give_up, [deadline])
        watchdog.daemon = True
        watchdog.start()

    def run(self, scenarios: list[Scenario], jobs: int) -> bool:
        """Whether all scenarios passed with equal outcomes."""
        started = time.monotonic()
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(self._run_one, [one for one in scenarios if not one.alone]))
        for one in scenarios:
            if one.alone:
                self._run_one(one)
        self._print(
            {
                "summary": True,
                "listed": len(scenarios),
                "ran": self.ran,
                "failed": sorted(self.failed),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
        self.replica_set.close()
        return not self.failed and self.ran == len(scenarios)

    def _run_one(self, scenario: Scenario) -> None:
        line = {"scenario": scenario.full_name}
        seconds = {}
        errors = {}
        for side in SIDES:
            started = time.monotonic()
            try:
                line[side] = self._outcome(scenario, side)
            except BaseException:  # Whatever it is, it is this scenario's failure and no reason to leave out the rest.
                errors[side] = _report()
            seconds[side] = round(time.monotonic() - started, 2)
        passed = not errors and line["direct"] == line["proxy"]
        line["passed"] = passed
        line["seconds"] = seconds
        if errors:
            line["errors"] = errors
        elif not passed:
            line["difference"] = difference(line["direct"], line["proxy"])
        with self.print_lock:
            self.ran += 1
            if not passed:
                self.failed.append(scenario.full_name)
        self._print(line)

    def _outcome(self, scenario: Scenario, side: str):
        context = Context(side, self.uris[side], self.replica_set)
        self.running[scenario.full_name] = side
        try:
            outcome = normalised(scenario.run(context), context.database)
            # What can't be told apart in JSON is equal: tuples and lists, keys and their texts.
            return json.loads(json.dumps(outcome, sort_keys=True))
        finally:
            self.running.pop(scenario.full_name, None)
            context.close()

    def _print(self, line: dict) -> None:
        with self.print_lock:
            print(json.dumps(line), flush=True)

    def _give_up(self, deadline: float) -> None:
        print(f"not finished after {deadline} s; still running: {self.running}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        os._exit(3)


def _report() -> str:
    """The exception being handled and where in this package it passed."""
    kind, error, trace = sys.exc_info()
    here = os.path.dirname(__file__)
    frames = [frame for frame in traceback.extract_tb(trace) if os.path.dirname(frame.filename) == here]
    where = " > ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames[2:])
    return f"{kind.__name__} at {where}: {error}"


def difference(direct, proxy, path: str = "") -> list:
    """The places where two outcomes differ, as [path, direct, proxy]."""
    if isinstance(direct, dict) and isinstance(proxy, dict):
        keys = sorted(direct.keys() | proxy.keys())
        absent = "<absent>"
        return [
            found
            for key in keys
            for found in difference(direct.get(key, absent), proxy.get(key, absent), f"{path}.{key}")
        ]
    if isinstance(direct, list) and isinstance(proxy, list) and len(direct) == len(proxy):
        return [
            found for index, pair in enumerate(zip(direct, proxy)) for found in difference(*pair, f"{path}[{index}]")
        ]
    return [] if direct == proxy else [[path or ".", direct, proxy]]
