{{/*
ConfigMaps `istio` and `istio-sidecar-injector`. Both charts hold this file, byte for byte: the clusters of a mesh
agree on what sidecars are told.
*/}}

{{/* MeshConfig as YAML: the operator's, with the fields that depend on the namespace filled in. */}}
{{- define "isthmus.mesh" -}}
{{- $proxy := .Values.meshConfig.defaultConfig | default (dict) -}}
rootNamespace: {{ .Values.meshConfig.rootNamespace | default .Release.Namespace }}
defaultConfig:
  discoveryAddress: {{ $proxy.discoveryAddress | default (printf "istio-pilot.%s.svc:15010" .Release.Namespace) | quote }}
{{- with omit $proxy "discoveryAddress" }}
{{ toYaml . | trim | indent 2 }}
{{- end }}
{{- with omit .Values.meshConfig "rootNamespace" "defaultConfig" }}
{{ toYaml . | trim }}
{{- end }}
{{- end -}}

{{/* What `isthmus inject` reads: the values of these names as JSON, as Istio's injector has them. */}}
{{- define "isthmus.injection" -}}
{{- $names := pick .Values.global "hub" "tag" "imagePullPolicy" "imagePullSecrets" "multiCluster" "network" "proxy" -}}
{{ dict "global" $names | toPrettyJson }}
{{- end -}}
