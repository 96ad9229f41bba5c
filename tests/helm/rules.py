"""The alert rules and the dashboard: every metric that they name exists, and every alert fires when it should, and then alone."""

import json
import pathlib
import re
import subprocess
import tempfile

import yaml

import alerts

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "helm/tidegate/alerts/tidegate.yaml"
DASHBOARD = ROOT / "helm/tidegate/dashboards/tidegate.json"
RUNBOOK = ROOT / "docs/operations.md"
ADAPTER = ROOT / "helm/examples/prometheus-adapter.yaml"
METRICS = ROOT / "docs/metrics.md"
METRIC = re.compile(r"\btidegate_\w+")
# What the rules are not told by: how long one rate looks back.
MINUTES = 40


def names(text):
    """The metrics of a scrape or a table of them."""
    return set(METRIC.findall(text))


def promtool(program, *arguments, stdin=None):
    """What it complains about."""
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True)
    return [] if done.returncode == 0 else [f"promtool {' '.join(arguments)}: {done.stdout}{done.stderr}"]


def expressions():
    """Every expression, and where it stands."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            # What Grafana puts in place of its variables.
            yield f"panel {panel['title']}", target["expr"].replace("$__rate_interval", "1m").replace("$namespace", ".*").replace("$instance", ".*")


def unknown_metrics(known):
    texts = list(expressions()) + [("prometheus-adapter.yaml", ADAPTER.read_text())]
    for where, text in texts:
        for metric in METRIC.findall(text):
            base = re.sub(r"_(bucket|sum|count)$", "", metric)
            # What the adapter makes of a histogram has its name.
            if not {metric, base} & known:
                yield f"{where}: no Tidegate has the metric {metric}"


def as_rules(texts):
    """Expressions as recording rules, which promtool parses."""
    rules = [{"record": f"checked:{n}", "expr": expr} for n, (_, expr) in enumerate(texts)]
    return yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]})


def adapter_query():
    """The adapter's query with what the adapter puts in place of its templates."""
    [rule] = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="n"').replace("<<.GroupBy>>", "pod")
    return "the adapter's query", query


def classic(scrape):
    """OpenMetrics as the older text format, which `promtool check metrics` reads: there the family of a counter has its suffix."""
    lines = []
    counters = set(re.findall(r"^# TYPE (\w+) counter$", scrape, re.M))
    infos = set(re.findall(r"^# TYPE (\w+) info$", scrape, re.M))
    for line in scrape.splitlines():
        parts = line.split(" ")
        if parts[:2] in (["#", "UNIT"], ["#", "EOF"]):
            continue
        if parts[0] == "#":
            suffix = "_total" if parts[2] in counters else "_info" if parts[2] in infos else ""
            parts[2] += suffix
            line = " ".join(parts)
            line = re.sub(r" info$", " gauge", line) if parts[1] == "TYPE" else line
        lines.append(line)
    return "\n".join(lines) + "\n"


def runbook():
    """Each alert links to a section of its own in docs/operations.md, and each section there is of an alert."""
    text = RUNBOOK.read_text()
    found = re.findall(r"^### (Tidegate\w+)$", text, re.M)
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["annotations"]["runbook_url"] != f"docs/operations.md#{rule['alert'].lower()}":
            yield f"{rule['alert']} links to {rule['annotations']['runbook_url']}"
    for alert in {rule["alert"] for rule in rules} ^ set(found):
        yield f"{alert} is not both an alert and a section of docs/operations.md"
    for title, section in re.findall(r"^### (Tidegate\w+)\n(.*?)(?=^##)", text + "\n##", re.M | re.S):
        if not ("**Cause" in section and "**Cure" in section):
            yield f"docs/operations.md: {title} does not tell its cause and its cure"


def check(program, scrape):
    """All that is wrong with the rules, the dashboard and the metrics."""
    scraped = pathlib.Path(scrape).read_text()
    known = names(scraped) | (names(METRICS.read_text()) if METRICS.exists() else set())
    problems = list(unknown_metrics(known)) + list(runbook())
    problems += promtool(program, "check", "rules", str(RULES))
    problems += promtool(program, "check", "metrics", stdin=classic(scraped))
    with tempfile.TemporaryDirectory() as folder:
        every = pathlib.Path(folder, "every.yaml")
        every.write_text(as_rules(list(expressions()) + [adapter_query()]))
        problems += promtool(program, "check", "rules", str(every))
        tests = pathlib.Path(folder, "tests.yaml")
        tests.write_text(yaml.safe_dump(alerts.tests(str(RULES), MINUTES)))
        problems += promtool(program, "test", "rules", str(tests))
    known_alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    problems += [f"{name} has no test, or is no alert" for name in known_alerts ^ set(alerts.FIRES)]
    return problems, f"{len(known_alerts)} alerts, {len(list(expressions()))} expressions, {len(known)} metrics"
