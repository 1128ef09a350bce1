#pragma once

/*
 * Image references and digests: the grammar, strictly
 *
 * What a kubelet calls an image ("busybox", "registry.k8s.io/pause:3.10",
 * "host:5000/a/b@sha256:...") becomes four checked words.  Later code puts them into
 * URLs and file names without looking at them again: a host is a DNS name, an IPv4
 * address or a bracketed IPv6 address with an optional port, a repository is lower-case
 * components, a tag is a word, a digest is "sha256:" and 64 lower-case hexadecimal
 * digits.  Nothing else gets in.
 */

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/own.h"

#define DIGEST_LEN 71                   /* "sha256:" and 64 digits */

struct reference {
        char *host;                     /* "docker.io", "127.0.0.1:5000": of the registry, with its port if one was given */
        char *repository;               /* "library/busybox" */
        char *tag;                      /* "latest" when neither tag nor digest was given; NULL: only a digest */
        char *digest;                   /* NULL: none; wins over the tag when both are there */
};

#define REFERENCE_INIT { 0 }

void reference_done(struct reference *r);

static inline void auto_reference_done_(struct reference *r)
{
        reference_done(r);
}

#define auto_reference auto_cleanup(auto_reference_done_) struct reference

/*
 * Take @text apart.  A first component without '.', ':' that is not "localhost" is no host: docker.io then, and
 * "library/" before a single word there.  *ret must be empty; it is the caller's
 * (reference_done).  CRINGLE_E_INVALID says what is wrong.
 */
int reference_parse(const char *text, struct reference *ret, struct cringle_err *err);

/*
 * The full form: "docker.io/library/busybox:latest", "host/a@sha256:..." or, with
 * both, "host/a:tag@sha256:...".  The caller's; NULL when memory is out.
 */
char *reference_text(const struct reference *r, struct cringle_err *err);

/* As reference_text(), with the digest @digest instead of tag and digest: a RepoDigest. */
char *reference_text_digest(const struct reference *r, const char *digest, struct cringle_err *err);

/* True for exactly "sha256:" and 64 lower-case hexadecimal digits; NULL: false. */
bool digest_valid(const char *s);
