#!/usr/bin/env bash
# Processes of deployments in Pods of a real API server, which Go builds once, from the published modules of Kubernetes and
# etcd. What a machine of the cluster does, binding Pods and running them, a small stand-in of the test kit does instead.
set -euo pipefail
cd "$(dirname "$0")/../.."

VERSION=v1.35.4
BIN=$PWD/.millrace/kubernetes-$VERSION/bin

if ! test -x "$BIN/kube-apiserver" -a -x "$BIN/etcd"; then
    command -v go > /dev/null || { echo "kube-apiserver needs Go 1.25 or newer to be built" >&2; exit 1; }
    mkdir -p "$BIN"
    echo "building kube-apiserver and etcd: ten minutes on two cores, once" >&2
    export CGO_ENABLED=0 GOTOOLCHAIN=local
    (
        cd tests/kubernetes/server
        go build -trimpath -ldflags "-s -w" -o "$BIN/etcd" go.etcd.io/etcd/server/v3
        go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$VERSION" -o "$BIN/kube-apiserver" \
            k8s.io/kubernetes/cmd/kube-apiserver
    )
fi
MILLRACE_TEST_KUBERNETES="$BIN" exec .venv/bin/python -m pytest services/launcher/tests/kubernetes "$@"
