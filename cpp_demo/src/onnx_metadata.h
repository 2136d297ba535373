// The `metadata_props` of an ONNX file, read without any runtime: all backends see the same contract.
#pragma once

#include <string>

#include "edgeface/artifact.h"

namespace edgeface {

// Throws `Error` where the file is missing or no ONNX file.
Metadata onnx_metadata(const std::string& path);

}  // namespace edgeface
