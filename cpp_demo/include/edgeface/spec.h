// The contract that travels with a model, in its ONNX metadata or in its engine's passport: read, never typed again.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "edgeface/artifact.h"

namespace edgeface {

// One named output: "regression" [N] or "classification" [N, labels.size()] probabilities.
struct HeadSpec {
    std::string name;
    std::string kind;
    std::vector<std::string> labels;
};

// How a model was made smaller; `flavour` is empty in a float model, else "s8s8", "u8s8" or "fp16".
struct PrecisionSpec {
    std::string flavour;
    std::string target;
};

// An attribute network: its input is uint8 [N, input_size, input_size, 3] RGB. `template_points` holds x, y of the five
// canonical landmarks as fractions of the crop's side.
struct EDGEFACE_API ModelSpec {
    std::string name;
    int input_size = 0;
    std::array<double, 10> template_points{};
    std::vector<HeadSpec> heads;
    PrecisionSpec precision;

    // The head of this name. Throws `Error` naming those there are.
    const HeadSpec& head(const std::string& wanted) const;
};

// A face detector: images are fitted to `longest_px` on the longest side, smaller ones enlarged by at most `upscale`.
struct DetectorSpec {
    std::string name;
    std::vector<int> strides;
    int multiple = 32;
    int longest_px = 640;
    double upscale = 1.0;
    double score_threshold = 0.5;
    double nms_iou = 0.4;
    PrecisionSpec precision;
};

// Parse the spec among a model file's metadata; `where` names the file in messages. Both throw `Error`.
EDGEFACE_API ModelSpec model_spec(const Metadata& metadata, const std::string& where);
EDGEFACE_API DetectorSpec detector_spec(const Metadata& metadata, const std::string& where);

}  // namespace edgeface
