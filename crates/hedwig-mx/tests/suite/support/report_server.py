"""A web server for reports of TLS: report_server.py CERTIFICATE STATUS...

Answers each POST with the next of the statuses, then goes on with the last. Writes lines of JSON: its port first, then what
came with each POST.
"""
import gzip
import http.server
import json
import ssl
import sys

statuses = [int(status) for status in sys.argv[2:]]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        posted = {"path": self.path, "host": self.headers["Host"], "type": self.headers["Content-Type"]}
        posted["report"] = json.loads(gzip.decompress(body))
        print(json.dumps(posted), flush=True)
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Server(http.server.HTTPServer):
    def handle_error(self, request, address):
        pass


server = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(json.dumps(server.server_port), flush=True)
server.serve_forever()
