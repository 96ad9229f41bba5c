{{/*
Renders maps as TOML. JSON's strings, numbers, booleans and lists of these are TOML, too; null leaves a key out. The keys of inner maps
(tags) are the user's and may be any text; all others the schema knows.
*/}}

{{- define "tidegate.toml.value" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $pairs = append $pairs (printf "%s = %s" (toJson $key) (include "tidegate.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}
{{- $items = append $items (include "tidegate.toml.value" .) -}}
{{- end -}}
[{{ join ", " $items }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* The keys of a section; the key "tls" holds a section of its own, which the caller writes. */}}
{{- define "tidegate.toml.keys" -}}
{{- range $key, $value := . -}}
{{- if not (or (eq $key "tls") (kindIs "invalid" $value)) }}
{{ $key }} = {{ include "tidegate.toml.value" $value }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The whole file: sections by name, [[listener]] as often as the list is long. */}}
{{- define "tidegate.toml" -}}
{{- range $name, $section := . -}}
{{- $repeated := kindIs "slice" $section -}}
{{- range $one := (ternary $section (list $section) $repeated) }}
{{ ternary (printf "[[%s]]" $name) (printf "[%s]" $name) $repeated }}
{{- include "tidegate.toml.keys" $one }}
{{ with $one.tls }}
[{{ $name }}.tls]
{{- include "tidegate.toml.keys" . }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
