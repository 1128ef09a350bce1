#!/usr/bin/env bash
# What docs/PLUGINS.md promises to who writes a plugin, by the page's own commands: from nothing to a
# container that shows what the plugin did.  And the hook plugins that follow rules, on containers.
. "${BASH_SOURCE%/*}/../lib.sh"

# page_block LANGUAGE: the block of docs/PLUGINS.md that begins with ```LANGUAGE hello.
page_block() {
        awk -v open="\`\`\`$1 hello" '$0 == open { on = 1; next } on && /^```$/ { exit } on' "$E2E_TOP/docs/PLUGINS.md"
}

# says POD NAME SCRIPT [FILTER]: what a container of it writes.
says() {
        local id

        id=$(container_run "$@") || return
        eventually 10 container_is "$id" EXITED
        container_log "$1" "$2"
}

# refused WORDS POD NAME [FILTER]: no container is made, and the error has the words.
refused() {
        local words=$1

        shift
        ! container_create "$1" "$2" true "${3-.}" >"$E2E_TMP/said" 2>&1 && grep -F "$words" "$E2E_TMP/said"
}

e2e_begin sdk
registry_start conformance

# ---- from nothing to a plugin ----------------------------------------------------------

export DESTDIR=$E2E_TMP/installed
meson install -C "$E2E_BUILD" --no-rebuild >"$E2E_TMP/install.log"
PC_DIR=$(dirname "$(find "$DESTDIR" -name cringle.pc)")
PLUGIN_DIR=$DESTDIR$(pkg-config --variable=plugindir "$PC_DIR/cringle.pc")
export PATH=$(dirname "$(find "$DESTDIR" -path '*/bin/cringle')"):$PATH
export PKG_CONFIG_PATH=$PC_DIR PKG_CONFIG_SYSROOT_DIR=$DESTDIR

begun=$EPOCHREALTIME
mkdir "$E2E_TMP/work"
check "the page's commands make, build, test and install a hook" \
        env -C "$E2E_TMP/work" PKG_CONFIG_DISABLE_UNINSTALLED=1 bash -euxc "$(page_block sh)"
check "it is where the agent looks" test -f "$PLUGIN_DIR/hello.so"

# ---- in the agent ----------------------------------------------------------------------

mkdir -p "$E2E_TMP/etc/conf.d" "$E2E_TMP/dev"
echo "plugins: {dirs: ['$PLUGIN_DIR']}" >"$E2E_TMP/plugins.yaml"
cp "$E2E_TMP/plugins.yaml" "$E2E_TMP/etc/conf.d/40-plugins.yaml"
agent_start "$(page_block yaml)"
crictl pull "$E2E_IMAGE" >/dev/null
pod_run web >/dev/null
check "a container shows what the hook did" same "$(says web greeted 'echo "$GREETING"')" 'good day'
printf '# from nothing to that container: %.1f s\n' "$(bc <<<"$EPOCHREALTIME - $begun")"
check "what a container brings stays" \
        same "$(says web own 'echo "$GREETING"' '.envs = [{key: "GREETING", value: "own"}]')" 'own'
check "a bad annotation is refused in the plugin's words" \
        refused "hello: annotation hello.example.com/greet: want true or false, not 'maybe'" web bad \
        '.annotations = {"hello.example.com/greet": "maybe"}'
check "inspect shows it in use" eval 'cringle plugins inspect hello | grep -E "^state: +in use"'
pod_remove web
agent_stop

# ---- the hooks that follow rules -------------------------------------------------------

mkdir "$E2E_TMP/certificates"
echo 'a certificate' >"$E2E_TMP/certificates/ca.pem"
mknod -m 0666 "$E2E_TMP/dev/gpu0" c 1 3
mknod -m 0666 "$E2E_TMP/dev/gpu1" c 1 5
agent_start "hooks:
  plugins:
    - plugin: hello
      isolation: process
    - plugin: mounts
      settings:
        rules:
          - source=$E2E_TMP/certificates target=/etc/ssl/node annotation=sdk.test/certificates
          - do=drop target=/forbidden
    - plugin: environment
      settings:
        http_proxy: http://proxy.test:3128
        rules: ['name=NODE value=\"a node\" namespace=e2e', name=NODE value=none namespace=other override=yes]
    - plugin: devices
      settings: {allow: [path=/dev/fuse* access=rw, path=/dev/full]}
    - plugin: gpu
      settings:
        devices: ['path=$E2E_TMP/dev/gpu{}']
        env: ['name=GPUS value={}']
        need: [path=$E2E_TMP/dev]
        ldconfig: /sbin/ldconfig
        libraries: [/usr/lib/gpu]"

# ---- a hook in a process of its own ----------------------------------------------------

pod_run alone >/dev/null
check "a hook in a process of its own does the same" same "$(says alone a 'echo "$GREETING"')" 'hello'
held=$(pgrep -P "$AGENT_PID" -f -- '--host-plugin .*/hello.so hello')
kill -s SEGV "$held"
check "one that crashes fails its call at most" eventually 5 container_run alone b true
check "and is there again" same "$(says alone c 'echo "$GREETING"')" 'hello'
check_not "as another process" kill -0 "$held"
pod_remove alone

# ---- what the rules come to -------------------------------------------------------------

leaks_begin
pod_run plain >/dev/null
pod_run asking '.annotations = {"sdk.test/certificates": "true", "devices.cringle.io/add": "/dev/full",
        "gpu.cringle.io/devices": "all", "environment.cringle.io/proxy": "false"}' >/dev/null

check "a mount that nobody asked for is not there" same "$(says plain a 'ls /etc/ssl/node 2>&1 | grep -c ca.pem')" 0
check "one that a pod asks for is" same "$(says asking a 'cat /etc/ssl/node/ca.pem')" 'a certificate'
check "and read-only" same "$(says asking b 'touch /etc/ssl/node/x 2>&1 | grep -o Read-only')" 'Read-only'
check "a mount that the node forbids is dropped" same \
        "$(says plain b 'test -e /forbidden/ca.pem || echo gone' \
                ".mounts = [{container_path: \"/forbidden\", host_path: \"$E2E_TMP/certificates\"}]")" gone
check "the proxy and a variable by rule are given" same \
        "$(says plain c 'echo "$http_proxy $HTTP_PROXY $NODE"')" 'http://proxy.test:3128 http://proxy.test:3128 a node'
check "a pod can do without the proxy" same "$(says asking c 'echo "<$http_proxy>"')" '<>'
check "a device that is allowed can be used" same \
        "$(says asking d 'head -c 3 /dev/full | wc -c; echo x 2>&1 >/dev/full | grep -o "No space"')" $'3\nNo space'
check "another one is refused" refused '/dev/mem with access rw is not allowed on this node' plain d \
        '.annotations = {"devices.cringle.io/add": "/dev/mem"}'
check "accelerators come with their variables" same \
        "$(says asking e "head -c 3 $E2E_TMP/dev/gpu1 | wc -c; echo x >$E2E_TMP/dev/gpu0; echo \$GPUS")" $'3\n0,1'
check "and the loader knows their libraries" same "$(says asking f 'test -s /etc/ld.so.cache && echo cached')" cached
check "one that the node has not got is refused" refused "$E2E_TMP/dev/gpu7: No such file or directory" plain f \
        '.annotations = {"gpu.cringle.io/devices": "7"}'
pod_remove plain asking
leaks_none "nothing stays behind"
e2e_end
