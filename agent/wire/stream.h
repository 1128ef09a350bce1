#pragma once

/*
 * What the agent and cringle-stream say to each other
 *
 * A SOCK_SEQPACKET socket on fd STREAM_CONTROL_FD; each message is one struct
 * stream_message.  A client is known by the number that cringle-stream gave it.
 *
 *   agent:  STREAM_SETUP + listener [+ certificate, key]                  once, first -> STREAM_READY or STREAM_FAILED
 *   agent:  STREAM_CERTIFICATE + certificate, key                         they are new -> STREAM_READY or STREAM_FAILED
 *   stream: STREAM_CLAIM (token)     -> STREAM_CLAIMED or STREAM_FAILED   the token is used up
 *   stream: STREAM_START             -> STREAM_STARTED + fds or STREAM_FAILED; for an exec later STREAM_EXITED
 *   stream: STREAM_DIAL (port)       -> STREAM_DIALED + fd or STREAM_FAILED, told apart by `number`
 *   stream: STREAM_RESIZE, STREAM_END                                     no answer
 *
 * One that was set up with STREAM_PAGES has no sessions but serves what the agent writes:
 *
 *   stream: STREAM_PAGE (path)       -> STREAM_PAGE_IS (content type) + file, or STREAM_FAILED
 *
 * The answers to the first two are for client 0: a setup that failed is the last thing heard, after a certificate
 * that failed the old one stays.  The agent believes cringle-stream no further than that a token came back: what a session
 * may do was said when the token was made.
 */

#include <stdint.h>

#define STREAM_VERSION 1

#define STREAM_CONTROL_FD 3
#define STREAM_TOKEN_LEN 22             /* 128 bits, URL-safe base64 */
#define STREAM_PORTS_MAX 64

enum stream_type {
        STREAM_SETUP = 1,
        STREAM_CLAIM = 2,
        STREAM_CLAIMED = 3,
        STREAM_START = 4,
        STREAM_STARTED = 5,
        STREAM_EXITED = 6,
        STREAM_DIAL = 7,
        STREAM_DIALED = 8,
        STREAM_FAILED = 9,
        STREAM_RESIZE = 10,
        STREAM_END = 11,
        STREAM_PAGE = 12,
        STREAM_PAGE_IS = 13,
        STREAM_CERTIFICATE = 14,
        STREAM_READY = 15,
};

enum stream_kind {
        STREAM_EXEC = 1,
        STREAM_ATTACH = 2,
        STREAM_FORWARD = 3,
};

/* Of a session, and which fds come with STREAM_STARTED, in this order; with STREAM_TTY one carries both ways. */
enum {
        STREAM_STDIN = 1 << 0,
        STREAM_STDOUT = 1 << 1,
        STREAM_STDERR = 1 << 2,
        STREAM_TTY = 1 << 3,
        STREAM_TLS = 1 << 4,            /* of STREAM_SETUP */
        STREAM_PAGES = 1 << 5,          /* of STREAM_SETUP */
};

struct stream_message {
        uint32_t version;
        uint32_t type;
        uint64_t client;
        uint32_t kind;                  /* STREAM_CLAIM */
        uint32_t flags;                 /* STREAM_SETUP, STREAM_CLAIMED, STREAM_STARTED */
        uint32_t number;                /* STREAM_DIAL and its answers: of the dial */
        int32_t code;                   /* STREAM_EXITED: exit code; STREAM_FAILED: enum cringle_code */
        uint32_t uid, gid;              /* STREAM_SETUP: to become */
        int64_t idle, creation;         /* STREAM_SETUP: time-outs, nanoseconds */
        uint16_t columns, rows;         /* STREAM_RESIZE */
        uint32_t n_ports;               /* STREAM_CLAIMED of a forward; STREAM_DIAL: 1 */
        uint16_t ports[STREAM_PORTS_MAX];
        char text[512];                 /* STREAM_CLAIM: the token; STREAM_FAILED: why; STREAM_PAGE: path; its answer: type */
};
