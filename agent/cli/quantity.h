#pragma once

/*
 * Amounts as Kubernetes writes them: "500m", "0.5", "128Mi", "1e3", "2G"
 */

#include <stdint.h>

/*
 * @text in thousandths (@milli) or whole units, rounded up as Kubernetes does.
 * -1 when it is no such amount, is negative, or does not fit.
 */
int64_t quantity_parse(const char *text, int milli);
