/* Request heads of the streaming server: all that a request says lies within what was given. */

#include <stdlib.h>

#include "agent/stream/http.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct http_request r;
        struct http_text t;

        if (http_parse((const char *) data, n, &r, NULL) != 1)
                return 0;
        if (r.size > n || r.path.n > r.size)
                abort();
        for (size_t at = 0; http_next_item(&r, "connection", &at, &t);)
                if (t.at < (const char *) data || t.at + t.n > (const char *) data + r.size)
                        abort();
        return 0;
}
