#!/usr/bin/env bash
# SELinux: who is labelled how, on a kernel that does it.  Nothing is enforced: labels are what is looked at.
. "${BASH_SOURCE%/*}/../lib.sh"

# The policy knows two types for containers, categories, and nothing else.  A kernel takes its first policy once.
policy_load() {
        local sid type name

        {
                echo '(handleunknown allow) (mls true) (class process (transition dyntransition)) (classorder (process))'
                for sid in $SIDS; do echo "(sid $sid)"; done
                echo "(sidorder ($SIDS)) (sensitivity s0) (sensitivityorder (s0))"
                for name in c{0..1023}; do echo "(category $name)"; done
                echo "(categoryorder ($(echo c{0..1023}))) (sensitivitycategory s0 (range c0 c1023))"
                echo '(level low (s0)) (level high (s0 (range c0 c1023))) (levelrange all (low high)) (levelrange one (low low))'
                echo '(user system_u) (role system_r) (role object_r) (userrole system_u system_r) (userrole system_u object_r)'
                echo '(userlevel system_u low) (userrange system_u all)'
                for type in kernel_t file_t container_t other_t container_file_t; do
                        echo "(type $type) (roletype object_r $type)"
                done
                echo '(roletype system_r kernel_t) (roletype system_r container_t) (roletype system_r other_t)'
                echo '(allow kernel_t container_t (process (transition)))'
                for sid in $SIDS; do
                        echo "(sidcontext $sid (system_u system_r kernel_t one))"
                done
                for name in ext4 ext2 overlay xfs btrfs; do echo "(fsuse xattr $name (system_u object_r file_t one))"; done
                for name in tmpfs devtmpfs devpts mqueue hugetlbfs; do echo "(fsuse trans $name (system_u object_r file_t one))"; done
                for name in pipefs sockfs; do echo "(fsuse task $name (system_u object_r file_t one))"; done
                for name in proc sysfs cgroup cgroup2 selinuxfs rootfs; do echo "(genfscon $name / (system_u object_r file_t one))"; done
        } >"$E2E_TMP/policy.cil"
        secilc --mls true --policyvers 31 --output "$E2E_TMP/policy" --filecontext /dev/null "$E2E_TMP/policy.cil" &&
                cat "$E2E_TMP/policy" >/sys/fs/selinux/load
}
SIDS='kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket tcp_socket
        sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod policy scmp_packet devnull'

# label PATH: of a file.
label() {
        python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], "security.selinux", follow_symlinks=False).decode().rstrip("\0"))' "$1"
}

# level ID: of the process's label.
level() {
        local process

        process=$(crictl inspect --output json "$1" | jq -r .info.runtimeSpec.process.selinuxLabel)
        echo "${process#*:*:*:}"
}

# inside ID PATH: a file as the container has it.
inside() {
        label "/proc/$(crictl inspect --output json "$1" | jq .info.pid)/root$2"
}

[[ -d /sys/fs/selinux ]] || skip_all "this kernel runs without SELinux"
e2e_begin selinux
mountpoint -q /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux
if ! grep -q : /proc/self/attr/current; then
        [[ $(cat /sys/fs/selinux/enforce) == 0 ]] || skip_all "the kernel would enforce the policy of this test"
        command -v secilc >/dev/null || skip_all "there is no secilc"
        policy_load
fi
registry_start small
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

pod=$(pod_run web)
mkdir -p "$E2E_TMP/volume/dir" "$E2E_TMP/plain"
touch "$E2E_TMP/volume/dir/file" "$E2E_TMP/plain/file" "$E2E_TMP/aside"
ln -s "$E2E_TMP/aside" "$E2E_TMP/volume/link"
before=$(label "$E2E_TMP/aside")
id=$(container_run web main 'cat /proc/self/attr/current; echo; exec sleep 1000' ".mounts = [
        {container_path: \"/volume\", host_path: \"$E2E_TMP/volume\", selinux_relabel: true},
        {container_path: \"/plain\", host_path: \"$E2E_TMP/plain\"}]")
level=$(level "$id")
check "a container has categories" grep -qE '^s0:c[0-9]+,c[0-9]+,c[0-9]+,c[0-9]+$' <<<"$level"
check "its process runs with them" eventually 10 grep -q "system_u:system_r:container_t:$level" "$E2E_TMP/logs/web/main.log"
files=system_u:object_r:container_file_t:$level
for path in / /bin/busybox /dev /dev/pts /dev/shm /etc/hosts /etc/resolv.conf /etc/hostname; do
        check "$path has its files' label" same "$(inside "$id" "$path")" "$files"
done
check "so has a volume to the last file" same "$(label "$E2E_TMP/volume") $(label "$E2E_TMP/volume/dir/file")" "$files $files"
check "and a link in it, not what it leads to" same "$(label "$E2E_TMP/volume/link") $(label "$E2E_TMP/aside")" "$files $before"
check "and not one that nobody asked for" same "$(label "$E2E_TMP/plain/file")" "$before"
check "an exec runs as the container does" same "$(crictl exec --sync "$id" cat /proc/self/attr/current | tr -d '\0')" \
        "system_u:system_r:container_t:$level"
check "a second container of the pod has the same level" same "$(level "$(container_run web second 'exec sleep 1000')")" "$level"
id=$(container_run web given 'exec sleep 1000' '.linux.security_context.selinux_options = {type: "other_t", level: "s0:c7"}')
check "what is asked for is given" same "$(crictl inspect --output json "$id" | jq -r .info.runtimeSpec.process.selinuxLabel)" \
        system_u:system_r:other_t:s0:c7
check "a type the policy does not know is refused" refused_with 'knows no label' container_create web unknown true \
        '.linux.security_context.selinux_options = {type: "unknown_t"}'
check "so is a label with more in it" refused_with malformed container_create web more true \
        '.linux.security_context.selinux_options = {type: "container_t:s0"}'
check "everybody's directories are not labelled for one" refused_with 'cannot be labelled' container_create web etc true \
        '.mounts = [{container_path: "/volume", host_path: "/etc", selinux_relabel: true}]'

pod_run other >/dev/null
id=$(container_run other main 'exec sleep 1000')
check_not "another pod has another level" same "$(level "$id")" "$level"
pod_run trusted '.linux.security_context.privileged = true' >/dev/null
id=$(container_run trusted main 'exec sleep 1000' '.linux.security_context.privileged = true')
check "a privileged container has no label" same "$(crictl inspect --output json "$id" | jq .info.runtimeSpec.process.selinuxLabel)" null
check "the pods go" pod_remove web other trusted
leaks_none "nothing stayed behind"
e2e_end
