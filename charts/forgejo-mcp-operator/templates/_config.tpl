{{/*
The gateway's configuration file (docs/configuration.md): the servers, what follows from the cluster, and the rest of .Values.config, whose
schema has none of the chart's own keys. The gateway looks the name in proxy.url up when it starts, because session pods have no DNS.
*/}}
{{- define "fmo.config" -}}
{{- $server := fromYaml (include "fmo.server" (dict "root" . "own" .Values.server "under" dict)) -}}
{{- $servers := list -}}
{{- range $name := keys .Values.servers | sortAlpha -}}
{{- $own := fromYaml (include "fmo.server" (dict "root" $ "own" (get $.Values.servers $name) "under" $server)) -}}
{{- $servers = append $servers (merge (dict "name" $name) $own) -}}
{{- end -}}
{{- $own := dict
  "dataDir" "/var/lib/forgejo-mcp-operator"
  "http" (dict "listen" (include "fmo.listen" (dict "root" . "port" "http")) "publicUrl" (trimSuffix "/" .Values.publicUrl))
  "proxy" (dict
    "listen" (include "fmo.listen" (dict "root" . "port" "proxy"))
    "url" (printf "https://%s.%s.svc:%s" (include "fmo.proxy" .) .Release.Namespace (include "fmo.port.proxy" .))
    "keyFile" "/etc/forgejo-mcp-operator/keys/capability.key")
  "ops" (dict "listen" (include "fmo.listen" (dict "root" . "port" "ops")))
  "stop" (dict "readinessDelay" (dig "stop" "readinessDelay" "10s" .Values.config))
  "backend" (dict
    "kind" "pod"
    "namespace" (include "fmo.sessionsNamespace" .)
    "installId" (include "fmo.install" .)
    "owner" (include "fmo.sessionsOwner" .)
    "serversNamespace" .Release.Namespace)
  "sessions" (dict "driver" "kubernetes" "keyFile" "/etc/forgejo-mcp-operator/keys/session-ids.key")
  "replicas" (dict
    "listen" (include "fmo.listen" (dict "root" . "port" "peers")))
  "auth" (dict "keyFile" "/etc/forgejo-mcp-operator/keys/auth.key")
  "operator" (dict
    "namespace" .Release.Namespace
    "lease" (include "fmo.operator" .)
    "certificateSecret" (include "fmo.peers" .))
-}}
{{- if include "fmo.certificates" . -}}
{{- $_ := set $own.replicas "certificates" "/etc/forgejo-mcp-operator/peers" -}}
{{- end -}}
{{- if include "fmo.oauth" . -}}
{{- $_ := set $own.auth "oauth" (dict "keyFile" "/etc/forgejo-mcp-operator/keys/oauth.key") -}}
{{- $_ := set $own "store" (dict "driver" "kubernetes" "namespace" (include "fmo.recordsNamespace" .)) -}}
{{- end -}}
{{- if $server -}}{{- $_ := set $own "server" $server -}}{{- end -}}
{{- if $servers -}}{{- $_ := set $own "servers" $servers -}}{{- end -}}
{{- if .Values.defaultServer -}}{{- $_ := set $own "defaultServer" .Values.defaultServer -}}{{- end -}}
{{- toYaml (merge $own (deepCopy .Values.config)) -}}
{{- end -}}

{{/*
A server as values have it, with the mounted file of the client secret for each application that names none. Called with a dict of root, own (what
it says for itself) and under (what all have in common).
*/}}
{{- define "fmo.server" -}}
{{- $server := deepCopy (default dict .own) -}}
{{- $whole := merge (deepCopy $server) (deepCopy .under) -}}
{{- $entries := dict "read" .root.Values.oauth.readEntry "write" .root.Values.oauth.writeEntry -}}
{{- range $name, $entry := $entries -}}
{{- $application := dig "forgejo" "applications" $name dict $whole -}}
{{- if and $application (not $application.clientSecretFile) -}}
{{- $file := dict "clientSecretFile" (printf "/etc/forgejo-mcp-operator/oauth/%s" $entry) -}}
{{- $server = merge $server (dict "forgejo" (dict "applications" (dict $name $file))) -}}
{{- end -}}
{{- end -}}
{{- toYaml $server -}}
{{- end -}}

{{/* Address and port of a listener. Called with a dict of root and port. */}}
{{- define "fmo.listen" -}}
{{- printf "%s:%s" (ternary "[::]" "0.0.0.0" (eq .root.Values.gateway.ipFamily "IPv6")) (include (printf "fmo.port.%s" .port) .root) -}}
{{- end -}}
