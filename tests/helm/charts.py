"""The chart under real Helm: every mode and many values, against the schemas of Kubernetes and the proxy's own check."""

import functools
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import textwrap

import helm_python
import kubernetes_validate
import yaml

import cases

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/tidegate"
APPLICATION = ROOT / "tests/helm/application"
# The oldest that Chart.yaml allows, and the newest that is known.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
# Kinds of the Prometheus operator, whose schemas Kubernetes does not have.
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
RELOAD = ROOT / "docs/reload.md"
PAGES = [ROOT / "docs/deploy.md", ROOT / "docs/operations.md", ROOT / "docs/drain.md"]
# The chart itself gives the connection string and the tokens; the deadline of the drain decides how long the kubelet waits.
UNTRIED = {
    "upstream": {"uri", "uri_file"},
    "drain": {"deadline"},
    "admin": {"token", "token_file", "read_token", "read_token_file"},
}
MOUNTED = "/etc/tidegate/"

# Each manifest would have the definitions read anew otherwise.
kubernetes_validate.utils.schema_contents = functools.lru_cache(maxsize=None)(
    kubernetes_validate.utils.schema_contents
)


def render(chart, values, release="rel"):
    """All manifests, and the notes."""
    rendered = chart.render(values, name=release, namespace="ns")
    texts = {path: text for path, text in rendered.items() if not path.endswith(("NOTES.txt", ".tpl"))}
    manifests = [one for text in texts.values() for one in yaml.safe_load_all(text) if one]
    return manifests, "".join(text for path, text in rendered.items() if path.endswith("NOTES.txt"))


def find(manifests, kind, name=None):
    return [m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"])]


def pods(manifests):
    """The specification and the labels of every pod."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["spec"], manifest["metadata"]["labels"]
        elif manifest["kind"] == "Deployment":
            template = manifest["spec"]["template"]
            yield template["spec"], template["metadata"]["labels"]


def validated(manifests):
    """What the schemas of Kubernetes say."""
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        if manifest["kind"] in FOREIGN:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name} is refused by Kubernetes {version}: {list(error.path)}: {error.message}"


def restricted(pod, own):
    """What the profile "restricted" of the Pod Security Standards forbids. `own` are the pod's settings, which may be another chart's."""
    if own and pod.get("automountServiceAccountToken") is not False:
        yield "the pod gets a token of its service account"
    for container in pod["containers"] + pod.get("initContainers", []):
        if not own and container["name"] != "tidegate":
            continue
        context = container.get("securityContext", {})
        expected = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for key, value in expected.items():
            if context.get(key) != value:
                yield f"{container['name']}: {key} is {context.get(key)}"
        if not context.get("runAsUser", 0) > 0:
            yield f"{container['name']}: runs as root"
        if ":latest" in container["image"] or ":" not in container["image"]:
            yield f"{container['name']}: the image {container['image']} is not pinned"


def coherent(manifests):
    """Names that lead to something: selectors to pods, mounts to volumes, ports of Services to those of containers."""
    by_labels = [labels for _, labels in pods(manifests)]
    deployed = [m["spec"]["template"]["metadata"]["labels"] for m in find(manifests, "Deployment")]
    selectors = [m["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget") for m in find(manifests, kind)]
    selectors += [m["spec"]["selector"] for m in find(manifests, "Service")]
    selectors += [m["spec"]["podSelector"]["matchLabels"] for m in find(manifests, "NetworkPolicy")]
    for selector in selectors:
        chosen = [labels for labels in by_labels if selector.items() <= labels.items()]
        if chosen != deployed:
            yield f"the selector {selector} does not choose the Deployment's pods alone"
    for monitor in find(manifests, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        chosen = [s for s in find(manifests, "Service") if wanted.items() <= s["metadata"]["labels"].items()]
        if len(chosen) != 1 or chosen[0]["spec"]["ports"][0]["name"] != "admin":
            yield f"the ServiceMonitor chooses {len(chosen)} Services"
    for pod, _ in pods(manifests):
        volumes = [volume["name"] for volume in pod.get("volumes", [])]
        containers = pod["containers"] + pod.get("initContainers", [])
        mounts = [mount for container in containers for mount in container.get("volumeMounts", [])]
        if sorted(volumes) != sorted(mount["name"] for mount in mounts):
            yield f"volumes {volumes} are not what is mounted: {mounts}"
        ports = [port for container in containers for port in container.get("ports", [])]
        if len({port["containerPort"] for port in ports}) != len(ports) or len({port["name"] for port in ports}) != len(ports):
            yield f"ports collide: {ports}"
    names = {port["name"] for pod, _ in pods(manifests) for c in pod["containers"] for port in c.get("ports", [])}
    targets = [port["targetPort"] for service in find(manifests, "Service") for port in service["spec"]["ports"]]
    targets += [port["port"] for policy in find(manifests, "NetworkPolicy") for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    for target in set(targets) - names:
        yield f"no container has the port {target}"
    for policy in find(manifests, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            if not rule["from"]:
                yield f"{rule['ports']} are open to everybody"
            if not any(admits(peer, manifests) for peer in rule["from"]):
                yield f"the pod of helm test does not reach {rule['ports']}"
    # Secrets and ConfigMaps of the release that pods mount are in the release.
    made = {m["metadata"]["name"] for kind in ("Secret", "ConfigMap") for m in find(manifests, kind)}
    for pod, _ in pods(manifests):
        for volume in pod.get("volumes", []):
            name = volume.get("secret", {}).get("secretName") or volume.get("configMap", {}).get("name")
            if name and str(name).startswith("rel-") and name not in made:
                yield f"nothing makes {name}"


def admits(peer, manifests):
    """Whether the peer of a NetworkPolicy is the pod of `helm test`."""
    wanted = peer.get("podSelector", {}).get("matchLabels", {})
    return any(wanted and wanted.items() <= pod["metadata"]["labels"].items() for pod in find(manifests, "Pod"))


def proxy_toml(manifests):
    [text] = [m["data"]["proxy.toml"] for m in find(manifests, "ConfigMap") if "proxy.toml" in m["data"]]
    return text


def users_readable(manifests):
    """A Secret's file belongs to root and the pod's group: the users file must be for nobody else."""
    for pod, _ in pods(manifests):
        for volume in pod.get("volumes", []):
            if volume["name"] == "tidegate-users" and volume["secret"]["defaultMode"] & 0o027:
                yield f"the users file has mode {volume['secret']['defaultMode']:o}, which Tidegate refuses"


def asked(manifests):
    """The arguments by which probes and tests have the program ask a running one."""
    for pod, _ in pods(manifests):
        for container in pod["containers"] + pod.get("initContainers", []):
            commands = [container.get(probe, {}).get("exec", {}).get("command") for probe in ("startupProbe", "livenessProbe")]
            yield from (tuple(command[1:]) for command in commands if command)
            if container.get("args", [""])[0] == "status":
                yield tuple(container["args"])


class Check:
    """Collects what is wrong."""

    def __init__(self, tidegate, secrets):
        self.tidegate = tidegate
        self.secrets = secrets
        self.problems = []
        self.configurations = set()
        self.understood = set()

    def add(self, where, problems):
        self.problems += [f"{json.dumps(where)}: {problem}" for problem in problems]

    def rendered(self, chart, values):
        try:
            return render(chart, values)
        except helm_python.HelmError as error:
            self.add(values, [f"it is not rendered: {error}"])
            return [], "mongodb://"

    def manifests(self, values, manifests, own):
        if not manifests:
            return
        self.add(values, validated(manifests))
        for pod, _ in pods(manifests):
            self.add(values, restricted(pod, own))
        self.add(values, coherent(manifests))
        self.add(values, users_readable(manifests))
        for arguments in set(asked(manifests)) - self.understood:
            self.understood.add(arguments)
            # Whether anybody answers does not matter here; 2 says that the arguments are wrong.
            done = subprocess.run([self.tidegate, *arguments], capture_output=True, text=True)
            if done.returncode == 2:
                self.add(values, [f"tidegate {' '.join(arguments)}: {done.stderr}"])
        self.configuration(values, proxy_toml(manifests), manifests)

    def configuration(self, values, text, manifests):
        """The proxy's own check of what was rendered, with the Secrets of `secrets` in place of those that are mounted."""
        for name in "upstream", "upstream-tls", "tls", "users", "admin", "admin-tls":
            mounted = any(v["name"] == f"tidegate-{name}" for pod, _ in pods(manifests) for v in pod.get("volumes", []))
            if f'"{MOUNTED}{name}/' in text and not mounted:
                self.add(values, [f"{MOUNTED}{name} is not mounted"])
        text = text.replace(MOUNTED, f"{self.secrets}/")
        if text in self.configurations:
            return
        self.configurations.add(text)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            checked = subprocess.run([self.tidegate, "check", "--config", file.name], capture_output=True, text=True)
        if checked.returncode != 0:
            self.add(values, [f"tidegate check: {checked.stderr}\n{text}"])

    def drain_fits(self, chart):
        for deadline, expected in (("25s", 30), ("1m 30s", 95), ("500ms", 6), ("1h", 3605)):
            manifests, _ = render(chart, cases.merged(cases.DEFAULTS, {"config": {"drain": {"deadline": deadline}}}))
            found = find(manifests, "Deployment")[0]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            if found != expected:
                self.add({"deadline": deadline}, [f"terminationGracePeriodSeconds is {found}, not {expected}"])

    def restarts(self, chart):
        """What a reload can do replaces no pod, unless it always shall."""

        def checksum(config, how):
            values = cases.merged(cases.DEFAULTS, {"restartOnChange": how, "config": config})
            [deployment] = find(render(chart, values)[0], "Deployment")
            return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        live = {"pool": {"max_size": 5}, "listener": [{"read_only": True}], "failover": {"hold": "9s"}}
        restart = {"listener": [{"presents_as": "replica_set"}]}
        unwatched = {"reload": {"watch": "off"}}
        for before, config, how, replaces in (
            ({}, live, "needed", False),
            ({}, live, "always", True),
            ({}, restart, "needed", True),
            (unwatched, live | unwatched, "needed", True),
        ):
            if (checksum(config, how) != checksum(before, how)) != replaces:
                self.add({"config": config, "restartOnChange": how}, [f"replaces the pods: {not replaces}"])

    def agrees_with_reload(self, chart):
        """What docs/reload.md says to take effect with the next start replaces the pods, and nothing else does."""
        schema = json.loads((CHART / "values.schema.json").read_text())["$defs"]["config"]["properties"]
        sections = {name: section.get("items", section)["properties"] for name, section in schema.items()}
        waits = set()
        for cell in re.findall(r"^\| (.*?) \| with the next start", RELOAD.read_text(), re.M):
            section, *keys = [re.sub(r"[][]", "", word) for word in re.findall(r"`([^`]+)`", cell)]
            section, *more = section.split()
            keys = sections[section] if "all keys" in cell else more + keys
            waits |= {(section, key) for key in keys}
        before = self.checksum(chart, {})
        for section, keys in sections.items():
            for key in set(keys) - UNTRIED.get(section, set()):
                # The chart gives the admin endpoint's certificate itself.
                inner = {name: "x" for name in keys[key].get("properties", {}) if (section, name) != ("admin", "certificate")}
                port = {"admin": 9218, "listener": 27020}.get(section)
                plain = "boolean" not in keys[key].get("type", []) and (f"[::]:{port}" if key == "address" else "x")
                one = {key: inner or plain or True}
                after = self.checksum(chart, {section: [one] if section == "listener" else one})
                # A listener's address is a port of the pod.
                expected = (section, key) in waits or (section, key) == ("listener", "address")
                if (after != before) != expected:
                    self.add({section: one}, [f"replaces the pods: {after != before}, which docs/reload.md does not say"])

    def checksum(self, chart, config):
        values = cases.merged(cases.DEFAULTS, {"restartOnChange": "needed", "config": config})
        [deployment] = find(render(chart, values)[0], "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    def names(self, chart):
        """Releases of any name, and two whose names differ in their last letter, do not get into each other's way."""
        seen = set()
        for release in "true", "1e3", "a" * 53, "a" * 52 + "b":
            manifests, _ = render(chart, cases.merged(cases.DEFAULTS, {"monitoring": {"dashboard": {"enabled": True}}}), release)
            self.manifests({"release": release}, manifests, own=True)
            for manifest in manifests:
                name = (manifest["kind"], manifest["metadata"]["name"])
                if name in seen or len(name[1]) > 63:
                    self.add({"release": release}, [f"{name} is taken, or too long"])
                seen.add(name)

    def refused(self, chart):
        for values, said in cases.WRONG:
            # A change that the schema does not know may not hide behind what is missing.
            values = cases.merged(cases.DEFAULTS, values)
            try:
                chart.validate_schema(values)
                self.add(values, ["the schema lets it pass"])
            except helm_python.HelmValuesError as error:
                if said not in str(error):
                    self.add(values, [f"the schema does not name {said}: {error}"])
        for values, said in cases.CONTRADICTORY:
            values = values if not values or values.get("upstream") else cases.merged(cases.DEFAULTS, values)
            try:
                render(chart, values)
                self.add(values, ["it is rendered"])
            except helm_python.HelmRenderError as error:
                if said not in str(error):
                    self.add(values, [f"the error does not name {said}: {error}"])

    def lint(self, path, values):
        report = helm_python.lint(path, values, strict=True)
        told = [message for message in report["messages"] if message["severity"] >= 2]
        self.add(values, [f"lint: {one}" for one in report["errors"] + told])


def known(schema, path):
    """Whether values may have something at this path, as in `a.b[0].c`."""
    for key in re.findall(r"[^.\[\]]+", path):
        if schema.get("type") == "object" and "properties" not in schema:
            return True
        schema = schema.get("items") if key.isdigit() else schema.get("properties", {}).get(key)
        if schema is None:
            return False
    return True


def documented(chart):
    """What the pages say of values: examples render, and paths lead to something. Gives each example, and what is wrong."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"]["config"] = schema["$defs"]["config"]
    examples, problems = [], []
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"^ *```yaml\n(.*?)^ *```", text, re.M | re.S):
            # Those with templates are of another chart.
            if "{{" not in block:
                examples.append(yaml.safe_load(textwrap.dedent(block)))
        paths = re.findall(r"--set ([\w.\[\]]+)=", text) + re.findall(r"`([a-zA-Z]+(?:\.[\w\[\]]+)+)(?:: [^`]*)?`", text)
        for path in paths:
            if path.split(".")[0] in schema["properties"] and not known(schema, path):
                problems.append(f"{page.name}: the values have no {path}")
    return examples, problems


def with_sidecar(folder):
    """The example application with the chart as its dependency, as `helm dependency update` makes it."""
    shutil.copytree(APPLICATION, folder, dirs_exist_ok=True)
    shutil.copytree(CHART, pathlib.Path(folder) / "charts/tidegate")
    return folder


def check(tidegate, secrets):
    """All that is wrong with the chart."""
    it = Check(tidegate, secrets)
    count = 0
    chart = helm_python.Chart.load(CHART)
    for values in cases.good("deployment"):
        manifests, notes = it.rendered(chart, values)
        it.manifests(values, manifests, own=True)
        if "mongodb://" not in notes:
            it.add(values, [f"the notes do not say where to connect: {notes}"])
        count += 1
    it.drain_fits(chart)
    it.restarts(chart)
    it.agrees_with_reload(chart)
    examples, problems = documented(chart)
    it.add("docs", problems + ([] if len(examples) >= 3 else ["the examples are gone"]))
    for values in examples:
        values = cases.merged(cases.DEFAULTS, values)
        it.manifests(values, it.rendered(chart, values)[0], own=True)
    it.names(chart)
    it.refused(chart)
    for values in ({}, cases.DEFAULTS, cases.merged(cases.DEFAULTS, {"mode": "sidecar"})):
        it.lint(CHART, values)
    with tempfile.TemporaryDirectory() as folder:
        application = helm_python.Chart.load(with_sidecar(folder))
        it.lint(folder, {})
        for values in cases.good("sidecar"):
            # In place of the example's own Secret.
            values = {"tidegate": cases.merged({"upstream": {"existingSecret": ""}}, values)}
            manifests, _ = it.rendered(application, values)
            it.manifests(values, manifests, own=False)
            it.add(values, sidecar(manifests))
            count += 1
    return it.problems, f"{count} values, {len(it.configurations)} configurations"


def sidecar(manifests):
    """A native sidecar: among the init containers, there to stay, and nothing of a fleet beside it."""
    if not manifests:
        return
    [deployment] = find(manifests, "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["initContainers"]
    if container.get("restartPolicy") != "Always":
        yield "the sidecar does not stay"
    if "startupProbe" not in container:
        yield "the application would not wait for the sidecar"
    for kind in "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceAccount", "NetworkPolicy":
        if find(manifests, kind):
            yield f"there is a {kind}"


def defaults():
    """proxy.toml as the chart's defaults have it."""
    chart = helm_python.Chart.load(CHART)
    return proxy_toml(render(chart, cases.DEFAULTS)[0])
