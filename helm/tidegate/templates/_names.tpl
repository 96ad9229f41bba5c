{{/* Names and labels. Each template takes the chart's root context; from another chart that is .Subcharts.tidegate. */}}

{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.fullname" -}}
{{- $name := include "tidegate.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ include "tidegate.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The pod of `helm test` is none of the fleet. */}}
{{- define "tidegate.test.labels" -}}
app.kubernetes.io/name: {{ printf "%s-test" (include "tidegate.name" .) | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/component: proxy
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tidegate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The Secret that holds the admin endpoint's tokens. */}}
{{- define "tidegate.tokens" -}}
{{- default (printf "%s-admin" (include "tidegate.fullname" .)) .Values.admin.tokens.existingSecret -}}
{{- end -}}

{{/* "true" where the admin endpoint can be reached from other pods: always but in a sidecar that does not ask for it. */}}
{{- define "tidegate.exposed" -}}
{{- if or (eq .Values.mode "deployment") .Values.sidecar.exposeAdmin -}}true{{- end -}}
{{- end -}}

{{/* By which name the admin endpoint's certificate is for it. */}}
{{- define "tidegate.adminHost" -}}
{{ include "tidegate.fullname" . }}-admin.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* By which name applications find the fleet. */}}
{{- define "tidegate.host" -}}
{{ include "tidegate.fullname" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}
