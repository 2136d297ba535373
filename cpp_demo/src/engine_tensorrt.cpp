// TensorRT 8.6 to 11 by names of tensors, which all of them have. The engine's passport is checked before TensorRT sees
// a byte of it: an engine file holds executable code.
#include "engine_tensorrt.h"

#include <NvInfer.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "cuda_memory.h"
#include "edgeface/error.h"
#include "engines.h"

namespace edgeface {
namespace {

// Keeps the first error for our own message; later ones are mostly its consequences.
class Logger : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity > Severity::kERROR || reason_[0] != '\0') return;
        std::strncpy(reason_, message, sizeof reason_ - 1);
    }

    std::string reason() const { return reason_[0] == '\0' ? "it gives no reason" : reason_; }

private:
    char reason_[300] = {};
};

// "10.13.3.9" of this library, as its Python module says it; 8.6 has no build number there.
std::string library_version() {
    const int number = getInferLibVersion();
    const int thousand = number >= 10000 ? 10000 : 1000;  // 8.6.1 is 8601, 10.3.0 is 100300
    std::string version = std::to_string(number / thousand) + "." + std::to_string(number % thousand / 100) + "." +
                          std::to_string(number % 100);
#if NV_TENSORRT_MAJOR >= 10
    version += "." + std::to_string(getInferLibBuildVersion());
#endif
    return version;
}

std::string read_bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Shape shape_of(const nvinfer1::Dims& dims) { return Shape(dims.d, dims.d + dims.nbDims); }

nvinfer1::Dims dims_of(const Shape& shape) {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<int>(shape.size());
    for (std::size_t k = 0; k < shape.size(); ++k) dims.d[k] = static_cast<decltype(+dims.d[0])>(shape[k]);
    return dims;
}

std::size_t count_of(const Shape& shape) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    return count;
}

}  // namespace

// TensorRT wants its context gone before its engine, its engine before its runtime, and its log to outlive them all.
struct TensorRtEngine::Parts {
    Logger log;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
};

TensorRtEngine::TensorRtEngine(const EngineRequest& request) : parts_(new Parts), outputs_(request.outputs) {
    const Passport passport = check_passport(
        request.path,
        {{"gpu", gpu_.name}, {"compute_capability", gpu_.compute_capability}, {"tensorrt", library_version()}});
    device_ = "GPU (" + gpu_.name + ", TensorRT " + library_version() + ")";
    const std::string bytes = read_bytes(request.path);
    parts_->runtime.reset(nvinfer1::createInferRuntime(parts_->log));
    if (parts_->runtime) {
        parts_->runtime->setEngineHostCodeAllowed(passport.version_compatible);  // it brings its own lean runtime
        parts_->engine.reset(parts_->runtime->deserializeCudaEngine(bytes.data(), bytes.size()));
    }
    if (parts_->engine) parts_->context.reset(parts_->engine->createExecutionContext());
    if (!parts_->context) {
        throw Error(EDGEFACE_BAD_MODEL, "TensorRT " + library_version() + " refuses the engine `" + request.path +
                                            "` (" + parts_->log.reason() + "), build it again: " + passport.command);
    }
    find_tensors(request.path);
}

TensorRtEngine::~TensorRtEngine() = default;

void TensorRtEngine::find_tensors(const std::string& path) {
    const nvinfer1::ICudaEngine& engine = *parts_->engine;
    std::vector<std::string> floats;
    for (int k = 0; k < engine.getNbIOTensors(); ++k) {
        const char* name = engine.getIOTensorName(k);
        const nvinfer1::DataType type = engine.getTensorDataType(name);
        if (engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT) {
            if (type == nvinfer1::DataType::kUINT8 && input_name_.empty()) input_name_ = name;
        } else if (type == nvinfer1::DataType::kFLOAT) {
            floats.emplace_back(name);
        }
    }
    for (const std::string& wanted : outputs_) {
        if (std::find(floats.begin(), floats.end(), wanted) != floats.end() && !input_name_.empty()) continue;
        throw Error(EDGEFACE_BAD_MODEL, "`" + path + "` lacks the uint8 input or the float32 output `" + wanted +
                                            "`; build the engine again");
    }
    input_shape_ = shape_of(engine.getTensorShape(input_name_.c_str()));
    using Select = nvinfer1::OptProfileSelector;
    smallest_ = shape_of(engine.getProfileShape(input_name_.c_str(), 0, Select::kMIN));
    largest_ = shape_of(engine.getProfileShape(input_name_.c_str(), 0, Select::kMAX));
}

// Of the output numbered `index`, now that the input's shape is set.
Shape TensorRtEngine::output_shape(std::size_t index) const {
    return shape_of(parts_->context->getTensorShape(outputs_[index].c_str()));
}

void TensorRtEngine::enqueue(void* input, const Shape& shape, const std::vector<void*>& outputs, cudaStream_t stream) {
    nvinfer1::IExecutionContext& context = *parts_->context;
    bool fine = context.setInputShape(input_name_.c_str(), dims_of(shape)) &&
                context.setTensorAddress(input_name_.c_str(), input);
    for (std::size_t k = 0; k < outputs.size(); ++k) {
        fine = fine && context.setTensorAddress(outputs_[k].c_str(), outputs[k]);
    }
    if (!fine || !context.enqueueV3(stream)) {
        throw Error(EDGEFACE_BACKEND_FAILED, "TensorRT could not run the engine: " + parts_->log.reason());
    }
}

// A batch above the engine's largest is run in parts, one below its smallest is filled up.
const std::vector<Tensor>& TensorRtEngine::infer(const std::uint8_t* pixels, const Shape& shape) {
    const std::size_t bytes = count_of(shape) / static_cast<std::size_t>(shape[0]);
    values_.assign(outputs_.size(), {});
    answers_.assign(outputs_.size(), {});
    for (std::int64_t start = 0; start < shape[0]; start += largest_[0]) {
        const std::int64_t count = std::min(largest_[0], shape[0] - start);
        Shape part = shape;
        part[0] = std::max(count, smallest_[0]);
        run_part(pixels + static_cast<std::size_t>(start) * bytes, static_cast<std::size_t>(count) * bytes, part);
        for (std::size_t k = 0; k < outputs_.size(); ++k) {
            const Shape made = output_shape(k);
            const std::size_t row = count_of(made) / static_cast<std::size_t>(made[0]);
            const std::size_t kept = values_[k].size() - row * static_cast<std::size_t>(part[0] - count);
            values_[k].resize(kept);
            answers_[k].shape = made;
            answers_[k].shape[0] = shape[0];
        }
    }
    for (std::size_t k = 0; k < outputs_.size(); ++k) answers_[k].data = values_[k].data();
    return answers_;
}

// One upload, one run, one download and one wait; the answers go behind those of the parts before.
void TensorRtEngine::run_part(const std::uint8_t* pixels, std::size_t bytes, const Shape& shape) {
    device_input_.reserve(count_of(shape));
    cuda::upload(device_input_.data(), pixels, bytes, stream_.get());
    if (!parts_->context->setInputShape(input_name_.c_str(), dims_of(shape))) {
        throw Error(EDGEFACE_BACKEND_FAILED, "the engine takes no input of this shape: " + parts_->log.reason());
    }
    std::vector<void*> outputs;
    device_outputs_.resize(outputs_.size());
    for (std::size_t k = 0; k < outputs_.size(); ++k) {
        device_outputs_[k].reserve(sizeof(float) * count_of(output_shape(k)));
        outputs.push_back(device_outputs_[k].data());
    }
    enqueue(device_input_.data(), shape, outputs, stream_.get());
    for (std::size_t k = 0; k < outputs_.size(); ++k) {
        const std::size_t before = values_[k].size(), count = count_of(output_shape(k));
        values_[k].resize(before + count);
        cuda::download(values_[k].data() + before, outputs[k], sizeof(float) * count, stream_.get());
    }
    stream_.wait();
}

std::unique_ptr<Engine> open_tensorrt(const EngineRequest& request) {
    return std::make_unique<TensorRtEngine>(request);
}

}  // namespace edgeface
