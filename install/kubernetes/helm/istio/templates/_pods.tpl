{{/* Labels of every object: a dict of the root and the object's app. */}}
{{- define "isthmus.labels" -}}
app: {{ .app }}
chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
heritage: {{ .root.Release.Service }}
release: {{ .root.Release.Name }}
{{- end -}}

{{/*
The parts that all pods of the control plane share. Each takes a dict of the root, the app, its label `istio`, and its own
values.
*/}}
{{- define "isthmus.annotations" -}}
sidecar.istio.io/inject: "false"
{{- with .values.podAnnotations }}
{{ toYaml . | trim }}
{{- end }}
{{- end -}}

{{- define "isthmus.pod" -}}
{{- with .root.Values.global.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- $security := .root.Values.global.podSecurityContext }}
securityContext:
{{- if (default dict $security.seccompProfile).type }}
{{ toYaml $security | trim | indent 2 }}
{{- else }}
{{ omit $security "seccompProfile" | toYaml | trim | indent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
{{ toYaml . | trim | indent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
{{ toYaml . | trim | indent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
{{ toYaml . | trim | indent 2 }}
{{- end }}
{{- end -}}

{{- define "isthmus.container" -}}
image: {{ printf "%s/pilot:%s" .root.Values.global.hub (include "isthmus.text" .root.Values.global.tag) | quote }}
imagePullPolicy: {{ .root.Values.global.imagePullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
{{- with .values.resources }}
resources:
{{ toYaml . | trim | indent 2 }}
{{- end }}
{{- end -}}

{{/* A value as it was written: helm reads a number in a file as a float, whose own text may be 2.0261123e+07. */}}
{{- define "isthmus.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{- define "isthmus.env" -}}
{{- range $name, $value := .values.env }}
- name: {{ $name }}
  value: {{ include "isthmus.text" $value | quote }}
{{- end }}
{{- end -}}

{{/* The arguments: a log level, those of the component itself as `own`, and the operator's. */}}
{{- define "isthmus.args" -}}
- --log-level={{ .values.logLevel }}
{{- with .own }}
- {{ . }}
{{- end }}
{{- range .values.args }}
- {{ include "isthmus.text" . | quote }}
{{- end }}
{{- end -}}

{{/* A dict of the HTTP port's name, and of its paths that say whether it can serve and whether it lives. */}}
{{- define "isthmus.probes" -}}
readinessProbe:
  httpGet:
    path: {{ .ready }}
    port: {{ .port }}
  periodSeconds: 2
  timeoutSeconds: 3
livenessProbe:
  httpGet:
    path: {{ .alive }}
    port: {{ .port }}
  initialDelaySeconds: 10
  periodSeconds: 10
  timeoutSeconds: 5
{{- end -}}

{{/* One pod at a time may be drained, also when there is but one: a budget that held it would hold up the node. */}}
{{- define "isthmus.budget" -}}
apiVersion: {{ .root.Values.global.apiVersions.policy }}
kind: PodDisruptionBudget
metadata:
  name: {{ .app }}
  namespace: {{ .root.Release.Namespace }}
  labels:
{{ include "isthmus.labels" . | indent 4 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      istio: {{ .istio }}
{{- end -}}
