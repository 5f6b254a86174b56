{{- define "assay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The labels a component is selected by; they never change. Takes (dict "root" $ "component" …). */}}
{{- define "assay.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "assay.labels" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "assay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "assay.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- define "assay.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A setting as the environment holds it. Numbers arrive as floats: 25000000 would be 2.5e+07. */}}
{{- define "assay.setting" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . | toString | quote -}}
{{- else -}}
{{- toString . | quote -}}
{{- end -}}
{{- end }}

{{/* What the schema can't say in words that help. */}}
{{- define "assay.check" -}}
{{- if not .Values.existingSecret -}}
{{- fail "\n\nexistingSecret is empty: make a Secret with the keys database-url and signing.json and give its name, as the chart's README shows.\n" -}}
{{- end -}}
{{- if not .Values.secretKeys.ASSAY_DATABASE_URL -}}
{{- fail "\n\nsecretKeys.ASSAY_DATABASE_URL is empty: name the key of existingSecret that holds the address of PostgreSQL.\n" -}}
{{- end -}}
{{- if not (or .Values.settings.ASSAY_STORAGE_URL .Values.originals.existingClaim) -}}
{{- fail "\n\nsettings.ASSAY_STORAGE_URL is empty: name an S3 bucket for the originals of documents, as s3://bucket/prefix, or in originals.existingClaim a volume all pods can mount.\n" -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.httpRoute.enabled -}}
{{- fail "\n\ningress.enabled and httpRoute.enabled are both true: choose the one your cluster has.\n" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "\n\ningress.host is empty: give the name under which the server is reached.\n" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "\n\nhttpRoute.parentRefs is empty: name the Gateway to attach to.\n" -}}
{{- end -}}
{{- range $component := list "api" "worker" -}}
{{- with (index $.Values $component).autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "\n\n%s.autoscaling.minReplicas is above maxReplicas.\n" $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
