{{/*
The gateway's configuration file (docs/configuration.md): the servers, what follows from the cluster, and the rest of .Values.config, whose
schema has none of the chart's own keys. The gateway looks the name in proxy.url up when it starts, because session pods have no DNS.
*/}}
{{- define "fmo.config" -}}
{{- $servers := list -}}
{{- range $name := keys .Values.servers | sortAlpha -}}
{{- $servers = append $servers (merge (dict "name" $name) (get $.Values.servers $name)) -}}
{{- end -}}
{{- $own := dict
  "dataDir" "/var/lib/forgejo-mcp-operator"
  "http" (dict "listen" (include "fmo.listen" (dict "root" . "port" "http")) "publicUrl" (trimSuffix "/" .Values.publicUrl))
  "proxy" (dict
    "listen" (include "fmo.listen" (dict "root" . "port" "proxy"))
    "url" (printf "https://%s.%s.svc:%s" (include "fmo.proxy" .) .Release.Namespace (include "fmo.port.proxy" .))
    "keyFile" "/etc/forgejo-mcp-operator/keys/capability.key")
  "ops" (dict "listen" (include "fmo.listen" (dict "root" . "port" "ops")))
  "backend" (dict "kind" "pod" "namespace" (include "fmo.sessionsNamespace" .) "installId" (include "fmo.install" .))
  "sessions" (dict "keyFile" "/etc/forgejo-mcp-operator/keys/session-ids.key")
  "auth" (dict "keyFile" "/etc/forgejo-mcp-operator/keys/auth.key")
-}}
{{- if .Values.server -}}{{- $_ := set $own "server" .Values.server -}}{{- end -}}
{{- if $servers -}}{{- $_ := set $own "servers" $servers -}}{{- end -}}
{{- if .Values.defaultServer -}}{{- $_ := set $own "defaultServer" .Values.defaultServer -}}{{- end -}}
{{- toYaml (merge $own (deepCopy .Values.config)) -}}
{{- end -}}

{{/* Address and port of a listener. Called with a dict of root and port. */}}
{{- define "fmo.listen" -}}
{{- printf "%s:%s" (ternary "[::]" "0.0.0.0" (eq .root.Values.gateway.ipFamily "IPv6")) (include (printf "fmo.port.%s" .port) .root) -}}
{{- end -}}
