"""A registry that does what a test tells it to, good or evil

`Registry()` serves on a loopback port of its own.  Content is put into `blobs` and
`manifests`; behaviour is put into `rules`: a list of functions that see each request first and may
answer it themselves (return True).  Every request is kept in `log` as (method, path, headers, body).

Only the standard library; names are as in the OCI distribution specification.
"""

import gzip
import hashlib
import http.server
import io
import json
import ssl
import tarfile
import threading

OCI = "application/vnd.oci.image."
MANIFEST = OCI + "manifest.v1+json"
INDEX = OCI + "index.v1+json"
CONFIG = OCI + "config.v1+json"
LAYER = OCI + "layer.v1.tar"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True

    def handle_any(self):
        r = self.server.registry
        n = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(n)
        with r.lock:
            r.log.append((self.command, self.path, dict(self.headers.items()), self.body))
        for rule in list(r.rules):
            if rule(self):
                return
        path = self.path.split("?")[0]
        name = path.rsplit("/", 1)[-1]
        if path == "/v2/":
            self.reply(200, b"{}")
        elif "/manifests/" in path and name in r.manifests:
            media_type, body = r.manifests[name]
            self.reply(200, body, {"Content-Type": media_type, "Docker-Content-Digest": digest(body)})
        elif "/blobs/" in path and name in r.blobs:
            self.send_blob(r.blobs[name])
        else:
            self.reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def send_blob(self, body):
        begin = self.headers.get("Range")
        if begin and begin.startswith("bytes="):
            at = int(begin[6:].split("-")[0])
            self.reply(206, body[at:], {"Content-Range": "bytes %d-%d/%d" % (at, len(body) - 1, len(body))})
        else:
            self.reply(200, body)

    do_GET = do_HEAD = do_POST = handle_any


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass                            # clients hang up on purpose here


class Registry:
    def __init__(self, certificate=None, address="127.0.0.1"):
        self.blobs, self.manifests, self.rules, self.log = {}, {}, [], []
        self.lock = threading.Lock()
        self.server = Server((address, 0), Handler)
        self.server.registry = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.host = "%s:%d" % (address, self.port)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def put(self, data):
        self.blobs[digest(data)] = data
        return digest(data)

    def put_manifest(self, document, tag=None, media_type=None):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        media_type = media_type or (document.get("mediaType", MANIFEST) if isinstance(document, dict) else MANIFEST)
        for name in filter(None, (tag, digest(body))):
            self.manifests[name] = (media_type, body)
        return {"mediaType": media_type, "digest": digest(body), "size": len(body)}

    def image(self, tars, tag="latest", blobs=None, config=None, pack=gzip.compress, **more):
        """An image of these plain tars; `blobs` instead of what packing them gives."""
        blobs = blobs or [pack(t) for t in tars]
        body = json.dumps(config or {
            "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in tars]},
        }).encode()
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.put(body), "size": len(body)},
            "layers": [{"mediaType": LAYER + "+gzip", "digest": self.put(b), "size": len(b)} for b in blobs],
        }
        manifest.update(more)
        return self.put_manifest(manifest, tag)


def tar(*entries, format=tarfile.PAX_FORMAT):
    """Entries are (name, data) or (name, {attributes of TarInfo})."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as t:
        for name, what in entries:
            info = tarfile.TarInfo(name)
            info.mode = 0o644
            if isinstance(what, bytes):
                info.size = len(what)
                t.addfile(info, io.BytesIO(what))
                continue
            data = what.pop("data", b"") if isinstance(what, dict) else b""
            info.size = len(data)
            for key, value in what.items():
                setattr(info, key, value)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def directory(name, mode=0o755, **more):
    return name, {"type": tarfile.DIRTYPE, "mode": mode, **more}


def symlink(name, target):
    return name, {"type": tarfile.SYMTYPE, "linkname": target, "mode": 0o777}


def hardlink(name, target, **more):
    return name, {"type": tarfile.LNKTYPE, "linkname": target, **more}
