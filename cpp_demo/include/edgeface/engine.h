// A loaded network, whatever runs it: uint8 images in, named float outputs out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "edgeface/artifact.h"

namespace edgeface {

using Shape = std::vector<std::int64_t>;

// An output: `shape` and its values, row by row. The memory is the engine's and good until its next `infer`.
struct Tensor {
    Shape shape;
    const float* data = nullptr;
};

class EDGEFACE_API Engine {
public:
    virtual ~Engine() = default;

    // The input's shape [N, H, W, 3]; -1 where a size is free.
    virtual const Shape& input_shape() const = 0;

    // Run uint8 `pixels` of this `shape`; the outputs stand in the order that `open_engine` was asked for.
    virtual const std::vector<Tensor>& infer(const std::uint8_t* pixels, const Shape& shape) = 0;

    // What it really runs on, for people.
    virtual std::string device() const = 0;
};

// How to open a model file. `outputs` are those the caller needs, `backend` "auto" or one of `backends()`, `threads`
// the CPU threads of one inference (0: as many as this process may use).
struct EngineRequest {
    std::string path;
    std::vector<std::string> outputs;
    std::string backend = "auto";
    int threads = 0;
};

// The runtimes in this build, the preferred one first.
EDGEFACE_API const std::vector<std::string>& backends();

// Open a model after its passport, where it has one, was checked. "auto" takes TensorRT for an engine and the first of
// the others for an ONNX file. Throws `Error`.
EDGEFACE_API std::unique_ptr<Engine> open_engine(const EngineRequest& request);

}  // namespace edgeface
