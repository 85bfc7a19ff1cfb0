{{/*
ConfigMaps `istio` and `istio-sidecar-injector`. Both charts hold this file, byte for byte: the clusters of a mesh
agree on what sidecars are told.
*/}}

{{/* MeshConfig as YAML: the operator's, with the fields that depend on the namespace filled in. */}}
{{- define "isthmus.mesh" -}}
{{- $proxy := .Values.meshConfig.defaultConfig | default (dict) -}}
{{- $port := include "isthmus.xdsPort" . -}}
rootNamespace: {{ .Values.meshConfig.rootNamespace | default .Release.Namespace }}
defaultConfig:
  discoveryAddress: {{ $proxy.discoveryAddress | default (printf "istio-pilot.%s.svc:%s" .Release.Namespace $port) | quote }}
  controlPlaneAuthPolicy: {{ $proxy.controlPlaneAuthPolicy | default (include "isthmus.authPolicy" .) }}
{{- if and (not (hasKey $proxy "statsdUdpAddress")) (.Values.statsd | default (dict "enabled" true)).enabled }}
  statsdUdpAddress: {{ printf "istio-statsd-prom-bridge.%s.svc:9125" .Release.Namespace | quote }}
{{- end }}
{{- with omit $proxy "discoveryAddress" "controlPlaneAuthPolicy" }}
{{ toYaml . | trim | indent 2 }}
{{- end }}
{{- with .Values.policy }}
{{- if not (hasKey $.Values.meshConfig "disablePolicyChecks") }}
disablePolicyChecks: {{ not .enabled }}
{{- end }}
{{- end }}
{{- with omit .Values.meshConfig "rootNamespace" "defaultConfig" }}
{{ toYaml . | trim }}
{{- end }}
{{- end -}}

{{/* How proxies and the control plane prove to each other who they are, and the port where they do. */}}
{{- define "isthmus.authPolicy" -}}
{{- if .Values.global.controlPlaneSecurityEnabled -}}MUTUAL_TLS{{- else -}}NONE{{- end -}}
{{- end -}}
{{- define "isthmus.xdsPort" -}}
{{- if .Values.global.controlPlaneSecurityEnabled -}}15012{{- else -}}15010{{- end -}}
{{- end -}}

{{/* What `isthmus inject` reads: the values of these names as JSON, as Istio's injector has them. */}}
{{- define "isthmus.injection" -}}
{{- $names := pick .Values.global "hub" "tag" "imagePullPolicy" "imagePullSecrets" "multiCluster" "network" "caAddress" "proxy" -}}
{{ dict "global" $names | toPrettyJson }}
{{- end -}}
