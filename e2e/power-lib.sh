# Shell functions of scripts that cut the power under an agent; sourced after lib.sh.
#
#   note WORD WHAT              what was answered: made or gone, a pod's id; pulled or removed, an image.  "going" is
#                               asked for, and may be or not.  $NOTES is the file
#   churn                       pods and $POWER_IMAGE come and go, and are noted, until it is killed
#   answers_hold                of each pod and image, the last thing that was noted
#
# What a power cut does to a disk is had here without a machine: a file system in a file is told to stop as if
# the power had gone (FS_IOC_SHUTDOWN, without writing its log), which ends with what it had not written lost and the order
# of its journal kept.  Then all that lived in memory is taken away, too, and the boot has another id.
#
#   power_begin "$@"            first of all: the script goes on in mount and network namespaces of its own
#   power_disks one|two         after e2e_begin: the agent's root and CNI's files lie on it, or on one each
#   power_cut                   and the next boot; agent_start begins anew

POWER_IMAGE=registry.k8s.io/e2e-test-images/nginx:1.14-2
NOTES=''

note() {
        echo "$*" >>"$NOTES"
        sync "$NOTES"
}

churn() {
        local i id

        for ((i = 0; ; i++)); do
                id=$(pod_run "churn$i") && note made "$id"
                container_run "churn$i" main 'exec sleep 1000' >/dev/null
                if ((i % 3)); then
                        note going "$id"
                        pod_remove "churn$i" && note gone "$id"
                fi
                crictl pull "$POWER_IMAGE" >/dev/null && note pulled "$POWER_IMAGE"
                note going "$POWER_IMAGE"
                crictl rmi "$POWER_IMAGE" >/dev/null && note removed "$POWER_IMAGE"
        done >"$E2E_TMP/churn.out" 2>&1
}

answers_hold() {
        local listed word what wrong=0

        listed=$(crictl pods --quiet --no-trunc && crictl images --output json | jq -r '.images[].repoTags[]') || return
        while read -r word what; do
                case $word in
                made | pulled) grep -qxF "$what" <<<"$listed" || { echo "$what was $word, and is not there"; wrong=1; } ;;
                gone | removed) ! grep -qxF "$what" <<<"$listed" || { echo "$what was $word, and is there"; wrong=1; } ;;
                esac
        done < <(awk '{ last[$2] = $1 } END { for (i in last) print last[i], i }' "$NOTES")
        return $wrong
}

# ---- without a machine ---------------------------------------------------------------

power_begin() {
        [[ -n ${E2E_POWER-} ]] || E2E_POWER=1 exec unshare --mount --net "$0" "$@"
        ip link set lo up
        echo 1 >/proc/sys/net/ipv4/ip_forward
}

# disk_make NAME: one that forgets nothing but by a power cut.
disk_make() {
        truncate -s 1G "$E2E_TMP/$1.img"
        mke2fs -qq -F -t ext4 "$E2E_TMP/$1.img"
}

power_disks() {
        local probe=$E2E_TMP/probe

        POWER_DISKS=$1
        mkdir -p "$probe" "$E2E_TMP/disk" "$E2E_TMP/root" "$E2E_TMP/cni"
        disk_make disk
        if ! mount -o loop "$E2E_TMP/disk.img" "$probe" || ! power_off "$probe"; then
                skip_all "no loop devices, or no file system that can be shut down"
        fi
        umount "$probe"
        [[ $1 == one ]] || disk_make cni
        at_exit disks_umount
        disks_mount
        power_boot_id
}

disks_mount() {
        if [[ $POWER_DISKS == two ]]; then
                mount -o loop "$E2E_TMP/disk.img" "$E2E_TMP/root" && mount -o loop "$E2E_TMP/cni.img" "$E2E_TMP/cni"
                return
        fi
        mount -o loop "$E2E_TMP/disk.img" "$E2E_TMP/disk" || return
        mkdir -p "$E2E_TMP/disk/root" "$E2E_TMP/disk/cni"
        mount --bind "$E2E_TMP/disk/root" "$E2E_TMP/root" && mount --bind "$E2E_TMP/disk/cni" "$E2E_TMP/cni"
}

disks_umount() {
        local at

        for at in root cni disk; do
                if mountpoint -q "$E2E_TMP/$at"; then
                        eventually 10 umount "$E2E_TMP/$at" || return
                fi
        done
}

# power_off DIRECTORY: what its file system has not on the disk yet is lost.
power_off() {
        python3 - "$1" <<'P'
import fcntl, os, struct, sys
FS_IOC_SHUTDOWN, FLAGS_NOLOGFLUSH = 0x8004587D, 2
try:
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), FS_IOC_SHUTDOWN, struct.pack("I", FLAGS_NOLOGFLUSH))
except OSError as e:
    sys.exit(f"shut down {sys.argv[1]}: {e}")
P
}

power_boot_id() {
        local at=/proc/sys/kernel/random/boot_id

        ! mountpoint -q $at || umount $at
        cat /proc/sys/kernel/random/uuid >"$E2E_TMP/boot_id"
        mount --bind "$E2E_TMP/boot_id" $at
}

power_cut() {
        local table

        power_off "$E2E_TMP/root" || return
        [[ $POWER_DISKS == one ]] || power_off "$E2E_TMP/cni" || return
        agent_kill
        agent_sweep
        unmount_below "$AGENT_STATE"
        rm -rf --one-file-system "$AGENT_STATE"
        mkdir -p "$AGENT_STATE"
        ip link delete "$NETWORK_BRIDGE" 2>/dev/null || true
        for table in nat filter; do
                iptables -t $table -F && iptables -t $table -X || return
        done
        disks_umount || return
        disks_mount
        power_boot_id
}
