{{/*
Where one part of the control plane is: a value such as global.pilotEndpoint as a Service and, for IP addresses, its
Endpoints. Go's templates before 1.11 cannot assign twice, hence the many small definitions.
*/}}

{{/* The value as text in lower case, a list's items separated by commas, without blanks around any. */}}
{{- define "remote.text" -}}
{{- if kindIs "slice" . -}}
{{ include "remote.text" (join "," .) }}
{{- else -}}
{{ regexReplaceAll "\\s*,\\s*" (default "" . | toString | lower | trim) "," }}
{{- end -}}
{{- end -}}

{{/*
What one item is: `ip`, `name`, or nothing that can be used. Kubernetes takes no address that means the same machine,
link or group. A name has a dot, and a last part that does not begin with a digit, as in all of the Internet.
*/}}
{{- define "remote.form" -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- $hex := "[0-9a-f]{1,4}" -}}
{{- if regexMatch (printf "^(%s\\.){3}%s$" $octet $octet) . -}}
  {{- if not (regexMatch "^(0\\.0\\.0\\.0$|127\\.|169\\.254\\.|224\\.0\\.0\\.)" .) -}}ip{{- end -}}
{{- else if regexMatch (printf "^(%s:){7}%s$|^(%s(:%s)*)?::(%s(:%s)*)?$" $hex $hex $hex $hex $hex $hex) . -}}
  {{- if not (regexMatch "^([0:]+1?$|fe[89ab][0-9a-f]:|ff[0-9a-f]2:)" .) -}}
    {{- if or (not (contains "::" .)) (le (len (regexFindAll $hex . -1)) 7) -}}ip{{- end -}}
  {{- end -}}
{{- else if le (len .) 253 -}}
  {{- if regexMatch "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])?\\.?$" . -}}name{{- end -}}
{{- end -}}
{{- end -}}

{{/* The forms of all items, a blank after each. */}}
{{- define "remote.forms" -}}
{{- range splitList "," . -}}
{{ include "remote.form" . | default "bad" }}{{ " " }}{{ end -}}
{{- end -}}

{{/* A dict of the root, the Service's name, the name of the setting, its value, and the ports. */}}
{{- define "remote.endpoint" -}}
{{- $text := include "remote.text" .value -}}
{{- $forms := include "remote.forms" $text -}}
{{- $unique := dict -}}
{{- $given := eq $text (printf "%s.istio-system" .name) -}}
{{- $own := regexMatch (printf "^%s\\.%s(\\.svc(\\.cluster\\.local)?)?\\.?$" .name .root.Release.Namespace) $text -}}
{{- if or $given $own -}}
{{ include "remote.service" . }}
  type: ClusterIP
  clusterIP: None
{{- else if regexMatch "^(ip )+$" $forms -}}
{{- range splitList "," $text }}{{ $_ := set $unique . true }}{{ end -}}
{{ include "remote.service" . }}
  type: ClusterIP
  clusterIP: None
---
apiVersion: v1
kind: Endpoints
metadata:
{{ include "remote.metadata" . | indent 2 }}
subsets:
  - addresses:
{{- range $address, $_ := $unique }}
      - ip: {{ $address | quote }}
{{- end }}
    ports:
{{ toYaml .ports | trim | indent 6 }}
{{- else if eq $forms "name " -}}
{{ include "remote.service" . }}
  type: ExternalName
  externalName: {{ $text | trimSuffix "." }}
{{- else -}}
{{- $accepted := "give one IP address (10.1.0.5), several separated by commas, IPv6 ones too (fd00::5), or a DNS name (pilot.example.com)" -}}
{{- $default := printf "leave it out for %s.istio-system, whose addresses the control plane fills in" .name -}}
{{- if eq $text "" -}}
{{- fail (printf "%s is empty, perhaps because no such pod runs in the control plane's cluster yet: %s; %s." .setting $accepted $default) -}}
{{- else -}}
{{- fail (printf "%s is %q, which is no address: %s; %s." .setting $text $accepted $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The head of both objects, and the Service up to what its form adds. */}}
{{- define "remote.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
{{ include "isthmus.labels" (dict "root" .root "app" .name) | indent 2 }}
{{- end -}}

{{- define "remote.service" -}}
apiVersion: v1
kind: Service
metadata:
{{ include "remote.metadata" . | indent 2 }}
spec:
  ports:
{{ toYaml .ports | trim | indent 4 }}
{{- end -}}
