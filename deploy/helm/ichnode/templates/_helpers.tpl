{{- define "ichnode.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "ichnode.labels" -}}
{{ include "ichnode.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "ichnode.selector" -}}
app.kubernetes.io/name: ichnode
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ichnode.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "ichnode.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "ichnode.secret" -}}
{{- if .Values.trial.enabled -}}
{{ include "ichnode.name" . }}-trial
{{- else -}}
{{ required "set existingSecret to a Secret with broker-url and ledger-url, or trial.enabled and trial.password" .Values.existingSecret }}
{{- end -}}
{{- end }}

{{- define "ichnode.claim" -}}
{{ .Values.storage.existingClaim | default (printf "%s-home" (include "ichnode.name" .)) }}
{{- end }}

{{- /* What a container may do: nothing that it does not need (Pod Security: restricted). */ -}}
{{- define "ichnode.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The Pod of a part of the node: (dict "root" $ "part" name "args" list "values" values). */ -}}
{{- define "ichnode.pod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "ichnode.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
  annotations:
    checksum/config: {{ $root.Values.config | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "ichnode.serviceAccount" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with .values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with merge (dict) (.values.nodeSelector | default dict) $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with concat (.values.tolerations | default list) $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- /* Longer than a series takes; one that is not done then begins again elsewhere. */}}
  terminationGracePeriodSeconds: {{ .grace | default 60 }}
  containers:
    - name: {{ .part }}
      image: "{{ $root.Values.image.repository }}:{{ .values.imageTag | default $root.Values.image.tag }}"
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      securityContext:
        {{- include "ichnode.containerSecurity" $root | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: ICHNODE_CONFIG
          value: /etc/ichnode/ichnode.toml
        # A folder below the volume: the node keeps it for its user alone.
        - name: ICHNODE_HOME
          value: /var/lib/ichnode/home
        - name: ICHNODE_DICOM__HOST
          value: 0.0.0.0
        - name: ICHNODE_DICOM__PORT
          value: "11112"
        - name: ICHNODE_BROKER__URL_FILE
          value: /run/ichnode/broker-url
        - name: ICHNODE_LEDGER__URL_FILE
          value: /run/ichnode/ledger-url
        # A file is written by the processes of one machine.
        - name: ICHNODE_AUDIT__FILE
          value: audit-$(POD_NAME).log
        {{- $env := .env | default dict }}
        {{- with $root.Values.shadow.bundle }}
        {{- $env = merge (dict "ICHNODE_SHADOW__BUNDLE" .) $env }}
        {{- end }}
        {{- range $name, $value := merge (dict) $root.Values.env $env }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
      {{- with .ports }}
      ports:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .probes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - name: home
          mountPath: /var/lib/ichnode
        - name: config
          mountPath: /etc/ichnode/ichnode.toml
          subPath: ichnode.toml
          readOnly: true
        - name: urls
          mountPath: /run/ichnode
          readOnly: true
        {{- if $root.Values.filesSecret }}
        - name: files
          mountPath: /etc/ichnode/files
          readOnly: true
        {{- end }}
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: home
      persistentVolumeClaim:
        claimName: {{ include "ichnode.claim" $root }}
    - name: config
      configMap:
        name: {{ include "ichnode.name" $root }}
    # Of root, and for the node's group to read: it refuses files that others can read.
    - name: urls
      secret:
        secretName: {{ include "ichnode.secret" $root }}
        defaultMode: 0440
        items:
          - key: broker-url
            path: broker-url
          - key: ledger-url
            path: ledger-url
    {{- if $root.Values.filesSecret }}
    - name: files
      secret:
        secretName: {{ $root.Values.filesSecret }}
        defaultMode: 0440
    {{- end }}
    - name: tmp
      emptyDir: {}
{{- end }}

{{- /* A worker answers through the broker: see deploy/docker/health.py. */ -}}
{{- define "ichnode.workerProbes" -}}
startupProbe:
  exec:
    command: [python, /opt/health.py]
  periodSeconds: 5
  timeoutSeconds: 15
  failureThreshold: 60
livenessProbe:
  exec:
    command: [python, /opt/health.py]
  periodSeconds: 60
  timeoutSeconds: 15
  failureThreshold: 5
{{- end }}

{{- /* Who judges: variables and limits of a worker on a CPU or a GPU, of its values. */ -}}
{{- define "ichnode.judgeEnv" -}}
ICHNODE_ANALYZE__DEVICE: {{ ternary "cuda" "cpu" .gpu }}
{{- if not .gpu }}
ICHNODE_ANALYZE__THREADS: {{ .threads }}
{{- end }}
{{- end }}

{{- define "ichnode.judgeResources" -}}
{{- $resources := deepCopy .resources }}
{{- if .gpu }}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict "nvidia.com/gpu" 1)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{- define "ichnode.judgeStrategy" -}}
# The one that goes gives its GPU to the one that comes.
strategy:
  rollingUpdate:
    maxSurge: 0
    maxUnavailable: 1
{{- end }}

{{- /* A Service that senders call: (dict "root" $ "part" name "name" name "port" name "values" values). */ -}}
{{- define "ichnode.service" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels:
    {{- include "ichnode.labels" $root | nindent 4 }}
  {{- with .values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .values.type }}
  {{- if ne .values.type "ClusterIP" }}
  # Senders keep their addresses: [[peers]], networks and limits go by them.
  externalTrafficPolicy: Local
  {{- end }}
  {{- with .values.sourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  selector:
    {{- include "ichnode.selector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
  ports:
    - name: {{ .port }}
      port: {{ .values.port }}
      targetPort: {{ .port }}
      {{- with .values.nodePort }}
      nodePort: {{ . }}
      {{- end }}
{{- end }}

{{- /* Who may call a part: (dict "root" $ "part" name "port" name "from" list "namespaces" list);
       without "from" anybody may. */ -}}
{{- define "ichnode.callers" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "ichnode.name" .root }}-{{ eq .part "receive" | ternary "dicom" .part }}
  labels:
    {{- include "ichnode.labels" .root | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "ichnode.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .part }}
  policyTypes: [Ingress]
  ingress:
    - ports:
        - port: {{ .port }}
      {{- if .from }}
      from:
        {{- range .from }}
        - ipBlock:
            cidr: {{ . }}
        {{- end }}
        {{- range .namespaces }}
        - namespaceSelector:
            matchLabels:
              {{- toYaml . | nindent 14 }}
        {{- end }}
      {{- end }}
{{- end }}

{{- /* Leads to the Service of a part: (dict "root" $ "part" name "path" path "values" values). */ -}}
{{- define "ichnode.ingress" -}}
{{- $root := .root -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "ichnode.name" $root }}-{{ .part }}
  labels:
    {{- include "ichnode.labels" $root | nindent 4 }}
  {{- with .values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .values.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .values.tlsSecret }}
  tls:
    - hosts: [{{ $.values.host | quote }}]
      secretName: {{ . }}
  {{- end }}
  rules:
    - host: {{ .values.host | quote }}
      http:
        paths:
          - path: {{ .path }}
            pathType: Prefix
            backend:
              service:
                name: {{ include "ichnode.name" $root }}-{{ .part }}
                port:
                  name: http
{{- end }}

{{- /* One Pod of a part at a time may be taken away: (dict "root" $ "part" name). */ -}}
{{- define "ichnode.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "ichnode.name" .root }}-{{ .part }}
  labels:
    {{- include "ichnode.labels" .root | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "ichnode.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .part }}
{{- end }}
