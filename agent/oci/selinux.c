/*
 * SELinux labels; see selinux.h.
 *
 * Whether the policy knows a label is the kernel's to say (struct spec_machine).  What is looked at here is
 * that options stay what they are: one word of a label, or a level, and not a label of their own.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/oci/selinux.h"

#define CATEGORIES 1024

static int check_word(const char *what, const char *text, struct cringle_err *err)
{
        if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != strlen(text))
                return err_set(err, CRINGLE_E_INVALID, "SELinux %s '%.100s' is malformed", what, text);
        return 0;
}

/* A letter and a number: "s0", "c1023". */
static bool take_name(const char **at, char letter)
{
        const char *p = *at;
        size_t digits;

        if (*p != letter)
                return false;
        digits = strspn(++p, "0123456789");
        if (digits == 0 || digits > 4)
                return false;
        *at = p + digits;
        return true;
}

/* "s0" or "s0:c1,c3.c7" */
static bool take_level(const char **at)
{
        if (!take_name(at, 's'))
                return false;
        if (**at != ':')
                return true;
        do {
                (*at)++;
                if (!take_name(at, 'c'))
                        return false;
        } while (**at == ',' || **at == '.');
        return true;
}

/* One level, or two as a range. */
static int check_level(const char *text, struct cringle_err *err)
{
        const char *at = text;

        if (!take_level(&at) || (*at == '-' && (at++, !take_level(&at))) || *at)
                return err_set(err, CRINGLE_E_INVALID, "SELinux level '%.100s' is malformed: want one as \"s0:c1,c2\"", text);
        return 0;
}

bool selinux_asked(const Cri__SELinuxOption *o)
{
        return o && (!str_empty(o->user) || !str_empty(o->role) || !str_empty(o->type) || !str_empty(o->level));
}

static const char *first_of(const char *a, const char *b, const char *c)
{
        return !str_empty(a) ? a : !str_empty(b) ? b : c;
}

int selinux_labels(const struct selinux_wish *wish, char **ret_process, char **ret_files, struct cringle_err *err)
{
        static const Cri__SELinuxOption none = CRI__SELINUX_OPTION__INIT;
        const Cri__SELinuxOption *c = wish->container ? wish->container : &none, *p = wish->pod ? wish->pod : &none;
        const char *user = first_of(c->user, p->user, "system_u"), *role = first_of(c->role, p->role, "system_r");
        const char *type = first_of(c->type, p->type, wish->unconfined ? "spc_t" : "container_t");
        const char *level = first_of(c->level, p->level, wish->level ? wish->level : "s0");
        /* What confines nothing has no categories either, or it could not reach what others made. */
        const char *own = first_of(c->level, p->level, wish->unconfined ? "s0" : level);
        auto_free char *process = NULL, *files = NULL;

        if (check_word("user", user, err) < 0 || check_word("role", role, err) < 0 ||
            check_word("type", type, err) < 0 || check_level(level, err) < 0)
                return -1;
        process = str_printf(err, "%s:%s:%s:%s", user, role, type, own);
        /* The user of files is never one of people's: their roles do not reach to system_u's. */
        files = process ? str_printf(err, "system_u:object_r:container_file_t:%s", level) : NULL;
        if (!files)
                return -1;
        if (ret_process)
                *ret_process = steal(&process);
        *ret_files = steal(&files);
        return 0;
}

int selinux_level_asked(const Cri__SELinuxOption *pod, const char **ret, struct cringle_err *err)
{
        *ret = pod && !str_empty(pod->level) ? pod->level : NULL;
        return *ret ? check_level(*ret, err) : 0;
}

void selinux_random_level(char ret[static SELINUX_LEVEL_MAX])
{
        uint32_t n[2] = { 0 };
        unsigned a, b;

        /* With an unlucky answer the level is taken, and whoever asked asks again. */
        (void) !getrandom(n, sizeof n, 0);
        a = n[0] % CATEGORIES;
        b = n[1] % (CATEGORIES - 1);
        b += b >= a;            /* two different ones, each pair as likely as any other */
        snprintf(ret, SELINUX_LEVEL_MAX, "s0:c%u,c%u", a < b ? a : b, a < b ? b : a);
}
