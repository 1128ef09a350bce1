#pragma once

/*
 * What gRPC writes into headers: time limits, error texts, and the five bytes
 * in front of a message
 */

#include <stddef.h>
#include <stdint.h>

#define RPC_PREFIX 5                    /* a flag byte and a length in network order */

/* @text of a grpc-timeout header in nanoseconds, at most RPC_TIMEOUT_MAX; -1 when it is none. */
#define RPC_TIMEOUT_MAX (INT64_MAX / 4)
int64_t rpc_timeout_parse(const char *text, size_t n);

/* @nsec as a grpc-timeout header, rounded up; at least "1n". */
#define RPC_TIMEOUT_TEXT 12
void rpc_timeout_text(int64_t nsec, char text[static RPC_TIMEOUT_TEXT]);

/* @text as a grpc-message header: printable ASCII, the rest as %XX.  To be freed; NULL: memory is out. */
char *rpc_message_encode(const char *text);

/* The other way, into @text of @size bytes, cut to fit.  A lone '%' stays as it is. */
void rpc_message_decode(const char *encoded, size_t n, char *text, size_t size);

void rpc_prefix_write(uint8_t prefix[static RPC_PREFIX], uint32_t n);
uint32_t rpc_prefix_length(const uint8_t prefix[static RPC_PREFIX]);
