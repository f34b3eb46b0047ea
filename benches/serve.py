#!/usr/bin/env python3
"""A loopback update server for measurements: a check endpoint and the packages of a folder.

    serve.py DIR PORT-FILE [--nginx]

Serves until it is killed, on a free port of 127.0.0.1 that it writes into PORT-FILE:

    GET  /api/nuitkal_pack/apps/ID/active/    the active version (ID: any 32 hex digits), or 404
    GET  /media/FILE                          a package; ranges, keep-alive, sendfile
    POST /set/FILE?version=V[&entry_point=E]  makes FILE the active version V (not with --nginx)

The answer is the file active.json beside DIR's packages; `activate` writes it, and it is sent as
it is. So nginx can serve the same folder, and does with --nginx: then no Python is on the way.
"""

import email.utils
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

APP = "0d87e2f4c1b94a6f8e3d5a7b9c0d1e2f"
CHECK = f"/api/nuitkal_pack/apps/{APP}/active/"
_digests = {}


def digest(path):
    """SHA-256 of a file, remembered while its size and time stay."""
    status = os.stat(path)
    key = (path, status.st_size, status.st_mtime_ns)
    if key not in _digests:
        with open(path, "rb") as file:
            _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[key]


def activate(folder, name, version, entry_point=None):
    """Makes a package the active version, whichever server serves the folder."""
    path = os.path.join(folder, name)
    answer = {
        "id": 1,
        "version": version,
        "file": f"/media/{urllib.parse.quote(name)}",
        "entry_point": entry_point,
        "file_size": os.path.getsize(path),
        "file_hash": digest(path),
        "upload_time": "2026-01-01T00:00:00Z",
        "changelog": "",
        "is_active": True,
        "app": APP,
    }
    target = os.path.join(folder, "active.json")
    with open(target + ".new", "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(target + ".new", target)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder = "."

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if re.fullmatch(r"/api/nuitkal_pack/apps/[0-9a-f]{32}/active/", path):
            try:
                with open(os.path.join(self.folder, "active.json"), "rb") as file:
                    self.answer(200, file.read())
            except FileNotFoundError:
                self.answer(404, '{"error":"应用 bench 没有激活版本"}'.encode())
        elif path.startswith("/media/") and "/" not in path[7:]:
            self.package(os.path.join(self.folder, path[7:]))
        else:
            self.answer(404, b'{"detail":"Not found."}')

    do_HEAD = do_GET

    def package(self, path):
        try:
            file = open(path, "rb")
        except OSError:
            return self.answer(404, b'{"detail":"Not found."}')
        with file:
            status = os.fstat(file.fileno())
            size, etag = status.st_size, f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            modified = email.utils.formatdate(status.st_mtime, usegmt=True)
            start, end = 0, size
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if self.headers.get("If-Range", etag) not in (etag, modified):
                wanted = None
            if wanted and any(wanted.groups()):
                first, last = wanted.groups()
                if first:
                    start = int(first)
                    end = min(size, int(last) + 1) if last else size
                else:
                    start = max(0, size - int(last))
                if start >= end:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(end - start))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", etag)
            self.send_header("Last-Modified", modified)
            self.end_headers()
            if self.command == "HEAD":
                return None
            self.wfile.flush()
            while start < end:
                sent = os.sendfile(self.connection.fileno(), file.fileno(), start, end - start)
                if sent == 0:
                    self.close_connection = True
                    return None
                start += sent

    def do_POST(self):
        url = urllib.parse.urlsplit(self.path)
        name = urllib.parse.unquote(url.path.removeprefix("/set/"))
        query = dict(urllib.parse.parse_qsl(url.query))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not url.path.startswith("/set/") or "/" in name or "version" not in query:
            return self.answer(404, b'{"detail":"Not found."}')
        try:
            activate(self.folder, name, query["version"], query.get("entry_point"))
        except OSError as error:
            return self.answer(404, json.dumps({"detail": str(error)}).encode())
        return self.answer(200, b"{}")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # A client that goes away in the middle is no news.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


NGINX = """\
daemon off;
worker_processes 1;
pid {temporary}/pid;
error_log stderr warn;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 100000;
    client_body_temp_path {temporary}/body;
    proxy_temp_path {temporary}/proxy;
    fastcgi_temp_path {temporary}/fastcgi;
    uwsgi_temp_path {temporary}/uwsgi;
    scgi_temp_path {temporary}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location ~ ^/api/nuitkal_pack/apps/[0-9a-f]+/active/$ {{
            default_type application/json;
            root "{folder}";
            try_files /active.json =404;
        }}
        location /media/ {{
            default_type application/zip;
            alias "{folder}/";
        }}
    }}
}}
"""


def nginx(folder, port):
    """Starts nginx on the folder; returns its process."""
    temporary = tempfile.mkdtemp(prefix="castoff-nginx-")
    configuration = os.path.join(temporary, "nginx.conf")
    user = "user root;" if os.geteuid() == 0 else ""
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(NGINX.format(temporary=temporary, folder=folder, port=port, user=user))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return subprocess.Popen([program, "-p", temporary, "-c", configuration]), temporary


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_nginx():
    return bool(shutil.which("nginx")) or os.path.exists("/usr/sbin/nginx")


def announce(port_file, port):
    with open(port_file + ".new", "w", encoding="utf-8") as file:
        file.write(f"{port}\n")
    os.replace(port_file + ".new", port_file)


def wait_for(port):
    """Until something listens on the port."""
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit("the server did not start")


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--nginx"]
    if len(arguments) != 2:
        sys.exit(__doc__)
    folder, port_file = os.path.abspath(arguments[0]), arguments[1]
    # So that `finally` is met when the server is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "--nginx" in sys.argv:
        port = free_port()
        process, temporary = nginx(folder, port)
        try:
            wait_for(port)
            announce(port_file, port)
            sys.exit(process.wait())
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(temporary, ignore_errors=True)
    else:
        Handler.folder = folder
        server = Server(("127.0.0.1", 0), Handler)
        announce(port_file, server.server_address[1])
        server.serve_forever()


if __name__ == "__main__":
    main()
