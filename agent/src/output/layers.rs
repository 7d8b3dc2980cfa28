//! Which layer of a server a frame belongs to: one table, by Python module and by mapped file, so that
//! vLLM's parts are told apart in pictures without knowing their functions.

use crate::capture::{Frame, Language};
use crate::stack::code::{dotted, is_within};

/// Parts of a server, from the request down to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Layer {
    ApiServer,
    EngineCore,
    Executor,
    Worker,
    ModelRunner,
    ModelLayers,
    Attention,
    Sampler,
    /// Extensions of vLLM written in C++.
    Extensions,
    Torch,
    Cuda,
}

impl Layer {
    /// As legends and labels spell it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ApiServer => "API server",
            Self::EngineCore => "engine core",
            Self::Executor => "executor",
            Self::Worker => "worker",
            Self::ModelRunner => "model runner",
            Self::ModelLayers => "model layers",
            Self::Attention => "attention backend",
            Self::Sampler => "sampler",
            Self::Extensions => "vLLM extensions",
            Self::Torch => "torch",
            Self::Cuda => "CUDA",
        }
    }
}

/// The layer of a frame; most code of a process belongs to none.
pub(crate) fn layer(frame: &Frame) -> Option<Layer> {
    match frame.language {
        Language::Python => {
            let name = dotted(frame);
            longest(&PYTHON, |module| is_within(&name, module))
        }
        Language::Native => {
            let module = frame.module.as_deref()?;
            longest(&FILES, |start| module.starts_with(start))
        }
        Language::Kernel | Language::Remark => None,
    }
}

/// Of the entries that fit, the one that says most.
fn longest(table: &[(&str, Layer)], fits: impl Fn(&str) -> bool) -> Option<Layer> {
    let fitting = table.iter().filter(|(text, _)| fits(text));
    fitting.max_by_key(|(text, _)| text.len()).map(|&(_, layer)| layer)
}

/// Modules of vLLM 0.32 and 0.33 and of what it is built on.
const PYTHON: [(&str, Layer); 43] = [
    ("vllm.entrypoints", Layer::ApiServer),
    ("vllm.renderers", Layer::ApiServer),
    ("vllm.tokenizers", Layer::ApiServer),
    ("vllm.parser", Layer::ApiServer),
    ("vllm.tool_parsers", Layer::ApiServer),
    ("vllm.reasoning", Layer::ApiServer),
    ("vllm.v1.engine", Layer::ApiServer),
    ("uvicorn", Layer::ApiServer),
    ("starlette", Layer::ApiServer),
    ("fastapi", Layer::ApiServer),
    ("vllm.v1.engine.core", Layer::EngineCore),
    ("vllm.v1.engine.coordinator", Layer::EngineCore),
    ("vllm.v1.engine.tensor_ipc", Layer::EngineCore),
    ("vllm.v1.core", Layer::EngineCore),
    ("vllm.v1.structured_output", Layer::EngineCore),
    ("vllm.v1.request", Layer::EngineCore),
    ("vllm.v1.executor", Layer::Executor),
    ("vllm.distributed.device_communicators.shm_broadcast", Layer::Executor),
    ("vllm.distributed.device_communicators.shm_object_storage", Layer::Executor),
    ("vllm.distributed.device_communicators.shm_tensor_arena", Layer::Executor),
    ("vllm.v1.worker", Layer::Worker),
    ("vllm.distributed", Layer::Worker),
    ("vllm.v1.worker.gpu", Layer::ModelRunner),
    ("vllm.v1.worker.gpu_model_runner", Layer::ModelRunner),
    ("vllm.v1.worker.cpu_model_runner", Layer::ModelRunner),
    ("vllm.v1.worker.xpu_model_runner", Layer::ModelRunner),
    ("vllm.v1.worker.gpu_input_batch", Layer::ModelRunner),
    ("vllm.v1.worker.gpu_ubatch_wrapper", Layer::ModelRunner),
    ("vllm.v1.worker.block_table", Layer::ModelRunner),
    ("vllm.v1.cudagraph_dispatcher", Layer::ModelRunner),
    ("vllm.forward_context", Layer::ModelRunner),
    ("vllm.compilation", Layer::ModelRunner),
    ("vllm.model_executor", Layer::ModelLayers),
    ("vllm.lora", Layer::ModelLayers),
    ("vllm.v1.attention", Layer::Attention),
    ("vllm.model_executor.layers.attention", Layer::Attention),
    ("vllm.model_executor.layers.mla", Layer::Attention),
    ("vllm.vllm_flash_attn", Layer::Attention),
    ("flashinfer", Layer::Attention),
    ("vllm.v1.sample", Layer::Sampler),
    ("vllm.v1.worker.gpu.sample", Layer::Sampler),
    ("vllm.v1.spec_decode", Layer::Sampler),
    ("torch", Layer::Torch),
];

/// Starts of names of mapped files.
const FILES: [(&str, Layer); 21] = [
    ("_C.abi3.so", Layer::Extensions),
    ("_C_", Layer::Extensions),
    ("_moe_C", Layer::Extensions),
    ("_rocm_C", Layer::Extensions),
    ("cumem_allocator", Layer::Extensions),
    ("fs_io_C", Layer::Extensions),
    ("spinloop", Layer::Extensions),
    ("_vllm_fa", Layer::Attention),
    ("_flashmla", Layer::Attention),
    ("libtorch", Layer::Torch),
    ("libc10", Layer::Torch),
    ("_C.cpython", Layer::Torch),
    ("libtriton", Layer::Torch),
    ("libshm", Layer::Torch),
    ("libcuda.so", Layer::Cuda),
    ("libcudart", Layer::Cuda),
    ("libcublas", Layer::Cuda),
    ("libcudnn", Layer::Cuda),
    ("libnccl", Layer::Cuda),
    ("libcusparse", Layer::Cuda),
    ("libcupti", Layer::Cuda),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(language: Language, function: &str, module: Option<&str>, expected: Option<Layer>) {
        let module = module.map(str::to_owned);
        let frame = Frame { language, function: function.to_owned(), module, ..Frame::default() };
        assert_eq!(layer(&frame), expected, "{function} {:?}", frame.module);
    }

    #[test]
    fn modules_of_vllm_have_their_layers() {
        for (function, expected) in [
            ("vllm.entrypoints.openai.api_server.run_server", Some(Layer::ApiServer)),
            ("vllm.v1.engine.async_llm.AsyncLLM.generate", Some(Layer::ApiServer)),
            ("vllm.v1.engine.core_client.AsyncMPClient.get_output_async", Some(Layer::ApiServer)),
            ("vllm.v1.engine.core.EngineCore.step", Some(Layer::EngineCore)),
            ("vllm.v1.core.sched.scheduler.Scheduler.schedule", Some(Layer::EngineCore)),
            ("vllm.v1.executor.multiproc_executor.WorkerProc.worker_main", Some(Layer::Executor)),
            ("vllm.v1.worker.gpu_worker.Worker.execute_model", Some(Layer::Worker)),
            (
                "vllm.v1.worker.gpu_model_runner.GPUModelRunner.execute_model",
                Some(Layer::ModelRunner),
            ),
            (
                "vllm.v1.worker.gpu.model_runner.GPUModelRunner.execute_model",
                Some(Layer::ModelRunner),
            ),
            ("vllm.v1.worker.gpu.sample.sampler.Sampler.__call__", Some(Layer::Sampler)),
            ("vllm.model_executor.models.llama.LlamaModel.forward", Some(Layer::ModelLayers)),
            (
                "vllm.model_executor.layers.attention.attention.Attention.forward",
                Some(Layer::Attention),
            ),
            (
                "vllm.v1.attention.backends.flash_attn.FlashAttentionImpl.forward",
                Some(Layer::Attention),
            ),
            ("vllm.v1.sample.sampler.Sampler.forward", Some(Layer::Sampler)),
            ("torch.nn.modules.module.Module._call_impl", Some(Layer::Torch)),
            ("torchvision.ops.nms", None),
            ("app.main", None),
        ] {
            check(Language::Python, function, None, expected);
        }
    }

    #[test]
    fn files_have_their_layers() {
        for (module, expected) in [
            ("_C.abi3.so", Some(Layer::Extensions)),
            ("_C_AVX512.abi3.so", Some(Layer::Extensions)),
            ("_C.cpython-312-x86_64-linux-gnu.so", Some(Layer::Torch)),
            ("libtorch_cpu.so", Some(Layer::Torch)),
            ("libc10.so", Some(Layer::Torch)),
            ("libcudart.so.13", Some(Layer::Cuda)),
            ("libc.so.6", None),
            ("libpython3.12.so.1.0", None),
        ] {
            check(Language::Native, "f", Some(module), expected);
        }
        check(Language::Native, "vllm.v1.engine.core.step", None, None);
        check(Language::Kernel, "f", Some("libtorch_cpu.so"), None);
    }
}
