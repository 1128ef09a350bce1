/*
 * Words with places in them; see template.h.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/own.h"
#include "agent/base/str.h"
#include "config/template.h"

const char *const template_names[] = {
        "pod.name", "pod.namespace", "pod.uid", "pod.id", "pod.labels.", "pod.annotations.",
        "container.name", "container.id", "container.image", "handler", NULL,
};

bool template_has_places(const char *text)
{
        return strstr(text, "{{");
}

static bool is_known(const char *name)
{
        for (size_t i = 0; template_names[i]; i++) {
                size_t n = strlen(template_names[i]);

                if (template_names[i][n - 1] == '.' ? strncmp(name, template_names[i], n) == 0 && name[n] :
                                                      strcmp(name, template_names[i]) == 0)
                        return true;
        }
        return false;
}

/* The name in the place at @at ("{{name}}", blanks around it allowed), the caller's; *ret_end is behind the place. */
static int take_name(const char *at, char **ret, const char **ret_end, struct cringle_err *err)
{
        const char *begin = at + 2, *end = strstr(begin, "}}");

        if (!end)
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' has no end", at);
        *ret_end = end + 2;
        while (begin < end && *begin == ' ')
                begin++;
        while (end > begin && end[-1] == ' ')
                end--;
        *ret = strndup(begin, (size_t) (end - begin));
        return *ret ? 0 : err_oom(err);
}

int template_check(const char *text, struct cringle_err *err)
{
        for (const char *at = text; (at = strstr(at, "{{"));) {
                auto_free char *name = NULL;

                if (take_name(at, &name, &at, err) < 0)
                        return -1;
                if (!is_known(name))
                        return err_set(err, CRINGLE_E_INVALID, "there is no '{{%.64s}}'", name);
        }
        return 0;
}

int template_fill(const char *text, const char *(*value)(void *data, const char *name), void *data, struct buf *ret,
                  struct cringle_err *err)
{
        for (;;) {
                const char *place = strstr(text, "{{"), *found;
                auto_free char *name = NULL;

                if (!place)
                        return buf_add_str(ret, text, err);
                if (buf_add(ret, text, (size_t) (place - text), err) < 0 || take_name(place, &name, &text, err) < 0)
                        return -1;
                found = value(data, name);
                if (found && buf_add_str(ret, found, err) < 0)
                        return -1;
        }
}
