// The runtimes that this build has; every one is a file of its own.
#pragma once

#include <memory>
#include <string>

#include "edgeface/engine.h"

namespace edgeface {

#ifdef EDGEFACE_WITH_ONNXRUNTIME
std::unique_ptr<Engine> open_onnxruntime(const EngineRequest& request);
#endif
#ifdef EDGEFACE_WITH_OPENCV
std::unique_ptr<Engine> open_opencv(const EngineRequest& request);
#endif
#ifdef EDGEFACE_WITH_TENSORRT
std::unique_ptr<Engine> open_tensorrt(const EngineRequest& request);
#endif

// CPUs this process may use; a container's pinning counts.
int usable_cpus();

// Whether an x86 processor multiplies signed 8-bit pairs without the saturating 16-bit sums that ruin an s8s8 graph.
bool has_vnni();

// "CPU (ONNX Runtime 1.23.0, 2 threads)".
std::string cpu_device(const std::string& runtime, int threads);

}  // namespace edgeface
