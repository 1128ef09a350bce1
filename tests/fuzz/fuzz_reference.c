/* Image references: one that is taken is made of harmless words, and its full form means the same. */

#include <string.h>

#include "agent/base/str.h"
#include "agent/image/reference.h"
#include "tests/fuzz/fuzz.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyz0123456789"
#define CAPITALS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static void check(const struct reference *r)
{
        must(*r->host && strspn(r->host, LETTERS CAPITALS ".-:[]") == strlen(r->host));
        must(*r->repository && strspn(r->repository, LETTERS "._-/") == strlen(r->repository));
        must(*r->repository != '/' && !strstr(r->repository, "..") && !strstr(r->repository, "//"));
        must(r->tag || r->digest);
        must(!r->tag || (*r->tag && strspn(r->tag, LETTERS CAPITALS "._-") == strlen(r->tag)));
        must(!r->digest || digest_valid(r->digest));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        auto_free char *text = fuzz_text(&data, &size), *full = NULL, *again = NULL;
        auto_reference r = REFERENCE_INIT, same = REFERENCE_INIT;

        if (reference_parse(text, &r, NULL) < 0)
                return 0;
        check(&r);
        full = reference_text(&r, NULL);
        must(full && reference_parse(full, &same, NULL) == 0);
        must(str_equal(r.host, same.host) && str_equal(r.repository, same.repository));
        must(str_equal(r.tag, same.tag) && str_equal(r.digest, same.digest));
        again = reference_text(&same, NULL);
        must(again && strcmp(full, again) == 0);
        return 0;
}
