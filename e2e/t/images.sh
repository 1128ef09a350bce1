#!/usr/bin/env bash
# Images: pulled through a mirror, listed once with all their names, removed with all of them.
. "${BASH_SOURCE%/*}/../lib.sh"

tags_of() {
        crictl images --output json | jq -r --arg id "$1" '.images[] | select(.id == $id) | .repoTags | sort | join(" ")'
}

# few_bytes DIRECTORY: no more than a store and empty directories.
few_bytes() {
        (($(du -s --apparent-size --block-size=1k "$1" --exclude='store.db*' | cut -f1) < 300))
}

e2e_begin images
registry_start conformance
agent_start
tagged=gcr.io/k8s-staging-cri-tools/test-image-tags
check "an image is pulled by tag" crictl pull "$tagged:1"
id=$(crictl inspecti --output json "$tagged:1" | jq -r .status.id)
check "two more tags of the same image" eval 'crictl pull "$tagged:2" && crictl pull "$tagged:3"'
check "it is one image with three names" same "$(tags_of "$id")" "$tagged:1 $tagged:2 $tagged:3"
digest=$(crictl inspecti --output json "$tagged:1" | jq -r '.status.repoDigests[0]')
check "it is found by its digest" same "$(crictl inspecti --output json "$digest" | jq -r .status.id)" "$id"
check "pulling by digest comes to the same image" crictl pull "$digest"
check "its size is told" test "$(crictl inspecti --output json "$id" | jq -r .status.size)" -gt 100000

check_not "an unknown tag is an error" crictl pull "$tagged:none"
check_not "so is a malformed name" crictl pull 'gcr.io/UPPER/case:1'
check_not "and a registry that is not there" crictl pull "127.0.0.1:9/none:1"
check "failed pulls leave no image" same "$(crictl images --quiet | wc -l)" 1

check "concurrent pulls of one image all succeed" eval '
        pids=()
        for n in 1 2 3 4; do crictl pull "$E2E_IMAGE" & pids+=($!); done
        for pid in "${pids[@]}"; do wait "$pid" || exit 1; done'
check "removing one name removes the image" crictl rmi "$tagged:2"
check "with its other names" same "$(tags_of "$id")" ''

agent_kill
agent_start
check "images are still known after kill -9" same "$(crictl images --quiet | wc -l)" 1
check "all can go" crictl rmi --all
check "and are gone" same "$(crictl images --quiet)" ''
check "their content goes, too" eventually 5 few_bytes "$AGENT_ROOT"
e2e_end
