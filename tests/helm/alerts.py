"""What each alert fires on: a healthy proxy's metrics, of which some are not."""

NODE = 'instance="p",node="db1:27017"'
IN_USE = f'tidegate_pool_connections{{{NODE},state="in_use"}}'
UNKNOWN = f'tidegate_node_state{{{NODE},state="unknown"}}'
CERTIFICATE = 'tidegate_certificate_expiry_seconds{instance="p",used_by="listener"}'
BUFFER = '{instance="p",direction="reply"}'
DAY = 86400


def own(metric):
    return f'tidegate_{metric}{{instance="p"}}'


def node(metric):
    return f"tidegate_{metric}{{{NODE}}}"


# Series in promtool's notation: a value and how often it stays, or start, step and how often.
HEALTHY = {
    'tidegate_build_info{instance="p",version="1"}': "1x60",
    own("ready"): "1x60",
    own("draining"): "0x60",
    own("primary_known"): "1x60",
    own("commands_total"): "0+6000x60",
    own("commands_failed_total"): "0x60",
    own("commands_overloaded_total"): "0x60",
    own("outcomes_unknown_total"): "3x60",
    own("protocol_errors_total"): "0+1x60",
    own("gate_oldest_wait_seconds"): "0 0 5 8 0x60",
    own("gate_paused"): "0x60",
    own("holds_expired_total"): "7x60",
    own("holds_refused_total"): "1x60",
    node("pool_queue_timeouts_total"): "2x60",
    node("pool_queue_wait_seconds_total"): "0+6x60",
    node("pool_queue_waits_total"): "0+600x60",
    IN_USE: "30x60",
    node("pool_connections_max"): "100x60",
    node("pool_connect_failures_total"): "4x60",
    UNKNOWN: "0x60",
    node("node_staleness_seconds"): "5x60",
    own("clients"): "500x60",
    own("clients_max"): "10000x60",
    own("clients_refused_total"): "9x60",
    own("logins_refused_total"): "0+2x60",
    "tidegate_buffer_used_bytes" + BUFFER: "1000x60",
    "tidegate_buffer_limit_bytes" + BUFFER: "1000000x60",
    CERTIFICATE: f"{90 * DAY}x60",
    own("config_last_reload_success"): "1x60",
    own("config_waiting_for_restart"): "0x60",
    own("audit_events_lost_total"): "0x60",
    own("clients_drained_late_total"): "0x60",
}
# The alert, and what differs from a healthy proxy. None: the series is not there.
FIRES = {
    "TidegateAbsent": {'tidegate_build_info{instance="p",version="1"}': None},
    "TidegateNotReady": {own("ready"): "0x60"},
    "TidegateNoPrimary": {own("primary_known"): "0x60"},
    "TidegateCommandsFail": {own("commands_failed_total"): "0+40x60", own("commands_overloaded_total"): "0+40x60"},
    "TidegateOutcomesUnknown": {own("outcomes_unknown_total"): "0x35 1x20"},
    "TidegateProtocolErrors": {own("protocol_errors_total"): "0+12x60"},
    "TidegateGateHolds": {own("gate_oldest_wait_seconds"): "0x35 11x20"},
    "TidegateHoldsFail": {own("holds_refused_total"): "0x37 1x20"},
    "TidegatePaused": {own("gate_paused"): "1x60", own("gate_oldest_wait_seconds"): "20x60"},
    "TidegatePoolTimeouts": {node("pool_queue_timeouts_total"): "0x37 1x20"},
    "TidegatePoolWaits": {node("pool_queue_wait_seconds_total"): "0+90x60"},
    "TidegatePoolExhausted": {IN_USE: "100x60"},
    "TidegateConnectFails": {node("pool_connect_failures_total"): "0+1x60"},
    "TidegateNodeUnreachable": {UNKNOWN: "1x60"},
    "TidegateNodeStale": {node("node_staleness_seconds"): "61x60"},
    "TidegateClientsNearLimit": {own("clients"): "8100x60"},
    "TidegateClientsRefused": {own("clients_refused_total"): "9x37 10x20"},
    "TidegateLoginsRefused": {own("logins_refused_total"): "0+15x60"},
    "TidegateBuffersFull": {"tidegate_buffer_used_bytes" + BUFFER: "950000x60"},
    "TidegateCertificateExpires": {CERTIFICATE: f"{10 * DAY}x60"},
    "TidegateCertificateExpiresSoon": {CERTIFICATE: f"{DAY}x60"},
    "TidegateReloadFailed": {own("config_last_reload_success"): "0x60"},
    "TidegateRestartWaits": {own("config_waiting_for_restart"): "2x120"},
    "TidegateAuditEventsLost": {own("audit_events_lost_total"): "0x35 5x20"},
    "TidegateDrainedLate": {own("clients_drained_late_total"): "0x35 2x20"},
}
# What must not wake anybody, though it is near.
SILENT = [
    {},
    # A drain is no failure, and an election shorter than a minute none either.
    {own("ready"): "0x60", own("draining"): "1x60"},
    {own("primary_known"): "1x39 0x20"},
    {own("ready"): "1x39 0x20"},
    {own("commands_failed_total"): "0+50x60"},
    {UNKNOWN: "0x39 1x20"},
    {own("clients"): "7900x60"},
    {IN_USE: "100x35 99 100x20"},
    {CERTIFICATE: f"{15 * DAY}x60"},
    # No commands at all are no failures.
    {own("commands_total"): "0x60"},
]


def tests(rules, minutes):
    """A file for `promtool test rules`."""
    cases = [(name, changes, [name]) for name, changes in FIRES.items()]
    cases += [(f"silent {n}", changes, []) for n, changes in enumerate(SILENT)]
    return {
        "rule_files": [rules],
        "evaluation_interval": "1m",
        "tests": [one(name, changes, fire, minutes) for name, changes, fire in cases],
    }


def one(name, changes, fire, minutes):
    series = {key: value for key, value in (HEALTHY | changes).items() if value is not None}
    # `changes` may only change what a healthy proxy has.
    assert set(changes) <= set(HEALTHY), f"{name}: {set(changes) - set(HEALTHY)}"
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in fire],
            }
        ],
    }
