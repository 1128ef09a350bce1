/* A seccomp profile to a filter: what is taken becomes a program that the kernel could take. */

#include <linux/filter.h>

#include "agent/base/buf.h"
#include "agent/oci/seccomp.h"
#include "tests/fuzz/fuzz.h"

/* The steps of a filter lead forward, and stay in it. */
static void check_filter(const struct buf *filter)
{
        const struct sock_filter *f = (const struct sock_filter *) (const void *) filter->data;
        size_t n = filter->len / sizeof *f;

        must(filter->len % sizeof *f == 0 && n > 0 && n <= BPF_MAXINSNS);
        must(BPF_CLASS(f[n - 1].code) == BPF_RET);
        for (size_t i = 0; i < n; i++)
                if (BPF_CLASS(f[i].code) == BPF_JMP)
                        must(BPF_OP(f[i].code) == BPF_JA ? i + 1 + f[i].k < n : i + 1 + f[i].jt < n && i + 1 + f[i].jf < n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        auto_json profile = NULL;
        auto_buf filter = BUF_INIT, key = BUF_INIT;
        uint32_t flags;

        if (seccomp_profile_load((const char *) data, size, UINT64_C(0xa80425fb), &profile, NULL) < 0)
                return 0;
        seccomp_flags(profile, &flags, NULL);
        must(seccomp_key(profile, &key, NULL) == 0);
        if (seccomp_compile(profile, &filter, NULL) == 0)
                check_filter(&filter);
        return 0;
}
