"""Scenarios that must have the same outcome through Tidegate as directly.

A scenario is a function of one context (`context.Context`). It is run twice, once with clients of the replica set's
own URI and once with clients of the proxy's, and returns what it saw. It checks its own expectations, so that two
equal failures are no pass, and the runner (`runner`) compares what both runs returned. `python -m parity --help`.
"""
