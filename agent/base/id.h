#pragma once

/*
 * Object ids: 64 lower-case hexadecimal digits, as all runtimes give them
 */

#include <stdbool.h>

#define ID_LEN 64

/* A fresh random id. */
void id_make(char ret[static ID_LEN + 1]);

/* True for exactly such an id. */
bool id_valid(const char *s);
