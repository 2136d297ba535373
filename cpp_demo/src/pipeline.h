// From a frame to its faces, on the CPU or on the GPU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "edgeface/analyzer.h"

namespace edgeface {

class Pipeline {
public:
    virtual ~Pipeline() = default;

    // Faces of a frame, best score first, without track numbers. Throws `Error`.
    virtual std::vector<Face> answer(const ImageView& image) = 0;

    // What the models really run on, for people.
    virtual std::string device() const = 0;
};

// Preprocessing on the CPU; the models on whatever their files and the options say. Throws `Error`.
std::unique_ptr<Pipeline> open_host_pipeline(const Options& options);

#ifdef EDGEFACE_WITH_TENSORRT
// Two TensorRT engines with everything between them on the GPU: one upload, one download and one wait a frame. Throws
// `Error`.
std::unique_ptr<Pipeline> open_gpu_pipeline(const Options& options);
#endif

}  // namespace edgeface
