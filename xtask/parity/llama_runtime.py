"""llama.cpp's own library through the bindings that llama-cpp-python carries.

`load(BINDINGS)` takes an unpacked llama-cpp-python with a built llama.cpp in vendor/ and gives a `Runtime`.
"""

import ctypes
import importlib
import os
import pathlib
import sys
import types

import numpy as np

F32 = 0


def load(bindings):
    bindings = pathlib.Path(bindings)
    os.environ.setdefault("LLAMA_CPP_LIB_PATH", str(bindings / "vendor/llama.cpp/build/bin"))
    sys.path.insert(0, str(bindings))
    sys.modules["diskcache"] = types.ModuleType("diskcache")
    return Runtime(importlib.import_module("llama_cpp.llama_cpp"))


class Runtime:
    def __init__(self, llama):
        self.llama = llama
        self.quiet = llama.llama_log_callback(lambda level, text, user_data: None)
        llama.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama.llama_backend_init()

    def logits(self, base, lora, windows):
        """Logits of each window's ids, with an adapter beside the base or without one: f32 throughout."""
        llama = self.llama
        parameters = llama.llama_model_default_params()
        parameters.use_extra_bufts = False
        model = llama.llama_model_load_from_file(str(base).encode(), parameters)
        assert model, f"llama.cpp does not load {base}"
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = max(map(len, windows))
        parameters.n_threads = parameters.n_threads_batch = len(os.sched_getaffinity(0))
        parameters.type_k = parameters.type_v = F32
        parameters.flash_attn_type = 0
        context = llama.llama_init_from_model(model, parameters)
        assert context, base
        if lora is not None:
            adapter = llama.llama_adapter_lora_init(model, str(lora).encode())
            assert adapter, f"llama.cpp does not load {lora}"
            adapters, scales = (llama.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1.0)
            assert llama.llama_set_adapters_lora(context, adapters, 1, scales) == 0
        vocab_size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        for ids in windows:
            yield self.decode(context, ids, vocab_size)
        llama.llama_free(context)
        llama.llama_model_free(model)

    def decode(self, context, ids, vocab_size):
        llama = self.llama
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        batch = llama.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.logits[at] = int(token), at, 1
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        assert llama.llama_decode(context, batch) == 0
        logits = np.ctypeslib.as_array(llama.llama_get_logits(context), shape=(len(ids), vocab_size)).copy()
        llama.llama_batch_free(batch)
        return logits
