#pragma once

/*
 * What the verbs of the command `cringle` share
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/clock.h"
#include "agent/base/own.h"
#include "agent/rpc/client.h"
#include "config/config.h"
#include "admin.pb-c.h"
#include "cri.pb-c.h"

struct cli {
        const char *config_file;        /* --config; NULL: the usual one */
        const char *socket;             /* --socket; NULL: as configured */
        int cancel_fd;                  /* readable: the user wants no more; -1: none */
        struct config *config;          /* read when first needed */
        struct rpc_client *client;      /* connected when first needed */
};

/* The exit status of a call that makes no sense; what would make sense has been printed. */
#define CLI_USAGE 2

/*
 * A verb is called with its own words, argv[0] being the verb.  It comes to the
 * program's exit status, or to -1 and @err, which main() prints.
 */
typedef int (*verb_fn)(struct cli *c, int argc, char **argv, struct cringle_err *err);

int verb_config(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_exec(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_hooks(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_images(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_logs(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_plugin(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_plugins(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_pod(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_ps(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_reload(struct cli *c, int argc, char **argv, struct cringle_err *err);
int verb_status(struct cli *c, int argc, char **argv, struct cringle_err *err);

/* Print "usage: cringle <text>"; comes to CLI_USAGE. */
int cli_usage(const char *text);

/* The configuration, borrowed; NULL and @err when it cannot be read. */
const struct config *cli_config(struct cli *c, struct cringle_err *err);

#define CLI_PATIENCE (120 * NSEC_PER_SEC)       /* for a call that should be quick */
#define CLI_FOREVER INT64_C(0)

/* Call the agent; connects first.  *ret is freed with auto_reply. */
int cli_call(struct cli *c, const ProtobufCServiceDescriptor *service, const char *method,
             const ProtobufCMessage *request, int64_t timeout, ProtobufCMessage **ret, struct cringle_err *err);

/* The same for a method that answers with any number of messages; until it ends, or c->cancel_fd says so (CANCELLED). */
int cli_stream(struct cli *c, const ProtobufCServiceDescriptor *service, const char *method,
               const ProtobufCMessage *request, rpc_message_fn fn, void *data, struct cringle_err *err);

/*
 * From here on SIGINT, SIGTERM and SIGHUP make the fd that this comes to (the caller's) readable, and do nothing else:
 * for struct cli's cancel_fd.
 */
int cli_catch_signals(struct cringle_err *err);

#define cli_runtime(c, method, request, timeout, ret, err)                                              \
        cli_call((c), &cri__runtime_service__descriptor, (method), &(request)->base, (timeout),         \
                 (ProtobufCMessage **) (ret), (err))
#define cli_images(c, method, request, timeout, ret, err)                                               \
        cli_call((c), &cri__image_service__descriptor, (method), &(request)->base, (timeout),           \
                 (ProtobufCMessage **) (ret), (err))
#define cli_admin(c, method, request, ret, err)                                                         \
        cli_call((c), &admin__admin__descriptor, (method), &(request)->base, CLI_PATIENCE,              \
                 (ProtobufCMessage **) (ret), (err))

static inline void auto_reply_(void *p)
{
        ProtobufCMessage *message = *(ProtobufCMessage **) p;

        if (message)
                protobuf_c_message_free_unpacked(message, NULL);
}

#define auto_reply(type) auto_cleanup(auto_reply_) type *

/*
 * The pod called @name: a name, NAMESPACE/NAME, or the beginning of an id.  Of
 * several with one name the ready one, else the newest.  *ret is one of @list's.
 */
int cli_find_pod(const Cri__ListPodSandboxResponse *list, const char *name, const Cri__PodSandbox **ret,
                 struct cringle_err *err);
int cli_list_pods(struct cli *c, Cri__ListPodSandboxResponse **ret, struct cringle_err *err);

/* The containers of the pod with id @pod (NULL: of all). */
int cli_list_containers(struct cli *c, const char *pod, Cri__ListContainersResponse **ret, struct cringle_err *err);

/*
 * The id of the newest container @container of the pod @pod, both as the user wrote
 * them; the caller's.  @container NULL: @pod is POD/CONTAINER.
 */
int cli_find_container(struct cli *c, const char *pod, const char *container, char **ret, struct cringle_err *err);

/* "running", "exited": for people. */
const char *cli_container_state(Cri__ContainerState state);

/* Lines of cells, printed in columns.  Zero bytes are an empty one. */
struct table {
        char **cells;
        size_t n_cells;
        size_t columns;
};

/* A line; the first sets the number of columns.  @cells ends with NULL; control characters become '?'. */
int table_row(struct table *t, struct cringle_err *err, const char *const *cells);
void table_print(const struct table *t);
void table_done(struct table *t);

#define ROW(...) ((const char *const[]) { __VA_ARGS__, NULL })

static inline void auto_table_(struct table *t)
{
        table_done(t);
}

#define auto_table auto_cleanup(auto_table_) struct table

#define CLI_TEXT_MAX 32

/* "3m", "2h", "5d" from @then (nanoseconds since the epoch) to now; "1.5 GiB". */
const char *cli_age(int64_t then, char text[static CLI_TEXT_MAX]);
const char *cli_size(uint64_t bytes, char text[static CLI_TEXT_MAX]);

/* The first 13 digits of an id, as one usually sees them. */
const char *cli_short_id(const char *id, char text[static CLI_TEXT_MAX]);
