"""Runs test modules of PyMongo 2's own suite and records one JSON line for each test. For Python 2.7.

Arguments: the file to append to, and the modules' names. Clients that a test makes without an address go to the address
under test (DB_IP, DB_PORT). A test that hangs fails after LIMIT_SECONDS.
"""

import json
import os
import signal
import sys
import time
import unittest

# The suite's package is called `test`, as is one of Python's own.
sys.path.insert(0, os.getcwd())

import pymongo

LIMIT_SECONDS = 60
LONGEST_REASON = 2000

pymongo.MongoClient.HOST = os.environ["DB_IP"]
pymongo.MongoClient.PORT = int(os.environ["DB_PORT"])


class TookTooLong(Exception):
    pass


def _expired(signum, frame):
    raise TookTooLong("took longer than %d seconds" % LIMIT_SECONDS)


class Recorder(unittest.TestResult):
    def __init__(self, out):
        super(Recorder, self).__init__()
        self.out = out

    def startTest(self, test):
        super(Recorder, self).startTest(test)
        self.began = time.time()
        signal.alarm(LIMIT_SECONDS)

    def stopTest(self, test):
        signal.alarm(0)
        super(Recorder, self).stopTest(test)

    def _record(self, test, outcome, reason=""):
        line = {"id": test.id(), "outcome": outcome, "reason": reason[-LONGEST_REASON:],
                "seconds": round(time.time() - getattr(self, "began", time.time()), 3)}
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def addSuccess(self, test):
        self._record(test, "passed")

    def addError(self, test, err):
        self._record(test, "failed", self._exc_info_to_string(err, test))

    addFailure = addError

    def addSkip(self, test, reason):
        self._record(test, "skipped", reason)


def main():
    signal.signal(signal.SIGALRM, _expired)
    with open(sys.argv[1], "a") as out:
        suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:])
        suite.run(Recorder(out))


main()
