{{/*
What proxy.toml holds: what the chart itself has to say, and over it .Values.config, key by key.
*/}}

{{- define "tidegate.config.listener" -}}
{{- $exposed := eq .Values.mode "deployment" -}}
address: {{ printf "%s:%d" (ternary "0.0.0.0" "127.0.0.1" $exposed) (int .Values.listener.port) | quote }}
{{- if $exposed }}
advertise: {{ printf "%s:%d" (include "tidegate.host" .) (int .Values.service.port) | quote }}
{{- end }}
{{- with .Values.listener.tls }}
{{- if .existingSecret }}
tls:
  mode: {{ .mode }}
  certificate: /etc/tidegate/tls/tls.crt
  key: /etc/tidegate/tls/tls.key
  {{- if ne .clientCertificates "off" }}
  client_ca: /etc/tidegate/tls/ca.crt
  client_certificates: {{ .clientCertificates }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tidegate.config.own" -}}
upstream:
  {{- if .Values.upstream.existingSecret }}
  uri_file: {{ printf "/etc/tidegate/upstream/%s" .Values.upstream.key | quote }}
  {{- else }}
  uri: {{ .Values.upstream.uri | quote }}
  {{- end }}
{{- if .Values.usersFile.existingSecret }}
auth:
  source: file
  users_file: {{ printf "/etc/tidegate/users/%s" .Values.usersFile.key | quote }}
{{- end }}
drain:
  {{- if eq .Values.mode "sidecar" }}
  # The application has ended before a native sidecar is told to: nobody is left to wait for.
  grace: "off"
  {{- end }}
  deadline: {{ ternary "25s" "5s" (eq .Values.mode "deployment") }}
admin:
  {{- $exposed := eq (include "tidegate.exposed" .) "true" }}
  address: {{ printf "%s:%d" (ternary "0.0.0.0" "127.0.0.1" $exposed) (int .Values.admin.port) | quote }}
  {{- if $exposed }}
  token_file: /etc/tidegate/admin/{{ .Values.admin.tokens.tokenKey }}
  read_token_file: /etc/tidegate/admin/{{ .Values.admin.tokens.readTokenKey }}
  {{- if .Values.admin.tls.existingSecret }}
  tls:
    certificate: /etc/tidegate/admin-tls/tls.crt
    key: /etc/tidegate/admin-tls/tls.key
  {{- end }}
  {{- end }}
log:
  format: json
{{- end -}}

{{/* Stops where values contradict each other. */}}
{{- define "tidegate.config.validate" -}}
{{- $config := .Values.config | default dict -}}
{{- $upstream := $config.upstream | default dict -}}
{{- if or $upstream.uri $upstream.uri_file -}}
{{- fail "config.upstream: give the connection string as upstream.uri or upstream.existingSecret" -}}
{{- else if eq (empty .Values.upstream.uri) (empty .Values.upstream.existingSecret) -}}
{{- fail "upstream: give one of uri and existingSecret: the connection string of the replica set, or the Secret that holds it" -}}
{{- end -}}
{{- $admin := $config.admin | default dict -}}
{{- if and $admin.address (not (hasSuffix (printf ":%d" (int .Values.admin.port)) $admin.address)) -}}
{{- fail (printf "config.admin.address: %q does not end with admin.port, %d, where probes and Services look for it" $admin.address (int .Values.admin.port)) -}}
{{- end -}}
{{- range $key := list "token" "token_file" "read_token" "read_token_file" -}}
{{- if hasKey $admin $key -}}
{{- fail (printf "config.admin.%s: give the tokens as the Secret admin.tokens.existingSecret (in a sidecar with sidecar.exposeAdmin), so that scrapes have them and probes are answered" $key) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.admin.tokens.tokenKey .Values.admin.tokens.readTokenKey -}}
{{- fail "admin.tokens: tokenKey and readTokenKey are the same: who may read could act" -}}
{{- end -}}
{{- if hasKey ($admin.tls | default dict) "certificate" -}}
{{- fail "config.admin.tls.certificate: give it as the Secret admin.tls.existingSecret (in a sidecar with sidecar.exposeAdmin), so that probes and scrapes speak TLS" -}}
{{- end -}}
{{- if and (eq .Values.mode "sidecar") .Values.monitoring.scrape.enabled (not .Values.sidecar.exposeAdmin) -}}
{{- fail "monitoring.scrape.enabled: a sidecar's metrics can be reached from its pod alone: set sidecar.exposeAdmin, too" -}}
{{- end -}}
{{- include "tidegate.config.validate.ports" . -}}
{{- end -}}

{{/* Each port is taken once, in the pod and in the Service, and there is one to dial. */}}
{{- define "tidegate.config.validate.ports" -}}
{{- $ports := fromYamlArray (include "tidegate.ports" .) -}}
{{- $pod := list (int .Values.admin.port) -}}
{{- $service := list -}}
{{- range $ports -}}
{{- if has (int .port) $pod -}}
{{- fail (printf "listener.port, config.listener and admin.port: two of them have the port %d" (int .port)) -}}
{{- end -}}
{{- $pod = append $pod (int .port) -}}
{{- $dialled := int (ternary $.Values.service.port .port (eq .name "mongodb")) -}}
{{- if and (eq $.Values.mode "deployment") (has $dialled $service) -}}
{{- fail (printf "service.port and config.listener: the Service would have the port %d twice" $dialled) -}}
{{- end -}}
{{- $service = append $service $dialled -}}
{{- end -}}
{{- if and (eq .Values.mode "deployment") (ne "mongodb" (first $ports | default dict).name) -}}
{{- fail "config.listener[0].address: it needs a port that other pods can reach, for the Service leads there" -}}
{{- end -}}
{{- end -}}

{{/* All of it as YAML. The first listener of .Values.config is laid over the chart's own. */}}
{{- define "tidegate.config" -}}
{{- $config := fromYaml (include "tidegate.config.own" .) -}}
{{- $given := deepCopy (.Values.config | default dict) -}}
{{- $listeners := $given.listener | default (list dict) -}}
{{- $first := mergeOverwrite (fromYaml (include "tidegate.config.listener" .)) (first $listeners) -}}
{{- $all := prepend (rest $listeners) $first -}}
{{- toYaml (mergeOverwrite $config (omit $given "listener") (dict "listener" $all)) -}}
{{- end -}}

{{/*
What of the configuration has the pods replaced when it changes, by .Values.restartOnChange: all, or what a reload cannot do (docs/reload.md).
Where nobody looks at the file, that is all, too.
*/}}
{{- define "tidegate.config.restart" -}}
{{- $config := fromYaml (include "tidegate.config" .) -}}
{{- if or (eq .Values.restartOnChange "always") (eq "off" (toString ($config.reload | default dict).watch)) -}}
{{- toYaml $config -}}
{{- else -}}
{{- $listeners := list -}}
{{- range $config.listener -}}
{{- $listeners = append $listeners (pick . "address" "unix_mode" "presents_as" "advertise" "secondary_address" "advertise_secondary" "node") -}}
{{- end -}}
{{- dict
  "upstream" $config.upstream
  "listener" $listeners
  "auth" (pick ($config.auth | default dict) "source" "credential_ttl" "serve_without_login")
  "drain" (pick $config.drain "deadline")
  "admin" (pick $config.admin "address")
  "log" (pick ($config.log | default dict) "format")
  | toYaml -}}
{{- end -}}
{{- end -}}

{{/* Every TCP port that clients can reach, as YAML: name and port each. The first one is called mongodb. Other pods do not reach loopback. */}}
{{- define "tidegate.ports" -}}
{{- $config := fromYaml (include "tidegate.config" .) -}}
{{- range $i, $listener := $config.listener }}
{{- range $key := list "address" "secondary_address" }}
{{- $address := get $listener $key | default "" }}
{{- $port := regexFind ":[0-9]+$" $address | trimPrefix ":" }}
{{- if and $port (or (eq $.Values.mode "sidecar") (not (regexMatch "^(127\\.|\\[::1\\])" $address))) }}
- name: {{ if eq $key "secondary_address" }}secondary-{{ $i }}{{ else if $i }}listener-{{ $i }}{{ else }}mongodb{{ end }}
  port: {{ $port }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A duration such as "1h 30m" or "500ms" in whole seconds, rounded up. */}}
{{- define "tidegate.seconds" -}}
{{- $sum := 0.0 -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "sec" 1.0 "m" 60.0 "min" 60.0 "h" 3600.0 -}}
{{- if not (regexMatch "^([0-9]+ *(ms|s|sec|m|min|h) *)+$" (toString .)) -}}
{{- fail (printf "config.drain: %q: write durations in h, m, s and ms, as in \"1m 30s\"" (toString .)) -}}
{{- end -}}
{{- range $part := regexFindAll "[0-9]+ *[a-z]+" . -1 -}}
{{- $unit := regexFind "[a-z]+" $part -}}
{{- $sum = addf $sum (mulf (float64 (regexFind "[0-9]+" $part)) (get $units $unit)) -}}
{{- end -}}
{{- ceil $sum -}}
{{- end -}}

{{/* After how long the kubelet kills: the drain's deadline, and what closing at it takes. */}}
{{- define "tidegate.termination" -}}
{{- $config := fromYaml (include "tidegate.config" .) -}}
{{- $least := add 5 (include "tidegate.seconds" $config.drain.deadline | int) -}}
{{- $given := .Values.terminationGracePeriodSeconds | int -}}
{{- if and $given (lt $given (int $least)) -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is shorter than config.drain.deadline (%s) and 5 seconds more: clients would be cut off in mid-command" $given $config.drain.deadline) -}}
{{- end -}}
{{- $given | default $least -}}
{{- end -}}
