// ONNX Runtime through its C API, set up as `edgeface/runtime/ort.py` does.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "edgeface/error.h"
#include "engines.h"

namespace edgeface {
namespace {

// Every function used here is this old, and newer libraries keep serving it.
constexpr std::uint32_t kApiVersion = 14;

const OrtApi& api() {
    static const OrtApi* const table = OrtGetApiBase()->GetApi(kApiVersion);
    if (!table) {
        throw Error(EDGEFACE_BACKEND_FAILED, std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString() +
                                                 " is too old, expected 1.14 or newer");
    }
    return *table;
}

template <typename Handle>
using Owned = std::unique_ptr<Handle, std::function<void(Handle*)>>;

void check(OrtStatus* status, edgeface_status kind, const std::string& what) {
    if (!status) return;
    const std::string reason = api().GetErrorMessage(status);
    api().ReleaseStatus(status);
    throw Error(kind, what + " (" + reason.substr(0, reason.find('\n')).substr(0, 200) + ")");
}

void check(OrtStatus* status) { check(status, EDGEFACE_BACKEND_FAILED, "ONNX Runtime failed"); }

// One for the whole process; ONNX Runtime counts its users.
OrtEnv* environment() {
    static const Owned<OrtEnv> env = [] {
        OrtEnv* made = nullptr;
        check(api().CreateEnv(ORT_LOGGING_LEVEL_FATAL, "edgeface", &made));
        return Owned<OrtEnv>(made, api().ReleaseEnv);
    }();
    return env.get();
}

Owned<OrtSessionOptions> session_options(int threads) {
    OrtSessionOptions* made = nullptr;
    check(api().CreateSessionOptions(&made));
    Owned<OrtSessionOptions> options(made, api().ReleaseSessionOptions);
    check(api().SetIntraOpNumThreads(made, threads));
    check(api().SetInterOpNumThreads(made, 1));
    check(api().SetSessionExecutionMode(made, ORT_SEQUENTIAL));
    check(api().SetSessionGraphOptimizationLevel(made, ORT_ENABLE_ALL));
    check(api().SetSessionLogSeverityLevel(made, ORT_LOGGING_LEVEL_FATAL));
    check(api().AddSessionConfigEntry(made, "session.force_spinning_stop", "1"));
    return options;
}

struct ValueInfo {
    Shape shape;
    ONNXTensorElementDataType type;
};

ValueInfo described(const OrtTensorTypeAndShapeInfo* info) {
    ValueInfo found{};
    std::size_t rank = 0;
    check(api().GetTensorElementType(info, &found.type));
    check(api().GetDimensionsCount(info, &rank));
    found.shape.resize(rank);
    check(api().GetDimensions(info, found.shape.data(), rank));
    return found;
}

class OnnxRuntimeEngine : public Engine {
public:
    explicit OnnxRuntimeEngine(const EngineRequest& request)
        : threads_(request.threads > 0 ? request.threads : usable_cpus()), outputs_(request.outputs) {
        OrtSession* made = nullptr;
        const std::string version = OrtGetApiBase()->GetVersionString();
        check(api().CreateSession(environment(), request.path.c_str(), session_options(threads_).get(), &made),
              EDGEFACE_BAD_MODEL,
              "`" + request.path + "` is not an ONNX model that ONNX Runtime " + version +
                  " can load, copy or export it again");
        session_ = {made, api().ReleaseSession};
        OrtMemoryInfo* memory = nullptr;
        check(api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
        memory_ = {memory, api().ReleaseMemoryInfo};
        read_input(request.path);
        check_outputs(request.path);
    }

    const Shape& input_shape() const override { return input_shape_; }

    std::string device() const override {
        return cpu_device(std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString(), threads_);
    }

    const std::vector<Tensor>& infer(const std::uint8_t* pixels, const Shape& shape) override {
        std::size_t bytes = 1;
        for (const std::int64_t size : shape) bytes *= static_cast<std::size_t>(size);
        OrtValue* made = nullptr;
        // The C API has no read-only tensor; a session never writes to its inputs.
        check(api().CreateTensorWithDataAsOrtValue(memory_.get(), const_cast<std::uint8_t*>(pixels), bytes,
                                                   shape.data(), shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
                                                   &made));
        const Owned<OrtValue> input(made, api().ReleaseValue);
        run(input.get());
        return answers_;
    }

private:
    void run(const OrtValue* input) {
        std::vector<const char*> names;
        for (const std::string& name : outputs_) names.push_back(name.c_str());
        std::vector<OrtValue*> made(outputs_.size(), nullptr);
        const char* input_name = input_name_.c_str();
        check(api().Run(session_.get(), nullptr, &input_name, &input, 1, names.data(), names.size(), made.data()),
              EDGEFACE_BACKEND_FAILED, "ONNX Runtime could not run the model");
        values_.clear();
        for (OrtValue* value : made) values_.emplace_back(value, api().ReleaseValue);
        answers_.clear();
        for (const Owned<OrtValue>& value : values_) answers_.push_back(tensor_of(value.get()));
    }

    static Tensor tensor_of(OrtValue* value) {
        OrtTensorTypeAndShapeInfo* made = nullptr;
        check(api().GetTensorTypeAndShape(value, &made));
        const Owned<OrtTensorTypeAndShapeInfo> info(made, api().ReleaseTensorTypeAndShapeInfo);
        void* data = nullptr;
        check(api().GetTensorMutableData(value, &data));
        return {described(info.get()).shape, static_cast<const float*>(data)};
    }

    void read_input(const std::string& path) {
        std::size_t count = 0;
        check(api().SessionGetInputCount(session_.get(), &count));
        if (count == 1) {
            OrtAllocator* allocator = nullptr;
            char* name = nullptr;
            check(api().GetAllocatorWithDefaultOptions(&allocator));
            check(api().SessionGetInputName(session_.get(), 0, allocator, &name));
            input_name_ = name;
            check(api().AllocatorFree(allocator, name));
            const ValueInfo input = info_of(true, 0);
            input_shape_ = input.shape;
            if (input.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 && input.shape.size() == 4) return;
        }
        throw Error(EDGEFACE_BAD_MODEL,
                    "`" + path + "`: expected one input of uint8 [N, H, W, 3]; export the model again");
    }

    ValueInfo info_of(bool input, std::size_t index) const {
        OrtTypeInfo* made = nullptr;
        check(input ? api().SessionGetInputTypeInfo(session_.get(), index, &made)
                    : api().SessionGetOutputTypeInfo(session_.get(), index, &made));
        const Owned<OrtTypeInfo> type(made, api().ReleaseTypeInfo);
        const OrtTensorTypeAndShapeInfo* tensor = nullptr;
        check(api().CastTypeInfoToTensorInfo(type.get(), &tensor));
        return tensor ? described(tensor) : ValueInfo{{}, ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED};
    }

    void check_outputs(const std::string& path) const {
        std::size_t count = 0;
        OrtAllocator* allocator = nullptr;
        check(api().SessionGetOutputCount(session_.get(), &count));
        check(api().GetAllocatorWithDefaultOptions(&allocator));
        std::vector<std::string> floats;
        for (std::size_t k = 0; k < count; ++k) {
            char* name = nullptr;
            check(api().SessionGetOutputName(session_.get(), k, allocator, &name));
            if (info_of(false, k).type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) floats.emplace_back(name);
            check(api().AllocatorFree(allocator, name));
        }
        for (const std::string& wanted : outputs_) {
            if (std::find(floats.begin(), floats.end(), wanted) != floats.end()) continue;
            throw Error(EDGEFACE_BAD_MODEL,
                        "`" + path + "` has no float32 output `" + wanted + "`; export the model again");
        }
    }

    int threads_;
    std::vector<std::string> outputs_;
    Owned<OrtSession> session_;
    Owned<OrtMemoryInfo> memory_;
    std::string input_name_;
    Shape input_shape_;
    std::vector<Owned<OrtValue>> values_;
    std::vector<Tensor> answers_;
};

}  // namespace

std::unique_ptr<Engine> open_onnxruntime(const EngineRequest& request) {
    return std::make_unique<OnnxRuntimeEngine>(request);
}

}  // namespace edgeface
