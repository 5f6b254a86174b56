{{- define "assay.podSecurity" -}}
automountServiceAccountToken: false
# Kubernetes would set ASSAY_PORT=tcp://… for a Service named assay.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "assay.containerSecurity" -}}
image: {{ include "assay.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Variables from existingSecret. Takes (dict "root" $ "only" (list …)); without "only": all. */}}
{{- define "assay.secretEnv" -}}
{{- range $name, $key := .root.Values.secretKeys }}
{{- if and $key (or (not $.only) (has $name $.only)) }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $.root.Values.existingSecret }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end }}

{{- define "assay.writableMounts" -}}
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: /var/lib/assay
{{- end }}

{{- define "assay.writableVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
- name: data
  emptyDir:
    sizeLimit: 1Gi
{{- end }}

{{- define "assay.probes" -}}
startupProbe:
  httpGet:
    path: /live
    port: http
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /live
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /ready
    port: http
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{/* Seconds from the order to stop to the kill, longer than the longest orderly end.
The api gives streams drainSeconds and then requests drainSeconds; the worker's jobs get
drainSeconds, and ten more to unwind. */}}
{{- define "assay.graceSeconds" -}}
{{- if eq .component "api" -}}
{{- add .own.preStopSeconds (mul 2 .own.drainSeconds) 10 -}}
{{- else -}}
{{- add .own.drainSeconds 20 -}}
{{- end -}}
{{- end }}
