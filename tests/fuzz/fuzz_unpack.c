/*
 * A layer's entries into a directory, and nothing beside it
 *
 * The input is text, an entry per line: a letter, a name, and what a link leads to or a file holds:
 *
 *   d dir | f file bytes | s link target | h link target | c dev | b dev | p pipe | - marks only
 *
 * Each line becomes an entry of a tar, which is read and put into a directory.  What lies beside that must stay
 * as it was, and every mark must be one that the agent takes.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/image/marks.h"
#include "agent/pull/tree.h"
#include "tests/fuzz/fuzz.h"

#define BLOCK 512
#define LINES_MAX 64

static int top = -1;                    /* of the scratch directory: "layer", and a canary beside it */

/* --- the archive --- */

static void put_entry(struct buf *tar, char type, const char *name, const char *target, const char *body)
{
        char block[BLOCK] = { 0 };
        size_t n = strlen(body);
        unsigned sum = 8 * ' ';

        if (strlen(name) > 100 || strlen(target) > 100)
                return;
        memcpy(block, name, strlen(name));
        snprintf(block + 100, 8, "%07o", type == '5' ? 0755 : 0644);
        snprintf(block + 108, 8, "%07o", 0);
        snprintf(block + 116, 8, "%07o", 0);
        snprintf(block + 124, 12, "%011zo", n);
        snprintf(block + 136, 12, "%011o", 1000);
        block[156] = type;
        memcpy(block + 157, target, strlen(target));
        memcpy(block + 257, "ustar\0" "00", 8);
        snprintf(block + 329, 8, "%07o", 1);
        snprintf(block + 337, 8, "%07o", 3);
        for (size_t i = 0; i < BLOCK; i++)
                sum += (unsigned char) block[i];
        snprintf(block + 148, 8, "%06o", sum);
        block[155] = ' ';
        buf_add(tar, block, BLOCK, NULL);
        if (n > 0) {
                static const char zeros[BLOCK];

                buf_add(tar, body, n, NULL);
                buf_add(tar, zeros, (BLOCK - n % BLOCK) % BLOCK, NULL);
        }
}

static void put_line(struct buf *tar, char *line)
{
        static const char letters[] = "dfshcbp", types[] = "5021346";
        const char *letter = *line ? strchr(letters, *line) : NULL;
        char *name = line + 2, *rest;

        if (!letter || line[1] != ' ')
                return;
        rest = name + strcspn(name, " ");
        if (*rest)
                *rest++ = '\0';
        put_entry(tar, types[letter - letters], name, *letter == 's' || *letter == 'h' ? rest : "",
                  *letter == 'f' ? rest : "");
}

/* --- the directory --- */

static void start(void)
{
        int layer;

        umask(0);
        top = open(fuzz_scratch(), O_PATH | O_DIRECTORY | O_CLOEXEC);
        fuzz_write("canary", "alive", 5);
        must(mkdirat(top, "layer", 0755) == 0);
        layer = openat(top, "layer", O_PATH | O_DIRECTORY | O_CLOEXEC);
        must(layer >= 0);
        close(layer);
}

static void must_be_unhurt(void)
{
        auto_buf canary = BUF_INIT;
        struct stat st;
        char path[120];
        DIR *dir = opendir(fuzz_scratch());
        int n = 0;

        must(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        must(n == 4);                   /* ".", "..", "canary", "layer" */
        snprintf(path, sizeof path, "%s/canary", fuzz_scratch());
        must(lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode == (S_IFREG | 0600) && st.st_nlink == 1);
        must(file_read(path, 100, &canary, NULL) == 0 && canary.len == 5);
        snprintf(path, sizeof path, "%s/layer", fuzz_scratch());
        must(lstat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

static void empty_layer(void)
{
        char path[120];

        snprintf(path, sizeof path, "%s/layer", fuzz_scratch());
        must(file_remove_tree(path, NULL) == 0 && mkdir(path, 0755) == 0);
}

struct source {
        struct buf *tar;
        bool done;
};

static int next_piece(void *data, const uint8_t **ret, size_t *ret_n, struct cringle_err *err)
{
        struct source *s = data;

        if (s->done || s->tar->len == 0)
                return 0;
        s->done = true;
        *ret = (const uint8_t *) s->tar->data;
        *ret_n = s->tar->len;
        return 1;
}

static int on_mark(void *data, const struct pull_mark *mark, const char *path, const char *target,
                   struct cringle_err *err)
{
        struct pull_mark head = *mark;
        auto_buf message = BUF_INIT;

        head.head = (struct pull_head) { PULL_VERSION, PULL_MARK };
        buf_add(&message, &head, sizeof head, NULL);
        buf_add(&message, path, head.path_len, NULL);
        buf_add(&message, target, head.target_len, NULL);
        must(marks_add(data, message.data, message.len, NULL) == 0);
        return 0;
}

static void unpack(struct buf *archive)
{
        struct source source = { archive, false };
        auto_of(tar) tar = NULL;
        auto_of(tree) tree = NULL;
        auto_fd int root = openat(top, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct marks marks = MARKS_INIT;
        const struct tar_entry *e;
        int got;

        must(root >= 0 && tar_new(next_piece, &source, &tar, NULL) == 0 && tree_new(root, LINES_MAX, &tree, NULL) == 0);
        while ((got = tar_next(tar, &e, NULL)) > 0)
                if (tree_add(tree, e, tar, NULL) < 0)
                        break;
        if (got == 0 && tree_finish(tree, on_mark, &marks, NULL) == 0)
                marks_apply(&marks, root, NULL, NULL);
        marks_done(&marks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        auto_free char *text = fuzz_text(&data, &size);
        auto_buf archive = BUF_INIT;
        char *at = text, *line;

        if (top < 0)
                start();
        while ((line = strsep(&at, "\n")))
                put_line(&archive, line);
        unpack(&archive);
        must_be_unhurt();
        empty_layer();
        return 0;
}
