"""Values by which the chart is tried: good ones, each with what is special about it, and wrong ones."""

import itertools
import random

URI = {"uri": "mongodb://db1.example,db2.example/?replicaSet=rs"}
DEFAULTS = {"upstream": URI}
LISTENERS = [{"read_preference": "nearest"}, {"address": "0.0.0.0:27019", "read_only": True, "deny_commands": ["drop"]}]

# What may be chosen apart from all else, by name; each name has its ways.
CHOICES = {
    "upstream": [
        {},
        {"upstream": {"existingSecret": "uri"}},
        {"upstream": {"existingSecret": "uri", "key": "string", "tls": {"existingSecret": "ca"}}},
        # As YAML these would be numbers.
        {"upstream": {"existingSecret": "123", "tls": {"existingSecret": "1e3"}}},
    ],
    "listener": [
        {},
        {"listener": {"port": 27018}, "service": {"port": 27018, "type": "LoadBalancer", "annotations": {"a": "b"}}},
        {"listener": {"tls": {"existingSecret": "server"}}},
        {"listener": {"tls": {"existingSecret": "server", "mode": "allow", "clientCertificates": "optional"}}},
        {"listener": {"tls": {"existingSecret": "server", "clientCertificates": "required"}}},
    ],
    "users": [{}, {"usersFile": {"existingSecret": "users"}}],
    "admin": [
        {},
        {"admin": {"port": 9999, "tokens": {"existingSecret": "tokens", "tokenKey": "on", "readTokenKey": "1"}}},
        {"admin": {"tls": {"existingSecret": "admin-tls"}}},
    ],
    "config": [
        {},
        {"config": {"limits": {"buffer_bytes": 1073741824}, "pool": {"max_size": 50, "idle_timeout": "off"}, "listener": LISTENERS}},
        {"config": {"listener": [{"read_preference": {"mode": "nearest", "tags": [{"dc": "ams", "a b.\"c": "="}, {}], "max_staleness": "120s"}}]}},
        {"config": {"listener": [{"presents_as": "replica_set", "secondary_address": "0.0.0.0:27020", "advertise_secondary": "two.example:27020"}]}},
        {"config": {"drain": {"deadline": "1m 30s", "grace": "500ms"}, "log": {"level": "debug"}}},
        # One for who comes by `kubectl port-forward`, which other pods do not reach.
        {"config": {"listener": [{}, {"address": "127.0.0.1:27030", "node": "db1.example:27017", "advertise": "127.0.0.1:27030"}]}},
    ],
    "image": [
        {},
        {"image": {"repository": "registry.example:5000/a/tidegate", "tag": "1.2.3", "pullPolicy": "Always"}, "imagePullSecrets": [{"name": "pull"}]},
        {"image": {"digest": "sha256:" + "0" * 64}},
    ],
    "extra": [
        {},
        {
            "extraEnv": [{"name": "TIDEGATE_LOG", "value": "debug"}],
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
            "commonLabels": {"team": "sea"},
        },
    ],
    "names": [{}, {"fullnameOverride": "gate"}, {"nameOverride": "sluice", "clusterDomain": "example.org"}],
    "monitoring": [
        {},
        {"sidecar": {"exposeAdmin": True}, "monitoring": {"labels": {"release": "p"}, "scrape": {"enabled": True, "podLabels": {"app": "shop"}}, "rules": {"enabled": True}, "dashboard": {"enabled": True}}},
    ],
}
# Those that concern a fleet alone.
FLEET = {
    "scale": [
        {},
        {"autoscaling": {"enabled": True}},
        {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 9, "targetUpstreamWait": "20m"}, "podDisruptionBudget": {"maxUnavailable": "50%"}},
        {"replicaCount": 1, "podDisruptionBudget": {"enabled": False}},
    ],
    "network": [
        {},
        {"networkPolicy": {"enabled": True}},
        {"networkPolicy": {"enabled": True, "clients": [], "admin": []}},
        {
            "networkPolicy": {
                "enabled": True,
                "clients": [{"namespaceSelector": {"matchLabels": {"name": "shop"}}}],
                "egress": [{"ports": [{"port": 27017}]}, {"ports": [{"port": 53, "protocol": "UDP"}]}],
            }
        },
    ],
    "account": [{}, {"serviceAccount": {"create": False, "name": "other"}}, {"serviceAccount": {"annotations": {"a": "b"}}}],
    "place": [
        {},
        {
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]}}},
            "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}],
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "nodeSelector": {"disk": "none"},
            "priorityClassName": "high",
            "podLabels": {"l": "1"},
            "podAnnotations": {"a": "2"},
            "terminationGracePeriodSeconds": 120,
            "restartOnChange": "needed",
        },
    ],
}
SIDECAR = {"admin address": [{}, {"sidecar": {"exposeAdmin": True}}]}

# Values that the schema must refuse, and what it must say.
WRONG = [
    ({"replicas": 2}, "replicas"),
    ({"mode": "daemonset"}, "mode"),
    ({"replicaCount": "2"}, "replicaCount"),
    ({"upstream": {"uri": "localhost:27017"}}, "uri"),
    ({"upstream": {"secret": "x"}}, "secret"),
    ({"upstream": {"existingSecret": "No Capitals"}}, "existingSecret"),
    ({"listener": {"port": 0}}, "port"),
    ({"listener": {"tls": {"mode": "prefer"}}}, "mode"),
    ({"listener": {"tls": {"clientCertificates": True}}}, "clientCertificates"),
    ({"service": {"port": 70000}}, "port"),
    ({"config": {"pol": {}}}, "pol"),
    ({"config": {"pool": {"maxSize": 1}}}, "maxSize"),
    ({"config": {"listener": {"address": "x"}}}, "listener"),
    ({"config": {"listener": [{"adress": "x"}]}}, "adress"),
    ({"config": {"listener": [{"tls": {"cert": "x"}}]}}, "cert"),
    ({"config": {"admin": {"tls": {"mode": "x"}}}}, "mode"),
    ({"image": {"tag": "a b"}}, "tag"),
    ({"image": {"repository": "tidegate:latest"}}, "repository"),
    ({"image": {"digest": "sha256:1"}}, "digest"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    ({"podDisruptionBudget": {"maxUnavailable": "0%"}}, "maxUnavailable"),
    # A bare `off` of YAML.
    ({"config": {"pool": {"idle_timeout": False}}}, "idle_timeout"),
    ({"config": {"listener": [{"read_only": "yes"}]}}, "read_only"),
    ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name"),
    ({"podLabels": {"app.kubernetes.io/instance": "x"}}, "app.kubernetes.io/instance"),
    ({"fullnameOverride": "-x"}, "fullnameOverride"),
    ({"autoscaling": {"targetUpstreamWait": "20ms"}}, "targetUpstreamWait"),
    ({"terminationGracePeriodSeconds": -1}, "terminationGracePeriodSeconds"),
    ({"monitoring": {"scrape": {"interval": 15}}}, "interval"),
    ({"resources": "none"}, "resources"),
]
# Values that are right each for itself but do not go together, and what must be said of them.
CONTRADICTORY = [
    ({}, "upstream"),
    ({"terminationGracePeriodSeconds": 20}, "config.drain.deadline"),
    ({"config": {"drain": {"deadline": "5 fortnights"}}}, "config.drain"),
    ({"config": {"drain": {"deadline": "1.5s"}}}, "config.drain"),
    ({"config": {"drain": {"deadline": 30}}}, "config.drain"),
    ({"config": {"drain": {"deadline": "off"}}}, "config.drain"),
    # The probes of a sidecar would be refused, or would not speak TLS, and the pod restarted for ever.
    ({"mode": "sidecar", "config": {"admin": {"token_file": "/t"}}}, "admin.tokens.existingSecret"),
    ({"config": {"admin": {"token": "0123456789abcdef"}}}, "admin.tokens.existingSecret"),
    ({"config": {"admin": {"tls": {"certificate": "/c"}}}}, "admin.tls.existingSecret"),
    ({"admin": {"tokens": {"tokenKey": "t", "readTokenKey": "t"}}}, "admin.tokens"),
    ({"mode": "sidecar", "monitoring": {"scrape": {"enabled": True, "podLabels": {"a": "b"}}}}, "sidecar.exposeAdmin"),
    ({"listener": {"port": 9218}}, "port 9218"),
    ({"listener": {"port": 27018}, "config": {"listener": [{}, {"address": "0.0.0.0:27017"}]}}, "port 27017 twice"),
    ({"config": {"listener": [{"address": "/run/tidegate.sock"}]}}, "config.listener[0].address"),
    ({"config": {"listener": [{"address": "127.0.0.1:27017"}]}}, "config.listener[0].address"),
    ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "minReplicas"),
    ({"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}, "resources.requests.cpu"),
    ({"config": {"admin": {"address": "0.0.0.0:1"}}}, "admin.port"),
    ({"config": {"admin": {"address": "off"}}}, "admin.port"),
    ({"upstream": {"uri": "mongodb://a", "existingSecret": "b"}}, "upstream"),
]


def merged(*parts):
    """The parts laid over each other, maps key by key."""
    result = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def good(mode):
    """Each way of each choice alone, and many of them together: the same ones at every run."""
    choices = CHOICES | (FLEET if mode == "deployment" else SIDECAR)
    base = {"mode": mode}
    complete = lambda values: values if values.get("upstream") else merged(values, DEFAULTS)
    for name, ways in choices.items():
        for way in ways:
            yield complete(merged(base, way))
    dice = random.Random(mode)
    for _ in itertools.repeat(None, 25):
        yield complete(merged(base, *(dice.choice(ways) for ways in choices.values())))
