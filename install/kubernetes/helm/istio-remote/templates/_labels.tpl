{{/* Labels of every object: a dict of the root and the object's app. */}}
{{- define "isthmus.labels" -}}
app: {{ .app }}
chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
heritage: {{ .root.Release.Service }}
release: {{ .root.Release.Name }}
{{- end -}}
