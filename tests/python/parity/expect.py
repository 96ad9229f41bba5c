"""Expectations with messages that say what was seen."""

import time

from pymongo.errors import PyMongoError


def equal(seen, wanted, what: str = "value") -> None:
    """Fails unless `seen == wanted`."""
    if seen != wanted:
        raise AssertionError(f"{what}: expected {_short(wanted)}, saw {_short(seen)}")


def true(condition, what: str) -> None:
    """Fails unless `condition` holds."""
    if not condition:
        raise AssertionError(f"expected {what}")


def failure(action, kind: type[Exception] = PyMongoError, code: int | None = None):
    """The error of the given class, and code if one is given, that `action` must raise."""
    try:
        result = action()
    except kind as error:
        if code is not None:
            equal(getattr(error, "code", None), code, f"code of {error!r}")
        return error
    raise AssertionError(f"expected {kind.__name__}, got the result {_short(result)}")


def eventually(condition, what: str, seconds: float = 10.0):
    """The first true value of `condition()`, polled; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"expected within {seconds} s: {what}")
        time.sleep(0.02)


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:600]}... ({len(text)} characters)"
