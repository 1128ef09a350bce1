/*
 * "user[:group]" NUL passwd NUL group
 *
 * What is a number is that number, and nothing wraps to 0.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/oci/users.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        auto_free char *who = fuzz_text(&data, &size);
        const uint8_t *cut = memchr(data, '\0', size);
        size_t n = cut ? (size_t) (cut - data) : size;
        auto_of(oci_user) u = NULL;
        int64_t number;

        if (users_resolve(who, (const char *) data, n, cut ? (const char *) cut + 1 : NULL, cut ? size - n - 1 : 0, &u,
                          NULL) < 0)
                return 0;
        must(u->uid <= USERS_ID_MAX && u->gid <= USERS_ID_MAX && u->n_groups <= USERS_GROUPS_MAX);
        must(u->home[0] == '/' && !strchr(u->home, '\n'));
        must(!u->name || !strpbrk(u->name, ":\n"));

        who[strcspn(who, ":")] = '\0';
        if (!*who)
                must(u->uid == 0);
        else if (strspn(who, "0123456789") == strlen(who))
                must(str_int64(who, 0, USERS_ID_MAX, &number, NULL) == 0 && u->uid == number);
        else
                must(u->name && strcmp(u->name, who) == 0);
        for (size_t i = 0; i < u->n_groups; i++)
                must(u->groups[i] <= USERS_ID_MAX);
        return 0;
}
