/*
 * What an NRI plugin may send
 *
 * The first byte chooses: bytes into its connection; the same in a short form (connection, type, stream, flags, length,
 * payload, of which the mux's and ttRPC's headers are made), so that a mutation keeps the framing; what it wants of a
 * new container; what it answers to a change of limits.
 *
 * A connection ends by itself when its bytes do, with a call of ours under way, which the input may answer.
 */

#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/json.h"
#include "agent/base/log.h"
#include "agent/rpc/ttrpc.h"
#include "hooks/nri/apply.h"
#include "hooks/nri/convert.h"
#include "nri.pb-c.h"
#include "tests/fuzz/fuzz.h"

enum { BYTES, FRAMES, ADJUSTMENT, ANSWER, MODES };

#define SPEC "{\"process\":{\"args\":[\"/bin/sh\"],\"env\":[\"A=1\",\"B=2\"],\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"soft\":0," \
             "\"hard\":0}]},\"annotations\":{\"a\":\"b\"},\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\"," \
             "\"source\":\"proc\"},{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/srv\",\"options\":[\"rbind\"]}]," \
             "\"hooks\":{\"poststop\":[{\"path\":\"/bin/true\"}]},\"linux\":{\"namespaces\":[{\"type\":\"mount\"}]," \
             "\"devices\":[{\"path\":\"/dev/fuse\",\"type\":\"c\",\"major\":10,\"minor\":229}],\"sysctl\":{\"kernel.x\":\"1\"}," \
             "\"resources\":{\"memory\":{\"limit\":1000000},\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]}}}"

/* ---- the connection ------------------------------------------------------------------- */

struct peer {
        int fd;
        const struct buf *input;
};

/* Echoes, or refuses with the method's name. */
static int serve(void *data, const char *service, const char *method, const void *payload, size_t n, struct buf *ret,
                 struct cringle_err *err)
{
        must(service && method && n <= TTRPC_MAX);
        if (n % 2)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "no method %.100s", method);
        return buf_add(ret, payload, n, err);
}

/* Once our call has come: what the input says, and the end. */
static void *play(void *data)
{
        struct peer *p = data;
        size_t sent = 0;
        char byte;

        if (recv(p->fd, &byte, 1, 0) == 1)
                while (sent < p->input->len) {
                        ssize_t r = send(p->fd, p->input->data + sent, p->input->len - sent, MSG_NOSIGNAL);

                        if (r <= 0)
                                break;
                        sent += (size_t) r;
                }
        shutdown(p->fd, SHUT_WR);
        return NULL;
}

/* Threads come and go with each run, and what a sanitizer does for one grows with its stack. */
static void want_small_stacks(void)
{
        static bool done;
        pthread_attr_t a;

        if (done)
                return;
        done = true;
        must(pthread_attr_init(&a) == 0 && pthread_attr_setstacksize(&a, 256 << 10) == 0);
        must(pthread_setattr_default_np(&a) == 0);
        pthread_attr_destroy(&a);
}

static void try_connection(const struct buf *input)
{
        static const struct ttrpc_ops ops = { .serve = serve };
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf answer = BUF_INIT;
        struct peer peer = { .input = input };
        pthread_t thread;
        struct ttrpc *t;
        int fds[2], r;

        want_small_stacks();
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        must(ttrpc_new(fds[0], &ops, NULL, &t, NULL) == 0);
        peer.fd = fds[1];
        must(pthread_create(&thread, NULL, play, &peer) == 0);
        r = ttrpc_call(t, "a.Service", "Method", "x", 1, NULL, &answer, &err);
        must(r == 0 || err.code != CRINGLE_OK);
        pthread_join(thread, NULL);
        ttrpc_free(t);
        close(fds[1]);
}

static void add32(struct buf *b, uint32_t value)
{
        value = htonl(value);
        must(buf_add(b, &value, sizeof value, NULL) == 0);
}

/* What is left of a length that is cut short counts: a frame always holds what it announces, one message does not. */
static void try_frames(const uint8_t *data, size_t size)
{
        auto_buf input = BUF_INIT;

        while (size > 0) {
                uint8_t lane = fuzz_byte(&data, &size), type = fuzz_byte(&data, &size), stream = fuzz_byte(&data, &size);
                uint8_t flags = fuzz_byte(&data, &size), len = fuzz_byte(&data, &size);
                size_t n = len < size ? len : size;
                const char tail[] = { (char) type, (char) flags };

                add32(&input, lane);
                add32(&input, (uint32_t) n + 10);
                add32(&input, len);
                add32(&input, stream);
                must(buf_add(&input, tail, sizeof tail, NULL) == 0 && buf_add(&input, data, n, NULL) == 0);
                data += n;
                size -= n;
        }
        try_connection(&input);
}

/* ---- what it wants ----------------------------------------------------------------------- */

static char *text_of(struct json_object *o)
{
        struct buf text = BUF_INIT;

        must(json_write(o, &text, NULL) == 0);
        return text.data;
}

/* Carried out or refused, the specification is one; taken back, it is the one that it was. */
static void try_adjustment(const uint8_t *data, size_t size)
{
        Nri__ContainerAdjustment *wanted = nri__container_adjustment__unpack(NULL, size, data);
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct nri_owners owners = { 0 };
        auto_json spec = NULL;
        auto_free char *before = NULL, *now = NULL, *after = NULL;
        struct adjust a;
        int r;

        if (!wanted)
                return;
        must(json_parse(SPEC, strlen(SPEC), &spec, NULL) == 0);
        a = (struct adjust) ADJUST_INIT(spec, 10);
        before = text_of(spec);
        must(adjust_begin(&a, "10-fuzz", true, NULL) == 0);
        r = nri_apply(&a, wanted, &owners, &err);
        must(r == 0 || (err.code != CRINGLE_OK && *err.text));
        now = text_of(spec);
        nri__owning_plugins__free_unpacked(nri_owners_message(&owners, "box"), NULL);
        must(adjust_undo(&a, NULL) == 0);
        after = text_of(spec);
        must(strcmp(before, after) == 0);
        nri_owners_cut(&owners, 0);
        adjust_done(&a);
        nri__container_adjustment__free_unpacked(wanted, NULL);
}

/* Its limits in the words of CRI, and back, are the same message. */
static void try_answer(const uint8_t *data, size_t size)
{
        Cri__LinuxContainerResources *asked = cri__linux_container_resources__unpack(NULL, size, data);
        Nri__LinuxResources *told;
        auto_free uint8_t *bytes = NULL;
        size_t n;

        if (!asked)
                return;
        told = nri_resources_of(asked);
        n = nri__linux_resources__get_packed_size(told);
        bytes = malloc(n + 1);
        must(bytes && nri__linux_resources__pack(told, bytes) == n);
        nri__linux_resources__free_unpacked(told, NULL);
        told = nri__linux_resources__unpack(NULL, n, bytes);
        must(told && (!asked->cpu_quota || told->cpu->quota->value == asked->cpu_quota));
        nri__linux_resources__free_unpacked(told, NULL);
        cri__linux_container_resources__free_unpacked(asked, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buf input = BUF_INIT;

        log_set_level(LOG_ERROR);
        switch (fuzz_byte(&data, &size) % MODES) {
        case BYTES:
                must(buf_add(&input, data, size, NULL) == 0);
                try_connection(&input);
                buf_done(&input);
                break;
        case FRAMES:
                try_frames(data, size);
                break;
        case ADJUSTMENT:
                try_adjustment(data, size);
                break;
        default:
                try_answer(data, size);
                break;
        }
        return 0;
}
