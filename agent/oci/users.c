#include <string.h>

#include "agent/base/guard.h"
#include "agent/oci/users.h"

/* Fields are spans of the file; nothing is copied until it has been chosen. */
struct span {
        const char *at;
        size_t n;
};

#define HOME_LENGTH_MAX 4095
#define PASSWD_FIELDS 7
#define GROUP_FIELDS 4

enum { NAME = 0, ID = 2, PASSWD_GID = 3, PASSWD_HOME = 5, GROUP_MEMBERS = 3 };

struct oci_user *oci_user_free(struct oci_user *u)
{
        if (!u)
                return NULL;

        free(u->groups);
        free(u->home);
        free(u->name);
        free(u);
        return NULL;
}

int oci_user_new(uint32_t uid, uint32_t gid, const char *home, const char *name, struct oci_user **ret,
                 struct cringle_err *err)
{
        auto_of(oci_user) u = calloc(1, sizeof *u);

        if (!u)
                return err_oom(err);
        u->uid = uid;
        u->gid = gid;
        u->home = strdup(home);
        if (!u->home)
                return err_oom(err);
        if (name) {
                u->name = strdup(name);
                if (!u->name)
                        return err_oom(err);
        }

        *ret = steal(&u);
        return 0;
}

int oci_user_add_group(struct oci_user *u, uint32_t gid, struct cringle_err *err)
{
        uint32_t *more;

        for (size_t i = 0; i < u->n_groups; i++)
                if (u->groups[i] == gid)
                        return 0;
        if (u->n_groups >= USERS_GROUPS_MAX)
                return err_set(err, CRINGLE_E_INVALID, "more than %d groups", USERS_GROUPS_MAX);

        more = reallocarray(u->groups, u->n_groups + 1, sizeof *more);
        if (!more)
                return err_oom(err);
        u->groups = more;
        u->groups[u->n_groups++] = gid;
        return 0;
}

static bool span_is(struct span s, const char *text, size_t n)
{
        return s.n == n && memcmp(s.at, text, n) == 0;
}

static bool all_digits(struct span s)
{
        for (size_t i = 0; i < s.n; i++)
                if (s.at[i] < '0' || s.at[i] > '9')
                        return false;
        return s.n > 0;
}

/* The number that @s, all digits, spells; -1 when it is above USERS_ID_MAX. */
static int64_t number_of(struct span s)
{
        int64_t value = 0;

        for (size_t i = 0; i < s.n; i++) {
                value = value * 10 + (s.at[i] - '0');
                if (GUARD(id_range) && value > USERS_ID_MAX)
                        return -1;
        }
        return value;
}

/* The next line of [*at, end), split at ':' into at most @max fields; the last one takes the rest.  False at the end. */
static bool next_line(const char **at, const char *end, struct span *fields, size_t max, size_t *ret_n)
{
        const char *line = *at, *stop;
        size_t n = 0;

        if (line >= end)
                return false;
        stop = memchr(line, '\n', (size_t) (end - line));
        if (!stop)
                stop = end;
        *at = stop == end ? end : stop + 1;

        for (;;) {
                const char *colon = n + 1 < max ? memchr(line, ':', (size_t) (stop - line)) : NULL;

                fields[n].at = line;
                fields[n].n = (size_t) ((colon ? colon : stop) - line);
                n++;
                if (!colon)
                        break;
                line = colon + 1;
        }
        *ret_n = n;
        return true;
}

/* Text that can travel as JSON: UTF-8 as far as lengths and continuation bytes go. */
static bool is_text(struct span s)
{
        for (size_t i = 0; i < s.n;) {
                unsigned char c = (unsigned char) s.at[i++];
                size_t more = c < 0x80 ? 0 : c < 0xc2 ? s.n : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : s.n;

                if (c < ' ' || c == 0x7f)
                        return false;
                for (; more > 0; more--, i++)
                        if (i >= s.n || ((unsigned char) s.at[i] & 0xc0) != 0x80)
                                return false;
        }
        return true;
}

/*
 * May @s be asked for as a name?  What some parser somewhere would take for a
 * number ("+1", "-1", "0x1", " 1") is none, so that no file can give it a meaning.
 */
static bool is_name(struct span s)
{
        if (s.n == 0 || s.n > 256 || s.at[0] == '+' || s.at[0] == '-')
                return false;
        if (s.n > 1 && s.at[0] == '0' && (s.at[1] == 'x' || s.at[1] == 'X'))
                return false;
        for (size_t i = 0; i < s.n; i++)
                if (s.at[i] == ' ' || s.at[i] == ',' || s.at[i] == ':')
                        return false;
        return is_text(s);
}

/* What "user" or "group" of the request is. */
struct asked {
        struct span text;
        bool by_number;
        uint32_t number;
};

static int parse_asked(const char *what, struct span text, struct asked *ret, struct cringle_err *err)
{
        int64_t number;

        ret->text = text;
        ret->by_number = GUARD(numbers_first) && all_digits(text);
        if (!ret->by_number) {
                if (!is_name(text))
                        return err_set(err, CRINGLE_E_INVALID, "'%.*s' is no %s", (int) text.n, text.at, what);
                return 0;
        }

        number = number_of(text);
        if (number < 0)
                return err_set(err, CRINGLE_E_INVALID, "%s %.*s is above %d", what, (int) (text.n > 32 ? 32 : text.n),
                               text.at, USERS_ID_MAX);
        ret->number = (uint32_t) number;
        return 0;
}

/* Is this line, whose id field is @id, the one asked for?  One whose id is no id is nobody's number. */
static bool matches(const struct asked *a, struct span name, struct span id)
{
        if (!a->by_number)
                return span_is(name, a->text.at, a->text.n);
        return all_digits(id) && number_of(id) == a->number;
}

static int id_field(const char *what, struct span s, uint32_t *ret, struct cringle_err *err)
{
        int64_t value = all_digits(s) ? number_of(s) : -1;

        if (value < 0)
                return err_set(err, CRINGLE_E_INVALID, "the image's %s is malformed for the user asked for", what);
        *ret = (uint32_t) value;
        return 0;
}

static char *home_of(struct span s)
{
        if (s.n == 0 || s.n > HOME_LENGTH_MAX || s.at[0] != '/' || !is_text(s))
                return strdup("/");
        return strndup(s.at, s.n);
}

static int find_user(const struct asked *a, const char *passwd, size_t n, struct oci_user *u, struct cringle_err *err)
{
        const char *at = passwd, *end = passwd + n;
        struct span f[PASSWD_FIELDS];
        size_t n_fields;

        while (next_line(&at, end, f, PASSWD_FIELDS, &n_fields)) {
                if (n_fields <= PASSWD_GID || !matches(a, f[NAME], f[ID]))
                        continue;
                if (id_field("passwd", f[ID], &u->uid, err) < 0 || id_field("passwd", f[PASSWD_GID], &u->gid, err) < 0)
                        return -1;

                free(u->home);
                u->home = n_fields > PASSWD_HOME ? home_of(f[PASSWD_HOME]) : strdup("/");
                if (is_name(f[NAME])) {
                        u->name = strndup(f[NAME].at, f[NAME].n);
                        if (!u->name)
                                return err_oom(err);
                }
                return u->home ? 0 : err_oom(err);
        }

        if (!a->by_number)
                return err_set(err, CRINGLE_E_INVALID, "the image knows no user '%.*s'", (int) a->text.n, a->text.at);
        u->uid = a->number;
        return 0;
}

static int find_group(const struct asked *a, const char *group, size_t n, struct oci_user *u, struct cringle_err *err)
{
        const char *at = group, *end = group + n;
        struct span f[GROUP_FIELDS];
        size_t n_fields;

        if (a->by_number) {
                u->gid = a->number;
                return 0;
        }
        while (next_line(&at, end, f, GROUP_FIELDS, &n_fields))
                if (n_fields > ID && matches(a, f[NAME], f[ID]))
                        return id_field("group file", f[ID], &u->gid, err);
        return err_set(err, CRINGLE_E_INVALID, "the image knows no group '%.*s'", (int) a->text.n, a->text.at);
}

static bool has_member(struct span list, const char *name, size_t n_name)
{
        while (list.n > 0) {
                const char *comma = memchr(list.at, ',', list.n);
                size_t n = comma ? (size_t) (comma - list.at) : list.n;

                if (span_is((struct span){ list.at, n }, name, n_name))
                        return true;
                if (!comma)
                        return false;
                list.at += n + 1;
                list.n -= n + 1;
        }
        return false;
}

static int find_memberships(const char *group, size_t n, struct oci_user *u, struct cringle_err *err)
{
        const char *at = group, *end = group + n;
        struct span f[GROUP_FIELDS];
        size_t n_fields, n_name;

        if (!u->name)
                return 0;
        n_name = strlen(u->name);
        while (next_line(&at, end, f, GROUP_FIELDS, &n_fields)) {
                int64_t gid;

                if (n_fields <= GROUP_MEMBERS || !has_member(f[GROUP_MEMBERS], u->name, n_name))
                        continue;
                gid = all_digits(f[ID]) ? number_of(f[ID]) : -1;
                if (gid < 0)
                        return err_set(err, CRINGLE_E_INVALID, "the image's group file has a malformed gid");
                if (oci_user_add_group(u, (uint32_t) gid, err) < 0)
                        return -1;
        }
        return 0;
}

int users_resolve(const char *who, const char *passwd, size_t n_passwd, const char *group, size_t n_group,
                  struct oci_user **ret, struct cringle_err *err)
{
        auto_of(oci_user) u = NULL;
        const char *colon = strchr(who, ':');
        struct asked user = { 0 }, gid = { 0 };

        /* No file reads as an empty one; there is no arithmetic on NULL. */
        if (!passwd)
                passwd = "";
        if (!group)
                group = "";

        if (!*who)
                who = "0";
        if (strlen(who) > 600)
                return err_set(err, CRINGLE_E_INVALID, "user: too long");
        if (parse_asked("user", (struct span){ who, colon ? (size_t) (colon - who) : strlen(who) }, &user, err) < 0)
                return -1;
        if (colon && parse_asked("group", (struct span){ colon + 1, strlen(colon + 1) }, &gid, err) < 0)
                return -1;

        if (oci_user_new(0, 0, "/", NULL, &u, err) < 0 || find_user(&user, passwd, n_passwd, u, err) < 0)
                return -1;
        if (colon && find_group(&gid, group, n_group, u, err) < 0)
                return -1;
        if (find_memberships(group, n_group, u, err) < 0)
                return -1;

        *ret = steal(&u);
        return 0;
}
