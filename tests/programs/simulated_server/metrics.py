"""What vLLM says of itself on /metrics, as far as profilers ask: tokens and requests of one engine."""

import http.server
import mmap
import struct
import threading

_FIGURES = struct.Struct("3d")
_TEXT = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="{model}"}} {running}
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="{model}"}} {waiting}
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="{model}"}} {generated}
"""


class Figures:
    """Shared with the engine core, which is a fork."""

    def __init__(self):
        self._memory = mmap.mmap(-1, _FIGURES.size)

    def set(self, generated, running, waiting=0.0):
        _FIGURES.pack_into(self._memory, 0, generated, running, waiting)

    def get(self):
        return _FIGURES.unpack_from(self._memory, 0)


def serve(port, model, figures):
    """Answers GET /metrics on loopback until the process ends; the port it took."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/metrics":
                self.send_error(404)
                return
            generated, running, waiting = figures.get()
            text = _TEXT.format(model=model, generated=generated, running=running, waiting=waiting)
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server.server_address[1]
