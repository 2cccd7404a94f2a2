{{/*
What a schema cannot say, or cannot say in words that help. Every fault is reported in one go, each with what to do about it.
*/}}
{{- define "fmo.guards" -}}
{{- $faults := list -}}
{{- $v := .Values -}}
{{- $oauth := include "fmo.oauth" . -}}

{{- if not $v.image.repository -}}
{{- $faults = append $faults "image.repository is needed: build the gateway's image with deploy/gateway/Dockerfile, push it, and name it here" -}}
{{- end -}}

{{- if not $v.publicUrl -}}
{{- $faults = append $faults "publicUrl is needed: the URL at which MCP clients reach the gateway, for example https://mcp.example.com" -}}
{{- else if not (regexMatch "^https?://[^/?#@]+/?$" $v.publicUrl) -}}
{{- $faults = append $faults (printf "publicUrl %q must be http:// or https:// and a host, without a path" $v.publicUrl) -}}
{{- end -}}

{{- range $name, $own := default (dict "" dict) $v.servers -}}
{{- $at := ternary (printf "servers.%s" $name) "server" (ne $name "") -}}
{{- $server := merge (deepCopy (default dict $own)) (deepCopy $v.server) -}}
{{- if and $name (not (regexMatch "^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$" $name)) -}}
{{- $faults = append $faults (printf "%s: a server's name is part of its path and a label: at most 40 of a-z, 0-9 and -, beginning and ending with a letter or digit" $at) -}}
{{- end -}}
{{- if not (dig "forgejo" "url" "" $server) -}}
{{- $faults = append $faults (printf "%s.forgejo.url is needed: Forgejo's public URL, for example https://forge.example.com" $at) -}}
{{- end -}}
{{- if not (dig "pod" "image" "" $server) -}}
{{- $faults = append $faults (printf "%s.pod.image is needed: the image that runs in each session's pod; deploy/child/Dockerfile makes one with forgejo-mcp in it" $at) -}}
{{- end -}}
{{- $missing := list -}}
{{- range list "read" "write" -}}
{{- if not (dig "forgejo" "applications" . "clientId" "" $server) -}}{{- $missing = append $missing (printf "%s.forgejo.applications.%s.clientId" $at .) -}}{{- end -}}
{{- end -}}
{{- if and $oauth $missing -}}
{{- $faults = append $faults (printf "%s: needed for users to log in. Make two OAuth applications in Forgejo (Site administration, Integrations, Applications), both confidential, with the redirect URI %s/oauth/callback, and name the client id of each; or set config.auth.mode to bearer" (join ", " $missing) (trimSuffix "/" $v.publicUrl)) -}}
{{- end -}}
{{- end -}}
{{- if and $oauth (not $v.oauth.existingSecret) -}}
{{- $faults = append $faults (printf "oauth.existingSecret is needed: a Secret of the release's namespace with the applications' client secrets in the entries %s and %s; or set config.auth.mode to bearer" $v.oauth.readEntry $v.oauth.writeEntry) -}}
{{- end -}}
{{- if and $oauth (has (include "fmo.recordsNamespace" .) (list .Release.Namespace (include "fmo.sessionsNamespace" .))) -}}
{{- $faults = append $faults "records.namespace.name is the namespace of the release or of the sessions: logins need one of their own, because pods can mount the Secrets of theirs" -}}
{{- end -}}
{{- $names := keys $v.servers | sortAlpha -}}
{{- if and $v.defaultServer (not (has $v.defaultServer (default (list "default") $names))) -}}
{{- $faults = append $faults (printf "defaultServer %q is none of servers (%s)" $v.defaultServer (join ", " (default (list "default") $names))) -}}
{{- end -}}
{{- if and (not $v.defaultServer) (gt (len $names) 1) (not (has "default" $names)) -}}
{{- $faults = append $faults (printf "defaultServer is needed with more than one server: which of %s answers at /mcp?" (join ", " $names)) -}}
{{- end -}}

{{- if and (gt (int $v.gateway.replicas) 1) (eq (int $v.operator.replicas) 0) -}}
{{- $faults = append $faults "operator.replicas is 0 with several gateways: nobody would make the certificates with which they believe each other. Set it to 1 or more" -}}
{{- end -}}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) -}}
{{- $faults = append $faults "serviceAccount.name is needed when serviceAccount.create is false" -}}
{{- end -}}
{{- if and (not $v.operator.serviceAccount.create) (not $v.operator.serviceAccount.name) -}}
{{- $faults = append $faults "operator.serviceAccount.name is needed when operator.serviceAccount.create is false" -}}
{{- end -}}
{{- if and (not $v.operator.serviceAccount.create) (eq $v.operator.serviceAccount.name (include "fmo.serviceAccount" .)) -}}
{{- $faults = append $faults "operator.serviceAccount.name is the gateway's account: the two need accounts of their own, because the gateway faces the Internet" -}}
{{- end -}}
{{- if eq (include "fmo.sessionsNamespace" .) .Release.Namespace -}}
{{- $faults = append $faults "sessions.namespace.name is the release's own namespace: session pods need one of their own, whose network policies and quota are for all pods in it" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- $faults = append $faults "httpRoute.parentRefs is needed with httpRoute.enabled: the Gateway to attach to, for example [{ name: public, namespace: gateways }]" -}}
{{- end -}}

{{- with $v.podDisruptionBudget -}}
{{- if .enabled -}}
{{- $min := not (kindIs "invalid" .minAvailable) -}}
{{- $max := not (kindIs "invalid" .maxUnavailable) -}}
{{- if eq $min $max -}}
{{- $faults = append $faults "podDisruptionBudget: set one of minAvailable and maxUnavailable" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $faults -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " $faults)) -}}
{{- end -}}
{{- end -}}
