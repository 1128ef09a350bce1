/*
 * Exec, Attach, PortForward: the kubelet gets a URL, and the bytes go elsewhere
 */

#include "agent/cri/cri.h"

HANDLER(cri_exec)
{
        struct cri *cri = data;
        const Cri__ExecRequest *r = (const Cri__ExecRequest *) request;
        struct pods_stream how = { .tty = r->tty, .in = r->stdin, .out = r->stdout, .err = r->stderr };
        Cri__ExecResponse reply = CRI__EXEC_RESPONSE__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *url = NULL;

        if (pods_stream_exec(cri->pods, r->container_id, r->cmd, r->n_cmd, &how, &url, &err) < 0) {
                rpc_call_fail(call, &err);
                return;
        }
        reply.url = url;
        rpc_call_reply(call, &reply.base);
}

HANDLER(cri_attach)
{
        struct cri *cri = data;
        const Cri__AttachRequest *r = (const Cri__AttachRequest *) request;
        struct pods_stream how = { .tty = r->tty, .in = r->stdin, .out = r->stdout, .err = r->stderr };
        Cri__AttachResponse reply = CRI__ATTACH_RESPONSE__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *url = NULL;

        if (pods_stream_attach(cri->pods, r->container_id, &how, &url, &err) < 0) {
                rpc_call_fail(call, &err);
                return;
        }
        reply.url = url;
        rpc_call_reply(call, &reply.base);
}

HANDLER(cri_port_forward)
{
        struct cri *cri = data;
        const Cri__PortForwardRequest *r = (const Cri__PortForwardRequest *) request;
        Cri__PortForwardResponse reply = CRI__PORT_FORWARD_RESPONSE__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *url = NULL;

        if (pods_stream_forward(cri->pods, r->pod_sandbox_id, r->port, r->n_port, &url, &err) < 0) {
                rpc_call_fail(call, &err);
                return;
        }
        reply.url = url;
        rpc_call_reply(call, &reply.base);
}
