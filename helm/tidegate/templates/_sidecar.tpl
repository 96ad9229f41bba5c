{{/*
For charts that have this one as a dependency with mode "sidecar". In the pod's template of such a chart:

    initContainers:
      {{- include "tidegate.sidecar.initContainer" .Subcharts.tidegate | nindent 6 }}
    containers:
      ...
    volumes:
      {{- include "tidegate.sidecar.volumes" .Subcharts.tidegate | nindent 6 }}

The application finds the whole set at mongodb://127.0.0.1:27017/. This chart brings the ConfigMap.
*/}}

{{- define "tidegate.sidecar.check" -}}
{{- if ne .Values.mode "sidecar" -}}
{{- fail (printf "tidegate.mode is %q: set it to \"sidecar\" to include the sidecar" .Values.mode) -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.sidecar.initContainer" -}}
{{- include "tidegate.sidecar.check" . -}}
-
  {{- include "tidegate.container" . | nindent 2 }}
{{- end -}}

{{- define "tidegate.sidecar.volumes" -}}
{{- include "tidegate.sidecar.check" . -}}
{{- include "tidegate.volumes" . -}}
{{- end -}}

{{/* An annotation for the pod, by which it is replaced when the sidecar's configuration changes (restartOnChange). */}}
{{- define "tidegate.sidecar.checksum" -}}
checksum/tidegate: {{ include "tidegate.config.restart" . | sha256sum }}
{{- end -}}
