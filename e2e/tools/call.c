/*
 * cringle-call: any request of the container runtime interface, from JSON
 *
 *      cringle-call SOCKET METHOD JSON
 *
 * crictl has no words for every field.  Fields have their names of the proto, enums are numbers, maps are objects, and
 * strings are bytes: what is no UTF-8 arrives as it is.  Of the answer, strings on its first level are printed.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/json.h"
#include "e2e/tools/pod.h"

#define USAGE 2

enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };

static int add_varint(struct buf *to, uint64_t value, struct cringle_err *err)
{
        do {
                uint8_t byte = (uint8_t) (value & 0x7f);

                value >>= 7;
                if (value)
                        byte |= 0x80;
                if (buf_add(to, &byte, 1, err) < 0)
                        return -1;
        } while (value);
        return 0;
}

static int add_tag(struct buf *to, uint32_t id, int wire, struct cringle_err *err)
{
        return add_varint(to, (uint64_t) id << 3 | (unsigned) wire, err);
}

static int add_bytes(struct buf *to, uint32_t id, const void *data, size_t n, struct cringle_err *err)
{
        return add_tag(to, id, WIRE_BYTES, err) < 0 || add_varint(to, n, err) < 0 ? -1 : buf_add(to, data, n, err);
}

/* As deep as messages of the interface are in one another, none of which holds its own kind. */
static int add_message(struct buf *to, const ProtobufCMessageDescriptor *type, struct json_object *o, struct cringle_err *err);

static int add_value(struct buf *to, const ProtobufCFieldDescriptor *field, struct json_object *value, struct cringle_err *err)
{
        auto_buf inner = BUF_INIT;

        switch (field->type) {
        case PROTOBUF_C_TYPE_MESSAGE:
                if (add_message(&inner, field->descriptor, value, err) < 0)
                        return err_wrap(err, "%s", field->name);
                return add_bytes(to, field->id, inner.data, inner.len, err);
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_BYTES:
                return add_bytes(to, field->id, json_object_get_string(value), (size_t) json_object_get_string_len(value), err);
        case PROTOBUF_C_TYPE_BOOL:
        case PROTOBUF_C_TYPE_ENUM:
        case PROTOBUF_C_TYPE_INT32:
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_UINT32:
        case PROTOBUF_C_TYPE_UINT64:
                if (add_tag(to, field->id, WIRE_VARINT, err) < 0)
                        return -1;
                return add_varint(to, (uint64_t) json_object_get_int64(value), err);
        default:
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "%s: this kind of field is in no request", field->name);
        }
}

/* An object where entries are wanted: a map. */
static int add_map(struct buf *to, const ProtobufCFieldDescriptor *field, struct json_object *map, struct cringle_err *err)
{
        json_object_object_foreach(map, key, value) {
                auto_buf pair = BUF_INIT;

                if (add_bytes(&pair, 1, key, strlen(key), err) < 0 ||
                    add_bytes(&pair, 2, json_object_get_string(value), (size_t) json_object_get_string_len(value), err) < 0 ||
                    add_bytes(to, field->id, pair.data, pair.len, err) < 0)
                        return -1;
        }
        return 0;
}

static int add_list(struct buf *to, const ProtobufCFieldDescriptor *field, struct json_object *list, struct cringle_err *err)
{
        for (size_t i = 0; i < json_object_array_length(list); i++)
                if (add_value(to, field, json_object_array_get_idx(list, i), err) < 0)
                        return -1;
        return 0;
}

static int add_message(struct buf *to, const ProtobufCMessageDescriptor *type, struct json_object *o, struct cringle_err *err)
{
        if (!json_object_is_type(o, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "want an object");
        json_object_object_foreach(o, key, value) {
                const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(type, key);
                bool repeated = field && field->label == PROTOBUF_C_LABEL_REPEATED;
                int r;

                if (!field)
                        return err_set(err, CRINGLE_E_INVALID, "%s has no field '%s'", type->short_name, key);
                if (repeated && json_object_is_type(value, json_type_array))
                        r = add_list(to, field, value, err);
                else if (repeated && json_object_is_type(value, json_type_object))
                        r = add_map(to, field, value, err);
                else
                        r = add_value(to, field, value, err);
                if (r < 0)
                        return -1;
        }
        return 0;
}

static int make_request(const ProtobufCMessageDescriptor *type, const char *text, ProtobufCMessage **ret,
                        struct cringle_err *err)
{
        auto_json o = NULL;
        auto_buf bytes = BUF_INIT;

        if (json_parse_bytes(text, strlen(text), &o, err) < 0 || add_message(&bytes, type, o, err) < 0)
                return -1;
        *ret = protobuf_c_message_unpack(type, NULL, bytes.len, (const uint8_t *) bytes.data);
        return *ret ? 0 : err_set(err, CRINGLE_E_INVALID, "this is no %s", type->short_name);
}

static void show(const ProtobufCMessage *reply)
{
        for (unsigned i = 0; i < reply->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &reply->descriptor->fields[i];

                if (field->type == PROTOBUF_C_TYPE_STRING && field->label != PROTOBUF_C_LABEL_REPEATED)
                        puts(*(char *const *) ((const char *) reply + field->offset));
        }
}

static int ask(const char *socket, const char *name, const char *text, struct cringle_err *err)
{
        const ProtobufCServiceDescriptor *service = &cri__runtime_service__descriptor;
        const ProtobufCMethodDescriptor *method = protobuf_c_service_descriptor_get_method_by_name(service, name);
        auto_of(rpc_client) client = NULL;
        auto_reply(ProtobufCMessage) request = NULL;
        auto_reply(ProtobufCMessage) reply = NULL;

        if (!method) {
                service = &cri__image_service__descriptor;
                method = protobuf_c_service_descriptor_get_method_by_name(service, name);
        }
        if (!method)
                return err_set(err, CRINGLE_E_INVALID, "there is no method %s", name);
        if (make_request(method->input, text, &request, err) < 0 || rpc_client_connect(socket, &client, err) < 0 ||
            cri_call(client, service, name, request, &reply, NULL, err) < 0)
                return -1;
        show(reply);
        return 0;
}

int main(int argc, char **argv)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (argc != 4) {
                fprintf(stderr, "usage: cringle-call SOCKET METHOD JSON\n");
                return USAGE;
        }
        if (ask(argv[1], argv[2], argv[3], &err) == 0)
                return EXIT_SUCCESS;
        fprintf(stderr, "cringle-call: %s: %s\n", argv[2], err.text);
        return EXIT_FAILURE;
}
