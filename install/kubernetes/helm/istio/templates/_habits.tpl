{{/*
Values of Istio's charts that these have elsewhere, or not at all. Nobody is left to believe that they count: the schema,
which Helm 2 does not read, lets them through to here, and here they are refused with what to do. Both charts hold this
file, byte for byte.
*/}}
{{- define "isthmus.habits" -}}
{{- $webhook := "no webhook injects sidecars; run isthmus inject on the application's files" -}}
{{- $checked := "the schemas of the custom kinds and pilot check configuration; leave it out" -}}
{{- $trace := "sidecars trace nothing; leave it out" -}}
{{- $parts := dict "sidecarInjectorWebhook" $webhook "galley" $checked "tracing" $trace "zipkin" $trace -}}
{{- range list "ingress" "ingressgateway" "egressgateway" "gateways" "prometheus" "grafana" "servicegraph" "kiali" "certmanager" -}}
{{- $_ := set $parts . "this chart has none; install it by its own chart" -}}
{{- end -}}
{{- include "isthmus.refuse" (dict "values" .Values "path" "" "ways" $parts) -}}

{{- $globals := dict "configValidation" $checked "enableTracing" $trace "remoteZipkinAddress" $trace -}}
{{- $_ := set $globals "oneNamespace" "all namespaces are watched; leave it out" -}}
{{- $_ := set $globals "meshExpansion" "only pods take part; leave it out" -}}
{{- $_ := set $globals "disablePolicyChecks" "set meshConfig.disablePolicyChecks" -}}
{{- $_ := set $globals "remotePilotAddress" "set global.pilotEndpoint" -}}
{{- $_ := set $globals "remotePolicyAddress" "set global.policyEndpoint" -}}
{{- $_ := set $globals "remoteTelemetryAddress" "set global.statsdEndpoint" -}}
{{- include "isthmus.refuse" (dict "values" .Values.global "path" "global." "ways" $globals) -}}

{{- $proxy := dict "autoInject" $webhook "accessLogFile" "set meshConfig.accessLogFile" -}}
{{- $_ := set $proxy "concurrency" "set meshConfig.defaultConfig.concurrency" -}}
{{- $_ := set $proxy "enableCoreDump" "sidecars run without the rights that this takes; leave it out" -}}
{{- $_ := set $proxy "privileged" "sidecars never are; leave it out" -}}
{{- include "isthmus.refuse" (dict "values" .Values.global.proxy "path" "global.proxy." "ways" $proxy) -}}

{{- if hasKey (default (dict) .Values.mixer) "enabled" -}}
{{- fail "mixer.enabled is Istio's, and has no effect here: set policy.enabled and statsd.enabled in the control plane's chart." -}}
{{- end -}}
{{- if hasKey .Values.global.proxy "envoyStatsd" -}}
{{- fail "global.proxy.envoyStatsd is Istio's, and has no effect here: set meshConfig.defaultConfig.statsdUdpAddress, which is the bridge's unless it is \"\"." -}}
{{- end -}}
{{- $security := default (dict) .Values.security -}}
{{- if and (hasKey $security "enabled") (not $security.enabled) -}}
{{- fail "security.enabled is false, but pilot is always the mesh's certificate authority: leave it out; a PeerAuthentication says what servers accept." -}}
{{- end -}}
{{- end -}}

{{/* A dict of values, their path, and by name what to do instead. What is switched off is as it is here. */}}
{{- define "isthmus.refuse" -}}
{{- range $name, $way := .ways -}}
{{- if hasKey $.values $name -}}
{{- $value := index $.values $name -}}
{{- if kindIs "map" $value -}}
{{- if $value.enabled -}}{{- fail (printf "%s%s.enabled is Istio's, and has no effect here: %s." $.path $name $way) -}}{{- end -}}
{{- else if not (or (not $value) (eq (toString $value) "disabled")) -}}
{{- fail (printf "%s%s is Istio's, and has no effect here: %s." $.path $name $way) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
