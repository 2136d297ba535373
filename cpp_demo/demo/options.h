// The demo's command line.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "edgeface/analyzer.h"

namespace demo {

// A command line that makes no sense; the demo prints it and exits with 2.
struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Settings {
    std::string source;
    std::string jsonl;
    std::string overlay;
    std::optional<std::int64_t> max_frames;
    edgeface::Options analyzer;
    bool help = false;
    bool version = false;
};

// Throws `UsageError`.
Settings parse(int count, const char* const* arguments);

extern const char* const kHelp;

}  // namespace demo
