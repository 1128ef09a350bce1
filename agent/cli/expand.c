/*
 * Expansion of $(NAME); see expand.h.
 */

#include <string.h>

#include "agent/cli/expand.h"

int expand(const char *text, expand_fn value_of, void *data, struct buf *ret, struct cringle_err *err)
{
        size_t start = ret->len;

        while (*text) {
                size_t n = strcspn(text, "$");
                const char *part = text, *end;

                if (n) {
                        text += n;
                } else if (text[1] == '$') {
                        n = 1;
                        text += 2;
                } else if (text[1] == '(' && (end = strchr(text, ')'))) {
                        const char *value = value_of(data, text + 2, (size_t) (end - text) - 2);

                        n = value ? strlen(value) : (size_t) (end - text) + 1;
                        part = value ? value : text;
                        text = end + 1;
                } else {        /* a lone $, with the character after it */
                        n = text[1] ? 2 : 1;
                        text += n;
                }

                if (ret->len - start + n > EXPAND_MAX)
                        return EXPAND_TOO_LONG;
                if (buf_add(ret, part, n, err) < 0)
                        return -1;
        }
        return buf_add(ret, "", 0, err) < 0 ? -1 : EXPAND_DONE;
}
