"""Runs steps and prints one JSON line for each. For Python 2.7 and 3."""

from __future__ import print_function

import json
import sys
import time

from pymongo.errors import OperationFailure, PyMongoError


def run(steps, context):
    """Runs the steps in order: each a function whose first line says what it does, and whose value is the outcome.

    A step that raises is a line with `error`: the server's code, or the exception's class if it has none.
    """
    for step in steps:
        line = {"step": step.__doc__.strip()}
        try:
            line["outcome"] = plain(step(context))
        except PyMongoError as error:
            line["error"] = code(error)
            line["message"] = str(error)
        print(json.dumps(line, sort_keys=True))
        sys.stdout.flush()


def code(error):
    """The server's code of an error, or the exception's class where the driver keeps none."""
    details = getattr(error, "details", None) or {}
    statements = details.get("writeErrors") or [details]
    return getattr(error, "code", None) or statements[0].get("code") or type(error).__name__


def refused(what, *arguments, **options):
    """The code with which this fails."""
    try:
        what(*arguments, **options)
    except OperationFailure as error:
        return code(error)
    return "accepted"


def eventually(ask, expected):
    """The first answer that is as expected, or the last of many."""
    for _ in range(400):
        answer = ask()
        if expected(answer):
            break
        time.sleep(0.05)
    return answer


def plain(value):
    """The value as JSON has it, whatever numeric types the server chose."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
