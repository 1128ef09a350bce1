#pragma once

/*
 * How a registry asks for credentials, and who may be given them
 *
 * Pure functions: WWW-Authenticate (RFC 9110, 11.6.1) taken apart, and the rule that keeps a
 * hostile registry from naming somebody else's token server as its own.
 */

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"

enum challenge_scheme { CHALLENGE_BEARER = 1, CHALLENGE_BASIC, CHALLENGE_OTHER };

struct challenge {
        enum challenge_scheme scheme;
        char *realm, *service, *scope;  /* NULL: not there */
};

#define CHALLENGES_MAX 8

/* The challenges in one header; more than CHALLENGES_MAX, or nonsense: -1.  Free each with challenge_done(). */
int challenge_parse(const char *header, struct challenge ret[static CHALLENGES_MAX], size_t *ret_n,
                    struct cringle_err *err);
void challenge_done(struct challenge *c);

/*
 * May a token server at @realm_host get the secrets that are meant for the registry at @host?  The same host may, and
 * one below the same registrable domain ("auth.docker.io" for "registry-1.docker.io").  Addresses only if equal.
 */
bool challenge_same_owner(const char *host, const char *realm_host);
