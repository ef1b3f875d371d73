#!/usr/bin/env python3
"""Times llama.cpp on request: the counterpart of benches/src/bin/serve.rs, with the same lines.

Uses the shared libraries of the Python package llama-cpp-python (0.3.36), the one that `import
llama_cpp` finds. `KERNELS` in a request is `plain` or `extra`: weights as they are in a file, or in one
of the CPU backend's extra buffer types, which rearranges them (`repack`, AMX); with several that take
the product the name goes on, `extra:NAME`.

    kernels                                               -> plain extra:CPU_REPACK ...
    matmul FORMAT ROWS INPUTS OUTPUTS KERNELS RUNS MS     -> BEST_WALL_NS MEDIAN_CPU_NS RUNS LEAST_CPU_NS, or none
    load FORMAT FILE                                      -> ok
    forward FORMAT ROWS WANTED KERNELS RUNS MS            -> the same; always all logits: see paired.py
    system                                                -> what llama.cpp says it uses
    open FILE KERNELS CANVAS                              -> WALL_NS CPU_NS to the end of a first step
    step WANTED RUNS MS                                   -> a time, always of all logits
    peak                                                  -> most bytes, less what Python had before
"""

import ctypes
import os
import pathlib
import sys
import time

import numpy as np

# Answers go to the real stdout; whatever the libraries print does not.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import llama_cpp as lc  # noqa: E402

TYPES = {"q4": (2, 18), "q8": (8, 34)}
F32 = 0
CPU_DEVICE = 0
P = ctypes.c_void_p
LIBRARIES = pathlib.Path(lc.__file__).parent / "lib"
QUIET = lc.llama_log_callback(lambda level, text, user: sys.stderr.write(text.decode()) if level == 4 else None)


def library(name):
    return ctypes.CDLL(str(LIBRARIES / f"lib{name}.so"), mode=ctypes.RTLD_GLOBAL)


BASE, CPU, GGML = library("ggml-base"), library("ggml-cpu"), library("ggml")


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", P), ("no_alloc", ctypes.c_bool)]


def function(lib, name, result, *arguments):
    found = getattr(lib, name)
    found.restype, found.argtypes = result, arguments
    return found


init = function(BASE, "ggml_init", P, InitParams)
new_2d = function(BASE, "ggml_new_tensor_2d", P, P, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
mul_mat = function(BASE, "ggml_mul_mat", P, P, P, P)
new_graph = function(BASE, "ggml_new_graph", P, P)
expand = function(BASE, "ggml_build_forward_expand", None, P, P)
allocate = function(BASE, "ggml_backend_alloc_ctx_tensors_from_buft", P, P, P)
set_data = function(BASE, "ggml_backend_tensor_set", None, P, P, ctypes.c_size_t, ctypes.c_size_t)
get_data = function(BASE, "ggml_backend_tensor_get", None, P, P, ctypes.c_size_t, ctypes.c_size_t)
compute = function(BASE, "ggml_backend_graph_compute", ctypes.c_int, P, P)
name_of = function(BASE, "ggml_backend_buft_name", ctypes.c_char_p, P)
new_buffer = function(BASE, "ggml_backend_buft_alloc_buffer", P, P, ctypes.c_size_t)
free_buffer = function(BASE, "ggml_backend_buffer_free", None, P)
supports = function(BASE, "ggml_backend_dev_supports_op", ctypes.c_bool, P, P)
registry = function(BASE, "ggml_backend_dev_backend_reg", P, P)
address = function(BASE, "ggml_backend_reg_get_proc_address", P, P, ctypes.c_char_p)
device_of = function(BASE, "ggml_backend_get_device", P, P)
cpu_init = function(CPU, "ggml_backend_cpu_init", P)
set_threads = function(CPU, "ggml_backend_cpu_set_n_threads", None, P, ctypes.c_int)
plain_type = function(BASE, "ggml_backend_cpu_buffer_type", P)


def timed(work, runs, ms):
    """Like `time` in benches/src/clock.rs."""
    work()
    best, cpu, began = None, [], time.perf_counter_ns()
    while len(cpu) < runs or time.perf_counter_ns() - began < ms * 1_000_000:
        from_cpu, run = time.process_time_ns(), time.perf_counter_ns()
        work()
        took = time.perf_counter_ns() - run
        cpu.append(time.process_time_ns() - from_cpu)
        best = took if best is None else min(best, took)
    return f"{best} {sorted(cpu)[len(cpu) // 2]} {len(cpu)} {min(cpu)}"


def memory(field):
    """Bytes: VmRSS is what the process has, VmHWM the most that it had."""
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024


class Products:
    """Matrix products through ggml's CPU backend, on one thread."""

    def __init__(self):
        self.backend = cpu_init()
        set_threads(self.backend, 1)
        self.device = device_of(self.backend)
        get = address(registry(self.device), b"ggml_backend_dev_get_extra_bufts")
        self.kinds = {"plain": plain_type()}
        if get:
            found = ctypes.CFUNCTYPE(ctypes.POINTER(P), P)(get)(self.device)
            while found and found[0]:
                self.kinds["extra:" + name_of(found[0]).decode().replace(" ", "_")] = found[0]
                found = ctypes.cast(ctypes.addressof(found.contents) + ctypes.sizeof(P), ctypes.POINTER(P))
        self.graphs, self.results = {}, {}

    def graph(self, form, rows, inputs, outputs, kind):
        """A graph of one product; None where weights cannot be kept this way."""
        key = (form, rows, inputs, outputs, kind)
        if key not in self.graphs:
            self.graphs[key] = self.make(*key)
        return self.graphs[key]

    def make(self, form, rows, inputs, outputs, kind):
        number, block = TYPES[form]
        weight_context = init(InitParams(1 << 16, None, True))
        context = init(InitParams(1 << 20, None, True))
        weights = new_2d(weight_context, number, inputs, outputs)
        x = new_2d(context, F32, inputs, rows)
        y = mul_mat(context, weights, x)
        # As llama.cpp asks: is there a kernel for this product with weights in such a buffer? The
        # second word of a tensor is its buffer.
        buffer = ctypes.cast(weights, ctypes.POINTER(P))
        buffer[1] = new_buffer(self.kinds[kind], 0)
        fits = supports(self.device, y)
        free_buffer(buffer[1])
        buffer[1] = None
        if not fits or not allocate(weight_context, self.kinds[kind]):
            return None
        allocate(context, self.kinds["plain"])
        random = np.random.default_rng(1)
        data = random.integers(0, 256, (outputs * inputs // 32, block), dtype=np.uint8)
        data[:, :2] = np.frombuffer(np.float16(0.0078).tobytes(), np.uint8)
        values = random.standard_normal((rows, inputs), dtype=np.float32)
        set_data(weights, data.ctypes.data, 0, data.nbytes)
        set_data(x, values.ctypes.data, 0, values.nbytes)
        graph = new_graph(context)
        expand(graph, y)
        self.check(graph, y, (form, rows, inputs, outputs), kind)
        return graph

    def check(self, graph, y, key, kind):
        """Both kinds of buffers must give the same product, or one of them was not set up right."""
        if compute(self.backend, graph) != 0:
            raise RuntimeError("the product failed")
        out = np.empty(key[1] * key[3], np.float32)
        get_data(y, out.ctypes.data, 0, out.nbytes)
        expected = self.results.setdefault(key, out)
        error = np.abs(out - expected).max() / np.abs(expected).max()
        if not error < 0.02:
            raise RuntimeError(f"{kind} differs by {error:.3f} from the product before")

    def time(self, form, rows, inputs, outputs, kind, runs, ms):
        graph = self.graph(form, rows, inputs, outputs, kind)
        if graph is None:
            return "none"
        return timed(lambda: compute(self.backend, graph), runs, ms)


class Model:
    """One GGUF file in one of the two modes."""

    def __init__(self, path, extra):
        lc.llama_log_set(QUIET, P(0))
        lc.llama_backend_init()
        parameters = lc.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.use_extra_bufts = extra
        self.model = lc.llama_model_load_from_file(path.encode(), parameters)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self.model))
        self.contexts = {}

    def context(self, rows):
        if rows not in self.contexts:
            parameters = lc.llama_context_default_params()
            parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = rows
            parameters.n_threads = parameters.n_threads_batch = 1
            context = lc.llama_init_from_model(self.model, parameters)
            if not context:
                raise RuntimeError("no context")
            lc.llama_set_causal_attn(context, False)
            batch = lc.llama_batch_init(rows, 0, 1)
            batch.n_tokens = rows
            for i in range(rows):
                batch.token[i], batch.pos[i] = i * 97 % 31997, i
                batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
            self.contexts[rows] = (context, batch)
        return self.contexts[rows]

    def step(self, rows):
        """All logits of a canvas."""
        context, batch = self.context(rows)
        if lc.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        return lc.llama_get_logits(context)

    def time(self, rows, runs, ms):
        context, _ = self.context(rows)
        answer = timed(lambda: self.step(rows), runs, ms)
        logits = np.ctypeslib.as_array(lc.llama_get_logits(context), (rows * self.vocab,))
        if not np.isfinite(logits).all() or logits.std() == 0:
            raise RuntimeError("the logits are not numbers")
        return answer

    def free(self):
        for context, batch in self.contexts.values():
            lc.llama_batch_free(batch)
            lc.llama_free(context)
        lc.llama_model_free(self.model)


class Opened:
    """One file, from nothing to a first step; nothing else is in memory but Python."""

    def __init__(self, path, kind, rows):
        self.before, self.rows = memory("VmRSS"), rows
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        self.model = Model(path, kind.startswith("extra"))
        self.model.step(rows)
        self.took = f"{time.perf_counter_ns() - wall} {time.process_time_ns() - cpu}"


def main():
    products, paths, models, opened = None, {}, {}, None

    def answer(words):
        nonlocal products, opened
        if words[0] in ("kernels", "matmul"):
            products = products or Products()
        match words:
            case ["kernels"]:
                return " ".join(products.kinds)
            case ["system"]:
                return lc.llama_print_system_info().decode().strip()
            case ["matmul", form, rows, inputs, outputs, kind, runs, ms]:
                return products.time(form, int(rows), int(inputs), int(outputs), kind, int(runs), int(ms))
            case ["load", form, path]:
                for model in models.values():
                    model.free()
                models.clear()
                paths[form] = path
                return "ok"
            case ["forward", form, rows, _, kind, runs, ms]:
                key = (form, kind)
                if key not in models:
                    models[key] = Model(paths[form], kind.startswith("extra"))
                return models[key].time(int(rows), int(runs), int(ms))
            case ["open", path, kind, rows]:
                opened = Opened(path, kind, int(rows))
                return opened.took
            case ["step", _, runs, ms]:
                return opened.model.time(opened.rows, int(runs), int(ms))
            case ["peak"]:
                return str(memory("VmHWM") - opened.before)
        return "error no such request"

    for line in sys.stdin:
        try:
            reply = answer(line.split())
        except Exception as error:  # the other side decides what to do about it
            reply = f"error {type(error).__name__} {error}"
        print(" ".join(reply.split()), file=ANSWERS)


if __name__ == "__main__":
    main()
