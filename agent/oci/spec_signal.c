/*
 * The signal that asks a container to end
 */

#include <signal.h>
#include <string.h>
#include <strings.h>

#include "agent/base/str.h"
#include "agent/oci/spec.h"

/* As programs see them: the kernel's 32 and 33 belong to libc. */
#define RTMIN 34
#define RTMAX 64

/* "RTMIN", "RTMIN+3", "RTMINPLUS3", "RTMAX-3", "RTMAXMINUS3"; 0 when it is none of these. */
static int real_time(const char *name)
{
        bool from_min = strncasecmp(name, "RTMIN", 5) == 0;
        int64_t n;

        if (!from_min && strncasecmp(name, "RTMAX", 5) != 0)
                return 0;
        name += 5;
        if (!*name)
                return from_min ? RTMIN : RTMAX;
        if (from_min && *name == '+')
                name++;
        else if (from_min && strncasecmp(name, "PLUS", 4) == 0)
                name += 4;
        else if (!from_min && *name == '-')
                name++;
        else if (!from_min && strncasecmp(name, "MINUS", 5) == 0)
                name += 5;
        else
                return 0;

        if (*name == '-' || str_int64(name, 0, RTMAX - RTMIN, &n, NULL) < 0)
                return 0;
        return from_min ? RTMIN + (int) n : RTMAX - (int) n;
}

/* A name with or without "SIG", or a number; 0 when it is no signal. */
static int signal_of(const char *name)
{
        static const struct {
                const char *name;
                int number;
        } other_names[] = { { "IOT", SIGABRT }, { "CLD", SIGCHLD }, { "POLL", SIGIO }, { "IO", SIGIO } };
        int64_t number;

        if (str_int64(name, 1, RTMAX, &number, NULL) == 0)
                return (int) number;
        if (strncasecmp(name, "SIG", 3) == 0)
                name += 3;
        for (int i = 1; i < 32; i++) {
                const char *known = sigabbrev_np(i);

                if (known && strcasecmp(known, name) == 0)
                        return i;
        }
        for (size_t i = 0; i < sizeof other_names / sizeof other_names[0]; i++)
                if (strcasecmp(other_names[i].name, name) == 0)
                        return other_names[i].number;
        return real_time(name);
}

int spec_stop_signal(const Cri__ContainerConfig *container, const struct image_config *image, int *ret,
                     struct cringle_err *err)
{
        const char *name = image && !str_empty(image->stop_signal) ? image->stop_signal : "SIGTERM";
        int number;

        if (container->stop_signal != CRI__SIGNAL__SIGNAL_RUNTIME_DEFAULT) {
                const ProtobufCEnumValue *v =
                        protobuf_c_enum_descriptor_get_value(&cri__signal__descriptor, (int) container->stop_signal);

                if (!v)
                        return err_set(err, CRINGLE_E_INVALID, "stop_signal %d is not known",
                                       (int) container->stop_signal);
                name = v->name + strlen("SIGNAL_");
        }

        number = signal_of(name);
        if (!number)
                return err_set(err, CRINGLE_E_INVALID, "stop signal '%.32s' is not known", name);
        *ret = number;
        return 0;
}
