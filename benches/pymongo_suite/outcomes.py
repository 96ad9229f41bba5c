"""A pytest plugin for PyMongo's own suite: records outcomes and keeps the suite on this machine.

Writes one JSON line per test to the file named by SUITE_OUTCOMES: its id, "passed", "failed" or "skipped", the seconds
it took, and the first words of the reason. Clients that a test makes without an address go to the address under test.
Nothing depends on the surroundings: connections to other machines are refused, tests that ask their name servers are
skipped, and a container around the suite is hidden from tests that compare what a client tells of its environment.
"""

import errno
import json
import os
import socket

import pymongo
import pytest
from pymongo import pool_options

LONGEST_REASON = 2000

_connect = socket.socket.connect
_send_to = socket.socket.sendto


def _is_elsewhere(address):
    local = ("localhost", "::1", "")
    return isinstance(address, tuple) and not (address[0].startswith("127.") or address[0] in local)


def _guarded_connect(self, address):
    if _is_elsewhere(address):
        raise OSError(errno.ENETUNREACH, f"the suite talks to this machine only, not to {address[0]}")
    return _connect(self, address)


def _guarded_send_to(self, data, *rest):
    if _is_elsewhere(rest[-1]):
        # Not an Exception, so that it passes through the resolver, which would try the next name server.
        pytest.skip("it asks a name server on another machine")
    return _send_to(self, data, *rest)


class Recorder:
    """Turns the reports of a test's phases into one outcome."""

    def __init__(self, file):
        self.file = file
        self.open = {}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        outcome, seconds, reason = self.open.get(report.nodeid, ("passed", 0.0, ""))
        seconds += report.duration
        if report.failed and outcome != "failed":
            outcome, reason = "failed", _failure(report)
        elif report.skipped and outcome == "passed":
            outcome, reason = "skipped", _skip(report)
        self.open[report.nodeid] = outcome, seconds, reason
        if report.when == "teardown":
            del self.open[report.nodeid]
            line = {"id": report.nodeid, "outcome": outcome, "seconds": round(seconds, 3), "reason": reason}
            print(json.dumps(line), file=self.file, flush=True)


def _failure(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message if crash else str(report.longrepr))[:LONGEST_REASON]


def _skip(report):
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")[:LONGEST_REASON]


def pytest_configure(config):
    socket.socket.connect = _guarded_connect
    socket.socket.sendto = _guarded_send_to
    pool_options.DOCKER_ENV_PATH = "/nonexistent"
    pymongo.MongoClient.HOST = os.environ["DB_IP"]
    pymongo.MongoClient.PORT = int(os.environ["DB_PORT"])
    config.pluginmanager.register(Recorder(open(os.environ["SUITE_OUTCOMES"], "w", encoding="utf-8")))
