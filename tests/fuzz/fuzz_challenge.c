/* WWW-Authenticate, and whose realm may be trusted: host NUL header */

#include <string.h>

#include "agent/base/str.h"
#include "agent/pull/challenge.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        auto_free char *host = fuzz_text(&data, &size), *header = fuzz_text(&data, &size);
        struct challenge list[CHALLENGES_MAX] = { 0 };
        size_t n = 0;

        if (challenge_parse(header, list, &n, NULL) < 0)
                return 0;
        must(n <= CHALLENGES_MAX);
        for (size_t i = 0; i < n; i++) {
                const char *realm = list[i].realm;

                must(list[i].scheme >= CHALLENGE_BEARER && list[i].scheme <= CHALLENGE_OTHER);
                must(!realm || strlen(realm) <= strlen(header));
                if (realm && *realm && *host)
                        must(challenge_same_owner(host, realm) == challenge_same_owner(realm, host));
                challenge_done(&list[i]);
        }
        must(!*host || challenge_same_owner(host, host));
        return 0;
}
