#!/usr/bin/env bash
# Mounts of all kinds: images as volumes, read-only to the last mount below, options, propagation, and what is refused.
. "${BASH_SOURCE%/*}/../lib.sh"

IMAGE=docker.io/library/data:1

# image_at [MORE]: a mount of $IMAGE at /volume.
image_at() {
        echo ".mounts = [{container_path: \"/volume\", readonly: true, image: {image: \"$IMAGE\"}${1+, $1}}]"
}

# volume_at DIRECTORY [MORE]: a mount of a directory of the host's.
volume_at() {
        echo ".mounts = [{container_path: \"/volume\", host_path: \"$1\"${2+, $2}}]"
}

refuses() {
        local want=$1

        shift
        ! "$@" >"$E2E_TMP/refused" 2>&1 && grep -q "$want" "$E2E_TMP/refused"
}

inside() {
        crictl exec --sync "$1" sh -c "$2"
}

image_has() {
        crictl images --output json | jq -e --arg id "$1" '[.images[].id] | index($id)' >/dev/null
}

layers() {
        find "$E2E_TMP/root" -path '*/layers/*' -prune -print | wc -l
}

# says POD NAME WANT: the log of a container.
says() {
        same "$(container_log "$1" "$2")" "$3"
}

e2e_begin volumes
registry_start small
tree=$E2E_TMP/trees/data
mkdir -p "$tree/dir"
echo content >"$tree/file"
echo inner >"$tree/dir/inner"
printf '#!/bin/sh\necho ran\n' >"$tree/run"
chmod 755 "$tree/run"
ln -s ../../../../../dir "$tree/up"
ln -s /file "$tree/absolute"
"$E2E_DIR/push-images" "$REGISTRY" "$E2E_TMP/trees" <<<'library/data:1 data {}' >/dev/null
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
before=$(layers)
id=$(crictl pull "$IMAGE" | sed 's/.* //')
image=$(crictl inspecti --output json "$IMAGE" | jq -r .status.id)
leaks_begin

pod=$(pod_run web)
main=$(container_run web main 'exec sleep 1000' "$(image_at)")
check "an image is a volume" same "$(inside "$main" 'cat /volume/file /volume/dir/inner; /volume/run')" $'content\ninner\nran'
check_not "it cannot be written" inside "$main" 'echo x >/volume/file'
check "it shows once, read-only" same "$(inside "$main" 'grep " /volume " /proc/mounts | cut -d" " -f4 | cut -d, -f1-3')" ro,nosuid,nodev
check "the status tells which image it is" same "$(container_field "$main" '.mounts[0].image.imageRef')" "$image"
check_not "the host sees no mount of it" grep -q "$E2E_TMP.*overlay" /proc/self/mountinfo

parts() {
        container_run web "$1" 'echo $(ls -A /volume); cat /volume 2>/dev/null; exec sleep 1000' "$(image_at "image_sub_path: \"$2\"")" >/dev/null
}
parts directory dir
check "a directory of it is a volume" eventually 10 says web directory inner
parts link up
check "a link leads nowhere outside" eventually 10 says web link inner
parts file absolute
check "a file of it is a volume" eventually 10 says web file $'/volume\ncontent'
check "a part that is not there is refused" refuses 'no/such.* in the image' \
        container_create web absent true "$(image_at 'image_sub_path: "no/such"')"
check "an image that is not there is refused" refuses "no image 'docker.io/library/none" \
        container_create web none true "$(image_at | sed 's/data:1/none:1/')"
check "a writable image is refused" refuses 'only be mounted readonly' \
        container_create web rw true "$(image_at 'readonly: false')"
check "an image and a directory at once are refused" refuses 'of an image and of a host_path' \
        container_create web both true "$(image_at 'host_path: "/tmp"')"
check "an image with propagation is refused" refuses 'with propagation' \
        container_create web prop true "$(image_at 'propagation: 2')"
check "a part without an image is refused" refuses 'image_sub_path without an image' \
        container_create web part true "$(volume_at /tmp 'image_sub_path: "dir"')"
check "nothing is left of what was refused" same "$(crictl ps --all --quiet --pod "$pod" | wc -l)" 4

check "the image in use can be removed" crictl rmi "$IMAGE"
check_not "it is listed no more" image_has "$image"
check "its files stay" same "$(inside "$main" 'cat /volume/file')" content
agent_kill
agent_start
check "also over a restart of the agent" same "$(inside "$main" 'cat /volume/dir/inner')" inner
check "and its layers are kept" same "$(layers)" $((before + 1))
for name in main directory link file; do
        crictl rm -f "$(crictl ps --all --quiet --name "^$name\$")" >/dev/null
done
check "they go with the last container" same "$(layers)" "$before"
crictl pull "$IMAGE" >/dev/null

mkdir -p "$E2E_TMP/top/below"
mount --make-private -t tmpfs below "$E2E_TMP/top/below"
id=$(container_run web flat 'exec sleep 1000' "$(volume_at "$E2E_TMP/top" 'readonly: true')")
check_not "a read-only volume cannot be written" inside "$id" 'echo x >/volume/x'
check "what is mounted below can" inside "$id" 'echo x >/volume/below/x'
id=$(container_run web deep 'exec sleep 1000' "$(volume_at "$E2E_TMP/top" 'readonly: true, recursive_read_only: true')")
check_not "a recursively read-only one cannot be written" inside "$id" 'echo x >/volume/x'
check_not "nor what is mounted below" inside "$id" 'echo x >/volume/below/x'
check "recursion that is not read-only is refused" refuses 'needs readonly' \
        container_create web odd true "$(volume_at "$E2E_TMP/top" 'recursive_read_only: true')"
check "a path that is not there is refused" refuses 'no/such' container_create web gone true "$(volume_at "$E2E_TMP/no/such")"
check "the host's private mounts are not passed on" refuses 'private mount' \
        container_create web slave true "$(volume_at "$E2E_TMP/top/below" 'propagation: 1')"
check "nor written back" refuses 'not on a shared mount' \
        container_create web back true "$(volume_at "$E2E_TMP/top/below" 'propagation: 2')"

mount --make-shared "$E2E_TMP/top/below"
mkdir "$E2E_TMP/top/below/late"
id=$(container_run web slave 'exec sleep 1000' "$(volume_at "$E2E_TMP/top/below" 'propagation: 1')")
mount -t tmpfs late "$E2E_TMP/top/below/late"
check "a mount of the host comes to the container" inside "$id" 'grep -q " /volume/late " /proc/mounts'
umount "$E2E_TMP/top/below/late"
id=$(container_run web both 'mount -t tmpfs own /volume/late; exec sleep 1000' \
        "$(volume_at "$E2E_TMP/top/below" 'propagation: 2') |
        .linux.security_context.capabilities.add_capabilities = [\"SYS_ADMIN\"]")
check "a mount of the container comes to the host" eventually 5 grep -q "$E2E_TMP/top/below/late " /proc/self/mountinfo
umount "$E2E_TMP/top/below/late"

check "the pod goes" pod_remove web
umount "$E2E_TMP/top/below"
leaks_none "nothing stayed behind"
e2e_end
