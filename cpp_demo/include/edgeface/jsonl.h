// Results as lines of JSON, letter by letter as `edgeface run --per-frame` writes them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "edgeface/analyzer.h"

namespace edgeface {

// Where a frame comes from: the source's name, its number from 0, its time in seconds, its size in pixels.
struct FrameInfo {
    std::string source;
    std::int64_t index = 0;
    std::optional<double> pts_s;
    int width = 0;
    int height = 0;
};

// One JSON object and its line break: pixels and years to a hundredth, probabilities to four digits.
EDGEFACE_API std::string json_line(const FrameInfo& frame, const std::vector<Face>& faces);

// `value` rounded to so many decimals, as short as it can be written: Python's `repr(round(value, decimals))`.
EDGEFACE_API std::string json_number(double value, int decimals);

}  // namespace edgeface
