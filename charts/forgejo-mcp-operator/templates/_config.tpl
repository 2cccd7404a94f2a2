{{/*
The gateway's configuration file: what follows from the cluster, the servers, and the rest of .Values.config. Its schema is
docs/configuration.md.
*/}}
{{- define "fmo.config" -}}
{{- $listeners := dict
  "http" (dict "listen" (dict "host" "0.0.0.0" "port" (include "fmo.port.http" . | int)) "publicUrl" (trimSuffix "/" .Values.publicUrl))
  "ops" (dict "listen" (dict "host" "0.0.0.0" "port" (include "fmo.port.ops" . | int)))
-}}
{{- $servers := list -}}
{{- range $name, $spec := .Values.servers -}}
{{- $servers = append $servers (merge (dict "name" $name) $spec) -}}
{{- end -}}
{{- toYaml (merge $listeners (dict "servers" $servers) .Values.config) -}}
{{- end -}}
