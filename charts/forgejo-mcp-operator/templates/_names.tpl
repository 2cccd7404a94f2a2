{{/* The chart's name. */}}
{{- define "fmo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/*
The prefix of every object's name, at most 40 characters so that suffixes fit. A release whose name says it already, whole or in part
(`forgejo-mcp`), is not doubled.
*/}}
{{- define "fmo.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "fmo.name" . -}}
{{- if or (contains $name .Release.Name) (hasPrefix .Release.Name $name) -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fmo.gateway" -}}{{ include "fmo.fullname" . }}-gateway{{- end -}}
{{- define "fmo.operator" -}}{{ include "fmo.fullname" . }}-operator{{- end -}}
{{/* The Secret with the certificates of the gateways. */}}
{{- define "fmo.peers" -}}{{ include "fmo.fullname" . }}-peers{{- end -}}
{{/* Whether there is anybody to make them; without, a gateway serves alone. */}}
{{- define "fmo.certificates" -}}{{- if gt (int .Values.operator.replicas) 0 -}}true{{- end -}}{{- end -}}
{{- define "fmo.proxy" -}}{{ include "fmo.fullname" . }}-proxy{{- end -}}
{{- define "fmo.ops" -}}{{ include "fmo.fullname" . }}-ops{{- end -}}
{{- define "fmo.keys" -}}{{ default (printf "%s-keys" (include "fmo.fullname" .)) .Values.keys.existingSecret }}{{- end -}}

{{- define "fmo.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fmo.gateway" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "fmo.operatorServiceAccount" -}}
{{- default (include "fmo.operator" .) .Values.operator.serviceAccount.name -}}
{{- end -}}

{{/* A text of at most 63 characters: what is longer ends in a digest, so that different texts stay different. */}}
{{- define "fmo.label63" -}}
{{- if le (len .) 63 -}}{{- . -}}{{- else -}}{{- printf "%s-%s" (trunc 46 .) (sha256sum . | trunc 16) -}}{{- end -}}
{{- end -}}

{{/* A namespace beside the release's. Namespaces are the cluster's, releases a namespace's: so both are in its name. Called with a dict of root and suffix. */}}
{{- define "fmo.namespaceBeside" -}}
{{- $full := include "fmo.fullname" .root -}}
{{- $own := .root.Release.Namespace -}}
{{- $prefix := ternary $own (printf "%s-%s" $own $full) (contains $full $own) -}}
{{- include "fmo.label63" (printf "%s-%s" $prefix .suffix) -}}
{{- end -}}

{{- define "fmo.sessionsNamespace" -}}
{{- default (include "fmo.namespaceBeside" (dict "root" . "suffix" "sessions")) .Values.sessions.namespace.name -}}
{{- end -}}

{{- define "fmo.recordsNamespace" -}}
{{- default (include "fmo.namespaceBeside" (dict "root" . "suffix" "logins")) .Values.records.namespace.name -}}
{{- end -}}

{{/* Not empty where users log in with OAuth. */}}
{{- define "fmo.oauth" -}}
{{- if ne (dig "auth" "mode" "oauth" .Values.config) "bearer" -}}true{{- end -}}
{{- end -}}

{{/* The labels that make Pod Security refuse every pod that is not `restricted`. Called with the Kubernetes version whose profile it is. */}}
{{- define "fmo.restricted" -}}
{{- range list "enforce" "audit" "warn" }}
pod-security.kubernetes.io/{{ . }}: restricted
pod-security.kubernetes.io/{{ . }}-version: {{ $ }}
{{- end }}
{{- end -}}

{{/*
The install: what the gateway labels its session pods with and selects them by. At most 40 characters, and another release never has the
same, even where two share a sessions namespace.
*/}}
{{- define "fmo.install" -}}
{{- printf "%s-%s" (.Release.Name | replace "." "-" | trunc 31 | trimSuffix "-") (printf "%s/%s" .Release.Namespace .Release.Name | sha256sum | trunc 8) -}}
{{- end -}}

{{/* Labels that never change: what selectors select by. Called with a dict of root and component. */}}
{{- define "fmo.selectorLabels" -}}
app.kubernetes.io/name: {{ include "fmo.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The labels of every object, the chart's own last so that none is lost. Called with a dict of root, component and, where it has some, extra. */}}
{{- define "fmo.labels" -}}
{{- $own := fromYaml (include "fmo.selectorLabels" .) -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "forgejo-mcp-operator" -}}
{{- toYaml (merge $own (default dict .extra) .root.Values.commonLabels) -}}
{{- end -}}

{{/* Selects pods of sessions, and those that wait for one: src/backends/pod/manifest.ts. */}}
{{- define "fmo.sessionPods" -}}
matchLabels:
  app.kubernetes.io/managed-by: forgejo-mcp-operator
  app.kubernetes.io/instance: {{ include "fmo.install" . }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [session, warm]
{{- end -}}

{{- define "fmo.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry .Values.global.imageRegistry -}}
{{- $name := ternary (printf "%s/%s" $registry $image.repository) $image.repository (ne $registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Pull secrets of the chart and of global, each once, as a pod spec wants them. */}}
{{- define "fmo.imagePullSecrets" -}}
{{- with concat (default list .Values.global.imagePullSecrets) (default list .Values.imagePullSecrets) | uniq }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The `restricted` profile for the chart's own containers. */}}
{{- define "fmo.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "fmo.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The host of publicUrl, without its port. */}}
{{- define "fmo.publicHost" -}}
{{- (urlParse .Values.publicUrl).hostname -}}
{{- end -}}

{{/* Container ports, the same everywhere. Egress rules of network policies name numbers: not every plugin resolves names there. */}}
{{- define "fmo.port.http" -}}8080{{- end -}}
{{- define "fmo.port.proxy" -}}8443{{- end -}}
{{- define "fmo.port.peers" -}}8444{{- end -}}
{{- define "fmo.port.ops" -}}9090{{- end -}}
