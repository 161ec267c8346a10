{{- define "veilig.labels" -}}
app.kubernetes.io/name: veilig
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "veilig.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "veilig.env" -}}
- name: VEILIG_LEDGER
  value: {{ .Values.database.ledger | quote }}
{{ include "veilig.places" . }}
{{- end }}

{{- define "veilig.served" -}}
- name: VEILIG_LEDGER
  value: {{ .Values.database.server | quote }}
{{ include "veilig.places" . }}
{{- end }}

{{- define "veilig.places" -}}
- name: VEILIG_DATABASE
  value: {{ .Values.database.queue | quote }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.passwordSecret }}
      key: {{ .Values.database.passwordKey }}
{{- if .Values.telemetry.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.telemetry.endpoint | quote }}
{{- end }}
{{- end }}

{{- define "veilig.drain" -}}
preStop:
  exec:
    command: [sleep, "5"]
{{- end }}

{{- define "veilig.walled" -}}
{{- include "veilig.bounds" . }}
procMount: {{ .Values.wall.procMount }}
seccompProfile:
  type: {{ .Values.wall.seccompProfile }}
{{- if .Values.wall.localhostProfile }}
  localhostProfile: {{ .Values.wall.localhostProfile }}
{{- end }}
{{- end }}

{{- define "veilig.mounts" -}}
- name: policy
  mountPath: /etc/veilig
  readOnly: true
- name: state
  mountPath: /var/lib/veilig
- name: sources
  mountPath: /var/lib/veilig/sources
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "veilig.volumes" -}}
- name: policy
  configMap:
    name: {{ .Release.Name }}-policy
- name: state
  emptyDir: {}
- name: tmp
  emptyDir: {}
- name: keys
  secret:
    secretName: {{ .Values.keysSecret }}
- name: sources
{{- if .Values.sources.claim }}
  persistentVolumeClaim:
    claimName: {{ .Values.sources.claim }}
{{- else }}
  emptyDir: {}
{{- end }}
{{- end }}

{{- define "veilig.keys" -}}
- name: keys
  image: {{ include "veilig.image" . | quote }}
  command: [/bin/sh, -c, "umask 077 && mkdir -p /var/lib/veilig/keys && cat /keys/redact.key >/var/lib/veilig/keys/redact.key"]
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    runAsNonRoot: true
  volumeMounts:
    - name: state
      mountPath: /var/lib/veilig
    - name: keys
      mountPath: /keys
      readOnly: true
{{- end }}

{{- define "veilig.bounds" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "veilig.ready" -}}
httpGet:
  path: /readyz
  port: http
periodSeconds: 10
failureThreshold: 3
{{- end }}

{{- define "veilig.alive" -}}
httpGet:
  path: /healthz
  port: http
periodSeconds: 20
failureThreshold: 6
{{- end }}

{{- define "veilig.reach" -}}
- ports:
    - port: {{ .Values.networkPolicy.databasePort }}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}
