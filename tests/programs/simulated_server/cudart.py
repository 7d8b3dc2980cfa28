"""The simulated CUDA runtime through ctypes: the calls the server makes, and nothing else.

Launch packets are tuples of ready ctypes objects, so that a launch costs one foreign call and no
conversion.
"""

import ctypes
import os

MARKER = "warplens_simulated_cuda"
LIBRARY = "libcudart.so.12"

HOST_TO_DEVICE = 1
DEVICE_TO_HOST = 2
DEVICE_TO_DEVICE = 3
_NON_BLOCKING = 1
_NO_TIMING = 2
_CAPTURE_THREAD_LOCAL = 1


class NotSimulated(Exception):
    """The CUDA runtime found is not the simulator, or there is none."""


class CudaError(Exception):
    """A call that must succeed did not."""


class Dim3(ctypes.Structure):
    _fields_ = [("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint)]


def load():
    """The simulated runtime, or NotSimulated."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NotSimulated(
            f"cannot load {LIBRARY}: {error}; set LD_LIBRARY_PATH to the simulated CUDA's folder"
        ) from error
    if not hasattr(library, MARKER):
        raise NotSimulated(
            f"{LIBRARY} is not the simulated CUDA (no symbol {MARKER}); this program never runs "
            "on a real GPU: set LD_LIBRARY_PATH to the simulated CUDA's folder"
        )
    return library


class Runtime:
    """One process's view of one device."""

    def __init__(self, device):
        self._library = load()
        self._arguments = (ctypes.c_void_p * 1)(0)
        self.register = self._library.warplens_sim_register_function
        self.register.restype = ctypes.c_void_p
        self.register.argtypes = [ctypes.c_char_p]
        self.launch_kernel = self._library.cudaLaunchKernel
        self.launch_graph = self._library.cudaGraphLaunch
        self._record = self._library.cudaEventRecord
        self._wait = self._library.cudaStreamWaitEvent
        self._copy = self._library.cudaMemcpyAsync
        self._set = self._library.cudaMemsetAsync
        self._no_flags = ctypes.c_uint(0)
        self._check("cudaSetDevice", ctypes.c_int(device))

    def _check(self, name, *arguments):
        code = getattr(self._library, name)(*arguments)
        if code:
            raise CudaError(f"{name} in process {os.getpid()}: error {code}")

    def stream(self):
        handle = ctypes.c_void_p()
        self._check("cudaStreamCreateWithFlags", ctypes.byref(handle), _NON_BLOCKING)
        return handle

    def event(self):
        handle = ctypes.c_void_p()
        self._check("cudaEventCreateWithFlags", ctypes.byref(handle), _NO_TIMING)
        return handle

    def record(self, event, stream):
        code = self._record(event, stream)
        if code:
            raise CudaError(f"cudaEventRecord: error {code}")

    def wait(self, stream, event):
        code = self._wait(stream, event, self._no_flags)
        if code:
            raise CudaError(f"cudaStreamWaitEvent: error {code}")

    def wait_on_host(self, event):
        self._check("cudaEventSynchronize", event)

    def synchronize(self):
        self._check("cudaDeviceSynchronize")

    def synchronize_stream(self, stream):
        self._check("cudaStreamSynchronize", stream)

    def malloc(self, size):
        pointer = ctypes.c_void_p()
        self._check("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer

    def free(self, pointer):
        self._check("cudaFree", pointer)

    def malloc_host(self, size):
        pointer = ctypes.c_void_p()
        self._check(
            "cudaHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(size), ctypes.c_uint(0)
        )
        return pointer

    def free_host(self, pointer):
        self._check("cudaFreeHost", pointer)

    def copy(self, packet):
        """Error code of an asynchronous copy prepared by `copy_packet`."""
        return self._copy(*packet)

    @staticmethod
    def copy_packet(destination, source, size, kind, stream):
        return (destination, source, ctypes.c_size_t(size), ctypes.c_int(kind), stream)

    def set(self, packet):
        """Error code of an asynchronous set prepared by `set_packet`."""
        return self._set(*packet)

    @staticmethod
    def set_packet(pointer, value, size, stream):
        return (pointer, ctypes.c_int(value), ctypes.c_size_t(size), stream)

    def launch_packet(self, name, grid, block, stream):
        """Arguments of `launch_kernel` for a function registered under `name`."""
        function = ctypes.c_void_p(self.register(name.encode()))
        if not function.value:
            raise CudaError(f"the simulator refused to register `{name[:80]}`")
        return (
            function,
            Dim3(grid, 1, 1),
            Dim3(block, 1, 1),
            self._arguments,
            ctypes.c_size_t(0),
            stream,
        )

    def begin_capture(self, stream):
        self._check("cudaStreamBeginCapture", stream, _CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream):
        """Ends the capture and makes the graph executable."""
        graph = ctypes.c_void_p()
        self._check("cudaStreamEndCapture", stream, ctypes.byref(graph))
        executable = ctypes.c_void_p()
        self._check(
            "cudaGraphInstantiate", ctypes.byref(executable), graph, ctypes.c_ulonglong(0)
        )
        self._check("cudaGraphDestroy", graph)
        return executable
