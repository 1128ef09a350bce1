/*
 * cringle config: everything about the configuration that needs no agent.
 */

#include <stdio.h>
#include <string.h>

#include "agent/base/call.h"
#include "agent/base/child.h"
#include "agent/cli/cli.h"

#define CHECK_PATIENCE (10 * NSEC_PER_SEC)

/* Who serves streams knows what a certificate is: it looks itself.  What it complains of goes to @complaints. */
static int check_streaming(const struct config *config, struct buf *complaints, struct cringle_err *err)
{
        const char *certificate = config->streaming.tls_cert, *key = config->streaming.tls_key;
        const char *const argv[] = { "cringle-stream", "check", config->streaming.address, certificate, key, NULL };
        const struct child_spec spec = { .path = config->programs.stream, .argv = argv };
        struct cringle_call call = call_within(NULL, CHECK_PATIENCE);
        auto_buf output = BUF_INIT;
        int status;

        if (!certificate != !key)
                return buf_add_str(complaints, "streaming.tls_cert and streaming.tls_key go together\n", err);
        if (child_run(&spec, &call, NULL, &output, 1, complaints, &status, err) < 0)
                return err_wrap(err, "run programs.stream");
        if (status == 0)
                buf_clear(complaints);
        else if (!complaints->len)
                return buf_printf(complaints, err, "programs.stream: %s cannot be run\n", config->programs.stream);
        return 0;
}

static int check(struct cli *c, struct cringle_err *err)
{
        auto_buf complaints = BUF_INIT;
        auto_of(config) config = NULL;

        if (config_check(c->config_file, NULL, &complaints, err) < 0)
                return -1;
        if (!complaints.len && (config_load(c->config_file, NULL, &config, err) < 0 ||
                                check_streaming(config, &complaints, err) < 0))
                return -1;
        if (complaints.len) {
                fputs(complaints.data, stderr);
                return 1;
        }
        printf("the configuration is in order\n");
        return 0;
}

int verb_config(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        static const char usage[] = "config check | show [--origin] | explain KEY | defaults | document";
        const char *word = argc > 1 ? argv[1] : "";
        auto_buf text = BUF_INIT;
        int result;

        if (strcmp(word, "check") == 0 && argc == 2)
                return check(c, err);
        if (strcmp(word, "show") == 0 && (argc == 2 || (argc == 3 && strcmp(argv[2], "--origin") == 0)))
                result = config_show(c->config_file, NULL, argc == 3, &text, err);
        else if (strcmp(word, "explain") == 0 && argc == 3)
                result = config_explain(argv[2], &text, err);
        else if (strcmp(word, "defaults") == 0 && argc == 2)
                result = config_defaults(&text, err);
        else if (strcmp(word, "document") == 0 && argc == 2)
                result = config_document(&text, err);
        else
                return cli_usage(usage);

        if (result < 0)
                return -1;
        fwrite(text.data, 1, text.len, stdout);
        return 0;
}
