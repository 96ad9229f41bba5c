"""The asynchronous Python drivers. Usage: python driver.py pymongo|motor URI SINGLE_URI DATABASE"""

import asyncio
import sys

import cursors  # noqa: F401
import documents  # noqa: F401
import options  # noqa: F401
import sessions  # noqa: F401
import streams  # noqa: F401
import topology  # noqa: F401
from harness import main

if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
