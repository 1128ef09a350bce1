/*
 * Regular expressions that may be handed to the C library; see pattern.h.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/pattern.h"

#define COPIES_MAX 32767

/* How often "{least,most}" at @at copies what is before it; more than COPIES_MAX: too often. */
static size_t copies_of(const char *at)
{
        const char *comma = at + 1 + strspn(at + 1, "0123456789");
        unsigned long least = strtoul(at + 1, NULL, 10);
        unsigned long most = *comma == ',' ? strtoul(comma + 1, NULL, 10) : 0;

        if (least > COPIES_MAX || most > COPIES_MAX)
                return COPIES_MAX + 1;
        return most > least ? most : least ? least : 1;
}

int pattern_check(const char *text, struct cringle_err *err)
{
        size_t copies = 1;

        if (strlen(text) > PATTERN_MAX)
                return err_set(err, CRINGLE_E_INVALID, "a pattern of more than %d bytes", PATTERN_MAX);
        for (const char *at = text; *at; at++) {
                if (*at == '\\') {
                        if (isdigit((unsigned char) at[1]))
                                return err_set(err, CRINGLE_E_INVALID, "pattern '%.200s': back-references are not supported",
                                               text);
                        at += at[1] != '\0';
                        continue;
                }
                if (*at == '{')
                        copies *= copies_of(at);
                if (strchr(")}*?+", at[0]) && at[1] == '+') /* of one character, "+" makes but one more */
                        copies *= 2;
                if (copies > COPIES_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "pattern '%.200s' repeats too much", text);
        }
        return 0;
}
