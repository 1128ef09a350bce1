/*
 * What the agent runs to probe a plugin, as a program of its own for tests of the
 * plugin host: prober --probe-plugin FILE KIND NAME; and to hold one: prober --host-plugin FILE NAME
 */

#include <string.h>

#include "agent/host/host.h"

int main(int argc, char **argv)
{
        if (argc > 2 && strcmp(argv[1], "--host-plugin") == 0)
                return host_plugin_main(argv + 2);
        return argc > 2 && strcmp(argv[1], "--probe-plugin") == 0 ? host_probe_main(argv + 2) : 2;
}
