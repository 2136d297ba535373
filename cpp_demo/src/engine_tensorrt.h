// A TensorRT engine, with host memory as every `Engine` or with device memory for the GPU pipeline.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda_memory.h"
#include "edgeface/engine.h"

namespace edgeface {

class TensorRtEngine : public Engine {
public:
    // Throws `Error` without a GPU, and where engine, passport and machine do not belong together.
    explicit TensorRtEngine(const EngineRequest& request);
    ~TensorRtEngine() override;

    const Shape& input_shape() const override { return input_shape_; }
    const std::vector<Tensor>& infer(const std::uint8_t* pixels, const Shape& shape) override;
    std::string device() const override { return device_; }

    // Smallest and largest input the engine takes.
    const Shape& smallest() const { return smallest_; }
    const Shape& largest() const { return largest_; }

    // Run on device memory: `input` uint8 of this shape, the outputs in `open_engine`'s order. Does not wait.
    void enqueue(void* input, const Shape& shape, const std::vector<void*>& outputs, cudaStream_t stream);

private:
    struct Parts;

    void find_tensors(const std::string& path);
    Shape output_shape(std::size_t index) const;
    void run_part(const std::uint8_t* pixels, std::size_t bytes, const Shape& shape);

    cuda::Gpu gpu_ = cuda::find_gpu();
    std::unique_ptr<Parts> parts_;
    std::vector<std::string> outputs_;
    std::string device_;
    std::string input_name_;
    Shape input_shape_, smallest_, largest_;
    cuda::Stream stream_;
    cuda::Buffer device_input_;
    std::vector<cuda::Buffer> device_outputs_;
    std::vector<std::vector<float>> values_;
    std::vector<Tensor> answers_;
};

}  // namespace edgeface
