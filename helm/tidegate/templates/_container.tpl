{{/* The container and its volumes, the same in both modes but for how it is probed and started. */}}

{{- define "tidegate.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Which Secret is mounted where below /etc/tidegate, as YAML. */}}
{{- define "tidegate.secrets" -}}
{{- with .Values.upstream.existingSecret }}
upstream: {{ . | quote }}
{{- end }}
{{- with .Values.upstream.tls.existingSecret }}
upstream-tls: {{ . | quote }}
{{- end }}
{{- with .Values.listener.tls.existingSecret }}
tls: {{ . | quote }}
{{- end }}
{{- with .Values.usersFile.existingSecret }}
users: {{ . | quote }}
{{- end }}
{{- if include "tidegate.exposed" . }}
admin: {{ include "tidegate.tokens" . | quote }}
{{- with .Values.admin.tls.existingSecret }}
admin-tls: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tidegate.volumes" -}}
- name: tidegate-config
  configMap:
    name: {{ include "tidegate.fullname" . }}
{{- $fleet := eq .Values.mode "deployment" }}
{{- range $folder, $secret := fromYaml (include "tidegate.secrets" .) }}
- name: tidegate-{{ $folder }}
  secret:
    secretName: {{ $secret | quote }}
    {{- /*
    Files of a Secret belong to root, and to the pod's fsGroup where it has one. The fleet's pods have it, so that nobody else need
    read them. A sidecar's pod is the application's and may have none; its mounts are this container's alone. The users file
    must not be readable by all, so with it a sidecar's pod has to have an fsGroup.
    */}}
    defaultMode: {{ if or $fleet (eq $folder "users") }}0440{{ else }}0444{{ end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.probe" -}}
{{- $root := .root -}}
{{- if include "tidegate.exposed" $root -}}
httpGet:
  path: {{ ternary "/readyz" "/livez" .ready }}
  port: admin
  {{- if $root.Values.admin.tls.existingSecret }}
  scheme: HTTPS
  {{- end }}
{{- else -}}
exec:
  command:
    - tidegate
    - status
    - --admin=http://{{ (fromYaml (include "tidegate.config" $root)).admin.address }}
    {{- if .ready }}
    - --ready
    {{- end }}
{{- end }}
{{- end -}}

{{- define "tidegate.container" -}}
name: tidegate
image: {{ include "tidegate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if eq .Values.mode "sidecar" }}
# An init container that stays: it is ready before the application starts, and ends after it.
restartPolicy: Always
{{- end }}
args: [run, --config, /etc/tidegate/config/proxy.toml]
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- if eq .Values.mode "deployment" }}
  {{- range fromYamlArray (include "tidegate.ports" .) }}
  - name: {{ .name }}
    containerPort: {{ .port }}
  {{- end }}
  {{- end }}
  - name: admin
    containerPort: {{ .Values.admin.port }}
# As long as it takes to find the set at start; afterwards livez and readyz are asked.
startupProbe:
  {{- include "tidegate.probe" (dict "root" . "ready" (eq .Values.mode "sidecar")) | nindent 2 }}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  {{- include "tidegate.probe" (dict "root" . "ready" false) | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- if eq .Values.mode "deployment" }}
readinessProbe:
  {{- include "tidegate.probe" (dict "root" . "ready" true) | nindent 2 }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
# There is no preStop hook: on SIGTERM readiness fails first, and clients are still taken for config.drain.grace.
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "tidegate.securityContext" . | nindent 2 }}
volumeMounts:
  - name: tidegate-config
    mountPath: /etc/tidegate/config
    readOnly: true
  {{- range $folder, $_ := fromYaml (include "tidegate.secrets" .) }}
  - name: tidegate-{{ $folder }}
    mountPath: /etc/tidegate/{{ $folder }}
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
