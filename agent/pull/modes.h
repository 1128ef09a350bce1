#pragma once

/*
 * What cringle-pull can be started as: one function per mode, main() chooses
 *
 * Each returns an exit status.  What it has to say it says on its control socket, not by the status.
 */

int fetch_main(int argc, char **argv);
int unpack_main(int argc, char **argv);
int lookup_main(int argc, char **argv);
