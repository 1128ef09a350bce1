/*
 * The unpack half: a blob on stdin, a directory, and nothing else
 *
 * It learns the expected digest and the limits, gives up all rights but those to make files in that
 * directory, and turns the stream into files.  Order matters: everything is
 * allocated and loaded before the confinement, no byte of the blob is read before it is complete.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/err.h"
#include "agent/base/sock.h"
#include "agent/pull/confine.h"
#include "agent/pull/modes.h"
#include "agent/pull/plain.h"
#include "agent/pull/say.h"
#include "agent/pull/tar.h"
#include "agent/pull/tree.h"
#include "agent/wire/pull.h"

static int read_order(struct pull_unpack *ret, struct cringle_err *err)
{
        size_t n, n_fds = 0;

        if (sock_recv(PULL_CONTROL_FD, ret, sizeof *ret, &n, NULL, &n_fds, err) < 0)
                return -1;
        if (n != sizeof *ret || ret->head.version != PULL_VERSION || ret->head.type != PULL_UNPACK)
                return err_set(err, CRINGLE_E_INTERNAL, "the agent speaks another protocol than this program");
        ret->diff_id[sizeof ret->diff_id - 1] = '\0';
        return 0;
}

static int send_mark(void *data, const struct pull_mark *mark, const char *path, const char *target,
                     struct cringle_err *err)
{
        char message[PULL_MESSAGE_MAX];
        struct pull_mark head = *mark;

        head.head = (struct pull_head) { PULL_VERSION, PULL_MARK };
        if (sizeof head + head.path_len + head.target_len > sizeof message)
                return err_set(err, CRINGLE_E_INVALID, "'%.200s': the path is too long", path);
        memcpy(message, &head, sizeof head);
        memcpy(message + sizeof head, path, head.path_len);
        memcpy(message + sizeof head + head.path_len, target, head.target_len);
        return sock_send(PULL_CONTROL_FD, message, sizeof head + head.path_len + head.target_len, NULL, 0, err);
}

static int unpack_entries(struct tar *tar, struct tree *tree, struct cringle_err *err)
{
        const struct tar_entry *e;
        int got;

        while ((got = tar_next(tar, &e, err)) > 0)
                if (tree_add(tree, e, tar, err) < 0)
                        return -1;
        return got;
}

/* What follows the archive's end belongs to the digest too. */
static int drain(struct plain *plain, struct cringle_err *err)
{
        const uint8_t *bytes;
        size_t n;
        int got;

        while ((got = plain_next(plain, &bytes, &n, err)) > 0)
                continue;
        return got;
}

static int unpack(struct cringle_err *err)
{
        struct pull_unpacked done = { .head = { PULL_VERSION, PULL_UNPACKED } };
        struct pull_unpack order;
        struct plain_limits limits;
        auto_of(plain) plain = NULL;
        auto_of(tar) tar = NULL;
        auto_of(tree) tree = NULL;
        auto_fd int root = -1;

        if (read_order(&order, err) < 0)
                return -1;
        limits = (struct plain_limits) { order.max_bytes, order.ratio, order.ratio_from };
        if (plain_new(STDIN_FILENO, &limits, &plain, err) < 0 || tar_new(plain_next, plain, &tar, err) < 0)
                return -1;
        if (confine_unpack(PULL_LAYER_FD, order.max_bytes, &root, err) < 0)
                return err_wrap(err, "confine the unpack half");
        close(PULL_LAYER_FD);           /* the same directory, but on the host's mount */
        if (tree_new(root, order.max_entries, &tree, err) < 0)
                return -1;

        if (unpack_entries(tar, tree, err) < 0 || drain(plain, err) < 0)
                return -1;
        if (plain_digest(plain, done.diff_id, &done.bytes, err) < 0)
                return -1;
        if (strcmp(done.diff_id, order.diff_id) != 0)
                return err_set(err, CRINGLE_E_DATA_LOSS, "the layer unpacks to %s, the image's config says %s",
                               done.diff_id, order.diff_id);
        if (tree_finish(tree, send_mark, NULL, err) < 0)
                return -1;

        done.entries = tree_entries(tree);
        return sock_send(PULL_CONTROL_FD, &done, sizeof done, NULL, 0, err);
}

int unpack_main(int argc, char **argv)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (unpack(&err) < 0) {
                say_failed(PULL_CONTROL_FD, &err);
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
