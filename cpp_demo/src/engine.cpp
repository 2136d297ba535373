#include "edgeface/engine.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "edgeface/error.h"
#include "edgeface/spec.h"
#include "engines.h"

namespace edgeface {
namespace {

struct Runtime {
    std::string name;
    std::unique_ptr<Engine> (*open)(const EngineRequest&);
};

const std::vector<Runtime>& runtimes() {
    static const std::vector<Runtime> all{
#ifdef EDGEFACE_WITH_TENSORRT
        {"tensorrt", open_tensorrt},
#endif
#ifdef EDGEFACE_WITH_ONNXRUNTIME
        {"onnxruntime", open_onnxruntime},
#endif
#ifdef EDGEFACE_WITH_OPENCV
        {"opencv", open_opencv},
#endif
    };
    return all;
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "none" : text;
}

// TensorRT runs engines and nothing else does.
bool runs(const Runtime& runtime, const std::string& path) { return (runtime.name == "tensorrt") == is_engine(path); }

const Runtime& choose(const EngineRequest& request) {
    for (const Runtime& runtime : runtimes()) {
        if (request.backend != runtime.name && request.backend != "auto") continue;
        if (runs(runtime, request.path)) return runtime;
        if (request.backend == "auto") continue;
        throw Error(EDGEFACE_INVALID_ARGUMENT, "the backend " + request.backend + " cannot run `" + request.path +
                                                   "`: TensorRT runs .engine files, the others .onnx files");
    }
    const std::string wanted = request.backend == "auto" ? "for `" + request.path + "`" : "`" + request.backend + "`";
    throw Error(EDGEFACE_BACKEND_FAILED, "no backend " + wanted + " in this build, it has " + joined(backends()));
}

PrecisionSpec precision_of(const Metadata& found, const std::string& where) {
    if (found.count("edgeface.spec")) return model_spec(found, where).precision;
    if (found.count("edgeface.detector")) return detector_spec(found, where).precision;
    return {};
}

void check_cpu_model(const std::string& path) {
    check_passport(path, cpu_identity());
    const PrecisionSpec precision = precision_of(metadata(path), "`" + path + "`");
    if (precision.flavour != "s8s8" || has_vnni()) return;
    throw Error(EDGEFACE_BACKEND_FAILED,
                "`" + path + "` is int8 with signed activations, for the target " + precision.target +
                    "; this x86 processor has no VNNI, its 16-bit sums would saturate: quantise with --target cpu-x86");
}

}  // namespace

const std::vector<std::string>& backends() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> list;
        for (const Runtime& runtime : runtimes()) list.push_back(runtime.name);
        return list;
    }();
    return names;
}

std::unique_ptr<Engine> open_engine(const EngineRequest& request) {
    const Runtime& runtime = choose(request);
    if (!is_engine(request.path)) check_cpu_model(request.path);
    return runtime.open(request);
}

int usable_cpus() {
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) == 0) return std::max(1, CPU_COUNT(&usable));
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

bool has_vnni() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni");
#else
    return true;
#endif
}

std::string cpu_device(const std::string& runtime, int threads) {
    return "CPU (" + runtime + ", " + std::to_string(threads) + (threads > 1 ? " threads)" : " thread)");
}

}  // namespace edgeface
