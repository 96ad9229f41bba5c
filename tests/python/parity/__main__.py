"""`python -m parity --direct URI --proxy URI`: one JSON line a scenario, a summary last.

The exit code is 0 if all ran, met their own expectations and had equal outcomes, 1 if not, 2 for bad arguments and 3
if the deadline passed.
"""

import argparse
import sys

from .registry import select
from .runner import Runner


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m parity", description=__doc__)
    parser.add_argument("--direct", help="the replica set's own URI, with replicaSet=")
    parser.add_argument("--proxy", help="the proxy's URI")
    parser.add_argument("--only", default="", help="areas or full names, separated by commas")
    parser.add_argument("--jobs", type=int, default=3, help="scenarios at once (default 3)")
    parser.add_argument("--deadline", type=float, default=300, help="seconds for the whole run (default 300)")
    parser.add_argument("--list", action="store_true", help="print the full names and run nothing")
    options = parser.parse_args()
    try:
        scenarios = select([name for name in options.only.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        for one in scenarios:
            print(one.full_name)
        return 0
    if not options.direct or not options.proxy:
        parser.error("--direct and --proxy are needed")
    runner = Runner({"direct": options.direct, "proxy": options.proxy}, options.deadline)
    return 0 if runner.run(scenarios, options.jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
