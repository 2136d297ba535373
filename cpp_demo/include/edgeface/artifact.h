// Model files on disk: their metadata, their hash, and whether they belong to this machine.
#pragma once

#include <map>
#include <string>

#include "edgeface/edgeface_c.h"

namespace edgeface {

using Metadata = std::map<std::string, std::string>;

// What an engine may be bound to, by the names that passports use ("architecture", "gpu", "tensorrt", …).
using Identity = std::map<std::string, std::string>;

EDGEFACE_API bool is_engine(const std::string& path);

// What a model file says of itself: an ONNX file inside, an engine in its passport. Throws `Error`.
EDGEFACE_API Metadata metadata(const std::string& path);

// Hex sha256 of a file's bytes. Throws `Error`.
EDGEFACE_API std::string sha256_file(const std::string& path);

struct Passport {
    bool version_compatible = false;
    std::string command;  // builds the engine again
};

// Check the passport beside `path` against the file's bytes and against `here`, the machine. An engine needs one, an
// ONNX file may have one. Throws `Error` with the field that differs, both values and the command that builds it again.
EDGEFACE_API Passport check_passport(const std::string& path, const Identity& here);

// What a CPU engine is bound to.
EDGEFACE_API Identity cpu_identity();

}  // namespace edgeface
