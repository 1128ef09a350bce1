/*
 * Judging a plugin's tables; see judge.h.
 *
 * A struct's size says how much of it may be read: it comes first, and nothing
 * past it is looked at.  What version 1.0 of a struct had must be there.
 */

#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/str.h"
#include "agent/host/judge.h"
#include "plugins/api/hook.h"

#define FACTORIES_MAX 64
#define SIZE_SANE 65536                 /* no table of ours will ever be this large: larger is garbage */

#define SIZE_UP_TO(type, member) (offsetof(type, member) + sizeof(((type *) 0)->member))

#define PLUGIN_MIN SIZE_UP_TO(struct cringle_plugin, factories)
#define FACTORY_MIN SIZE_UP_TO(struct cringle_factory, ops)

static int check_size(const char *what, size_t found, size_t want, struct cringle_err *err)
{
        if (found < want || found > SIZE_SANE)
                return err_set(err, CRINGLE_E_PRECONDITION, "%s.size: want at least %zu, found %zu", what, want, found);
        return 0;
}

/* Lower-case words and dashes: it becomes a file name and a key of the configuration. */
static bool name_ok(const char *name)
{
        return str_is_id(name, 64) && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

static const char *name_of(const struct cringle_plugin *p, const struct cringle_factory *f)
{
        return f->name ? f->name : p->name;
}

int judge_plugin(const struct cringle_plugin *p, struct cringle_err *err)
{
        size_t n = 0;

        if (!p)
                return err_set(err, CRINGLE_E_PRECONDITION, CRINGLE_PLUGIN_SYMBOL "() returned no table");
        if (check_size("cringle_plugin", p->size, PLUGIN_MIN, err) < 0)
                return -1;
        if (p->magic != CRINGLE_PLUGIN_MAGIC)
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_plugin.magic: want 0x%08x, found 0x%08x",
                               CRINGLE_PLUGIN_MAGIC, p->magic);
        if (p->abi != CRINGLE_PLUGIN_ABI)
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_plugin.abi: want %u, found %u", CRINGLE_PLUGIN_ABI,
                               p->abi);
        if (!p->name || !p->version || !p->factories)
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_plugin.%s: missing",
                               !p->name ? "name" : !p->version ? "version" : "factories");

        for (; p->factories[n]; n++) {
                if (n == FACTORIES_MAX)
                        return err_set(err, CRINGLE_E_PRECONDITION,
                                       "cringle_plugin.factories: more than %d, or not ended by NULL", FACTORIES_MAX);
                if (check_size("cringle_factory", p->factories[n]->size, FACTORY_MIN, err) < 0)
                        return -1;
        }
        if (n == 0)
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_plugin.factories: empty");
        return 0;
}

static int judge_ops(const struct kind *k, const void *ops, struct cringle_err *err)
{
        size_t size;

        if (!ops)
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_factory.ops: missing");
        memcpy(&size, ops, sizeof size);
        if (check_size(k->ops_name, size, sizeof size, err) < 0)
                return -1;

        for (const struct kind_member *m = k->members; m->name; m++) {
                if (m->optional)
                        continue;
                if (m->offset + sizeof(kind_fn) > size)
                        return err_set(err, CRINGLE_E_PRECONDITION, "%s.size: want at least %zu for '%s', found %zu",
                                       k->ops_name, m->offset + sizeof(kind_fn), m->name, size);
                if (!kind_member_of(ops, m))
                        return err_set(err, CRINGLE_E_PRECONDITION, "%s.%s: missing", k->ops_name, m->name);
        }
        return 0;
}

static int judge_points(const struct cringle_hook_ops *ops, struct cringle_err *err)
{
        uint64_t known = (UINT64_C(1) << CRINGLE_POINTS) - CRINGLE_AT(CRINGLE_POD_RUN);

        if (ops->points == 0 || (ops->points & ~known))
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_hook_ops.points: want some of 0x%llx, found 0x%llx",
                               (unsigned long long) known, (unsigned long long) ops->points);
        return 0;
}

static int judge_factory(const struct kind *k, const struct cringle_factory *f, struct cringle_err *err)
{
        if (f->major != k->major)
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_factory.major: want %u, found %u", k->major,
                               f->major);
        if (f->minor > k->minor)
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_factory.minor: want at most %u, found %u",
                               k->minor, f->minor);
        if (f->create && !f->destroy)
                return err_set(err, CRINGLE_E_PRECONDITION, "cringle_factory.destroy: missing, but there is a create");
        if (judge_ops(k, f->ops, err) < 0)
                return -1;
        return k->number == CRINGLE_HOOK ? judge_points(f->ops, err) : 0;
}

static int not_there(const struct cringle_plugin *p, const struct kind *k, const char *name, struct cringle_err *err)
{
        auto_buf have = BUF_INIT;

        for (size_t i = 0; p->factories[i]; i++) {
                const struct kind *other = kind_of(p->factories[i]->kind);

                if (buf_printf(&have, err, "%s%s %.64s", i ? ", " : "", other ? other->name : "unknown kind",
                               name_of(p, p->factories[i])) < 0)
                        return -1;
        }
        return err_set(err, CRINGLE_E_NOT_FOUND, "cringle_plugin.factories: want %s %s, found %s", k->name, name,
                       have.data);
}

int judge_find(const struct cringle_plugin *p, const struct kind *k, const char *name, struct cringle_factory *ret,
               struct cringle_err *err)
{
        for (size_t i = 0; p->factories[i]; i++) {
                const struct cringle_factory *f = p->factories[i];
                struct cringle_factory copy = { 0 };

                if (f->kind != k->number || strcmp(name_of(p, f), name) != 0)
                        continue;
                if (!name_ok(name))
                        return err_set(err, CRINGLE_E_PRECONDITION,
                                       "cringle_factory.name: want lower-case words and dashes, found '%.64s'", name);

                memcpy(&copy, f, f->size < sizeof copy ? f->size : sizeof copy);
                copy.name = name_of(p, f);
                if (judge_factory(k, &copy, err) < 0)
                        return -1;
                *ret = copy;
                return 0;
        }
        return not_there(p, k, name, err);
}

void judge_copy_ops(const struct kind *k, const void *ops, void *ret)
{
        size_t size;

        memcpy(&size, ops, sizeof size);
        memset(ret, 0, k->ops_size);
        memcpy(ret, ops, size < k->ops_size ? size : k->ops_size);
}
