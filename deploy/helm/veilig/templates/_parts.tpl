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
- name: VEILIG_DATABASE
  value: {{ .Values.database.queue | quote }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.passwordSecret }}
      key: {{ .Values.database.passwordKey }}
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
