"""Checks the chart, its alert rules and dashboard, and the files for containers and systemd.

check.py charts TIDEGATE SECRETS     Helm, Kubernetes' schemas and `tidegate check`; SECRETS is a folder with what Secrets hold
check.py rules PROMTOOL SCRAPE       rules and dashboard against a scrape of a running proxy, and the rules' unit tests
check.py packaging                   the Dockerfile and the systemd units
check.py defaults                    prints proxy.toml as the chart's defaults have it

Prints each problem on a line of its own, and exits with 1 if there is any.
"""

import sys


def main(what, *arguments):
    if what == "defaults":
        import charts

        print(charts.defaults())
        return 0
    if what == "charts":
        import charts

        problems, done = charts.check(*arguments)
    elif what == "rules":
        import rules

        problems, done = rules.check(*arguments)
    else:
        import packaging_files

        problems, done = packaging_files.check(*arguments)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems in {done}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
