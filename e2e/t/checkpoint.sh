#!/usr/bin/env bash
# Checkpoints: what is in the archive, that the container runs on, and that nothing of it stays behind when it fails.
. "${BASH_SOURCE%/*}/../lib.sh"

# checkpoint LOCATION [SECONDS]: of $id; what crictl says goes into $E2E_TMP/said.
checkpoint() {
        crictl --timeout "${2-60}s" checkpoint --export="$1" "$id" >"$E2E_TMP/said" 2>&1
}

refused() {
        ! checkpoint "$2" && grep -qE "$1" "$E2E_TMP/said" || { cat "$E2E_TMP/said"; return 1; }
}

# refused_call PATTERN ID LOCATION SECONDS: crictl has no word for the time limit.
refused_call() {
        ! "$(program cringle-call)" "$SOCKET" CheckpointContainer \
                "{\"container_id\": \"$2\", \"location\": \"$3\", \"timeout\": $4}" >"$E2E_TMP/said" 2>&1 &&
                grep -qiE "$1" "$E2E_TMP/said" || { cat "$E2E_TMP/said"; return 1; }
}

counts_on() {
        local before

        before=$(wc -l <"$E2E_TMP/logs/web/main.log")
        eventually 10 eval "(( \$(wc -l <'$E2E_TMP/logs/web/main.log') > $before + 3 ))"
}

no_parts() {
        [[ -z $(find "$AGENT_ROOT/pods" -name checkpoint) ]]
}

e2e_begin checkpoint
criu=$(PATH=$PATH:/usr/sbin type -P "${CRINGLE_CRIU-criu}") || skip_all "there is no criu"
"$criu" check >"$E2E_TMP/criu.log" 2>&1 || skip_all "criu does not work on this kernel: $(grep -m 1 Error "$E2E_TMP/criu.log")"
registry_start conformance
agent_start "programs: {criu: $criu}"
crictl pull "$E2E_IMAGE" >/dev/null

leaks_begin
mkdir "$E2E_TMP/volume"
# A PID namespace of its own is what can be brought back without the pod.
own='.linux.security_context.namespace_options = {pid: 1}'
pod_run web "$own" >/dev/null
id=$(container_run web main 'echo made >/root/made; rm /etc/passwd; rm -r /var; mkdir /var; ln -s nowhere /root/link
        i=0; while :; do i=$((i + 1)); echo $i; sleep 0.1; done' \
        "$own | .mounts = [{container_path: \"/data\", host_path: \"$E2E_TMP/volume\"}]")
check "it runs" counts_on
check "a container is written to a file" checkpoint "$E2E_TMP/one.tar"
check "and runs on" counts_on
check "nobody else may read the file" same "$(stat -c %a "$E2E_TMP/one.tar")" 600

mkdir "$E2E_TMP/one" "$E2E_TMP/one/diff"
tar -xf "$E2E_TMP/one.tar" -C "$E2E_TMP/one"
check "it has CRIU's images" test -s "$E2E_TMP/one/checkpoint/inventory.img" -a -s "$E2E_TMP/one/checkpoint/pages-1.img"
check "says whose they are" jq -e --arg id "$id" '.id == $id and .name == "main" and .rootfsImageRef != "" and .restored == false' \
        "$E2E_TMP/one/config.dump"
check "and has its specification" jq -e '.process.args[0] == "sh"' "$E2E_TMP/one/spec.dump"
tar -xf "$E2E_TMP/one/rootfs-diff.tar" -C "$E2E_TMP/one/diff"
check "what it has made is in it" same "$(cat "$E2E_TMP/one/diff/root/made") $(readlink "$E2E_TMP/one/diff/root/link")" 'made nowhere'
check_not "whiteouts are not" test -e "$E2E_TMP/one/diff/etc/passwd"
check "what it has deleted is named" jq -e 'index("/etc/passwd") != null' "$E2E_TMP/one/deleted.files"
check "so is what was in a directory that it made anew" jq -e 'any(startswith("/var/"))' "$E2E_TMP/one/deleted.files"
check "no parts are left" no_parts

# brought_back: CRIU makes processes of the archive again, on a copy of their root and with a file for each stream.
brought_back() {
        local root=$E2E_TMP/root-of-one pipes point outside given=() status=0

        mapfile -t pipes < <(jq -r '.[]' "$E2E_TMP/one/checkpoint/descriptors.json")
        for point in /data /dev/shm /etc/hosts /etc/hostname /etc/resolv.conf; do
                outside=$E2E_TMP/outside${point//\//_}
                if [[ $point == /etc/* ]]; then touch "$outside"; else mkdir -p "$outside"; fi
                given+=(--external "mnt[$point]:$outside")
        done
        for point in /sys/fs/cgroup{,/*}; do
                given+=(--external "mnt[$point]:$point")
        done
        # A root is a mount, which goes with this namespace.
        unshare --mount --propagation private sh -c 'mount --bind "$0" "$0" && exec "$@"' "$root" "$criu" restore --images-dir "$E2E_TMP/one/checkpoint" --root "$root" \
                --pidfile "$E2E_TMP/brought.pid" --log-file "$E2E_TMP/restore.log" --manage-cgroups=ignore --tcp-established \
                --file-locks --ext-unix-sk --inherit-fd fd[7]:extRootNetNS --inherit-fd "fd[8]:${pipes[1]}" \
                --inherit-fd "fd[9]:${pipes[2]}" "${given[@]}" 7</proc/self/ns/net 8>"$E2E_TMP/brought.out" 9>&8 &
        eventually 20 eval '(( $(wc -l <"$E2E_TMP/brought.out") > 3 ))' || { status=1; grep -a Error "$E2E_TMP/restore.log"; }
        kill -s KILL "$(cat "$E2E_TMP/brought.pid")" || true
        wait $! || true
        return "$status"
}
mkdir "$E2E_TMP/root-of-one"
cp -ax "/proc/$(crictl inspect "$id" | jq .info.pid)/root/." "$E2E_TMP/root-of-one"
check "CRIU brings it back from that" brought_back
check "where it was" eval '(( $(head -n 1 "$E2E_TMP/brought.out") > 3 ))'

check "a file that is there stays" refused 'is there already' "$E2E_TMP/one.tar"
check "a path that is none is refused" refused 'no absolute path' one.tar
check "a directory that is not there is told" refused 'write to .*/nowhere' "$E2E_TMP/nowhere/one.tar"
check "no parts are left" no_parts
check "it still runs" counts_on

# The agent goes while the processes stand still.
checkpoint "$E2E_TMP/two.tar" &
eventually 5 eval '! no_parts' || true
agent_kill
wait $! || true
check "they run on when the agent is killed" counts_on
agent_start "programs: {criu: $criu}"
check "its successor drops the parts" no_parts
check "and can do it" checkpoint "$E2E_TMP/three.tar"

# Limits of processes that are not root's can be asked for with CAP_SYS_RESOURCE alone.
user=
if (($(awk '/^CapEff/ { print "0x" $2 }' /proc/self/status) >> 24 & 1)); then
        user='run_as_user: {value: 1000},'
fi
first=$id

# A tree that hides another: overlayfs marks its top alone.
nginx=registry.k8s.io/e2e-test-images/nginx:1.14-2
crictl pull "$nginx" >/dev/null
id=$(container_run web deep 'rm -r /usr/share && mkdir -p /usr/share/nginx && touch /usr/share/mine && while :; do sleep 0.1; done' \
        ".image = {image: \"$nginx\"}")
eventually 5 crictl exec "$id" test -e /usr/share/mine
check "with a tree that was removed and made again, too" checkpoint "$E2E_TMP/deep.tar"
check "what was deeper in it is named" same "$(tar -xOf "$E2E_TMP/deep.tar" deleted.files | jq -r '.[] | select(startswith("/usr/"))')" \
        /usr/share/nginx/html
crictl rm --force "$id" >/dev/null

for what in '.tty = true' '.linux.security_context = {namespace_options: {pid: 0}}' \
        '.linux.security_context = {seccomp: {profile_type: 0}, masked_paths: ["/proc/kcore", "/proc/acpi", "/sys/firmware"],
                readonly_paths: ["/proc/sys", "/proc/bus"], no_new_privs: true, '"$user"' readonly_rootfs: true}
                | .linux.resources = {memory_limit_in_bytes: 67108864, cpu_quota: 50000, cpu_period: 100000}' \
        '.stdin = true' '.mounts = [{container_path: "/empty", host_path: "/dev/shm"}, {container_path: "/data", image: {image: $image}, readonly: true}]'; do
        id=$(container_run web other 'while :; do sleep 0.1; done' "$what")
        check "with $what, too" checkpoint "$E2E_TMP/other.tar"
        rm -f "$E2E_TMP/other.tar"
        crictl rm --force "$id" >/dev/null
done
id=$first

# One that never comes to an end.
printf '#!/bin/sh\nexec sleep 1000\n' >"$E2E_TMP/slow-criu"
chmod +x "$E2E_TMP/slow-criu"
agent_stop
agent_start "programs: {criu: $E2E_TMP/slow-criu}"
check "its time limit counts" refused_call 'deadline|DeadlineExceeded|time' "$id" "$E2E_TMP/four.tar" 1
check "it still runs" counts_on
other=$(container_run web other 'while :; do sleep 0.1; done')
"$(program cringle-call)" "$SOCKET" CheckpointContainer "{\"container_id\": \"$other\", \"location\": \"$E2E_TMP/five.tar\"}" 2>"$E2E_TMP/said" &
eventually 5 eval '! no_parts'
begun=$SECONDS
check "a stop ends it" crictl stop -t 0 "$other"
check "and does not wait for it" test $((SECONDS - begun)) -lt $((30 * E2E_PATIENCE))
wait $! || true
check "which says so" grep -qi 'stopped meanwhile' "$E2E_TMP/said"
crictl rm "$other" >/dev/null
check "no parts are left" eventually 5 no_parts

agent_stop
agent_start "programs: {criu: $E2E_TMP/no-criu}"
check "without CRIU it says what is missing" refused 'programs.criu' "$E2E_TMP/four.tar"
crictl stop -t 0 "$id" >/dev/null
check "one that has ended cannot" refused 'is not running' "$E2E_TMP/four.tar"
check "the pod goes" pod_remove web
leaks_none "nothing stayed behind"
e2e_end
