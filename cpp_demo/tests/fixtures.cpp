#include "fixtures.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "edgeface/engine.h"

namespace fixtures {
namespace {

namespace fs = std::filesystem;

struct Folder {
    fs::path path = fs::temp_directory_path() / ("edgeface-tests-" + std::to_string(getpid()));
    Folder() { fs::create_directories(path); }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

}  // namespace

std::string tiny(const std::string& name) {
    const std::vector<std::string>& all = edgeface::backends();
    const bool for_opencv = std::find(all.begin(), all.end(), "onnxruntime") == all.end();
    return std::string(EDGEFACE_TEST_MODELS) + (for_opencv ? "/opencv/" : "/") + name;
}

std::string golden(const std::string& name) { return std::string(EDGEFACE_TEST_GOLDEN) + "/" + name; }

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string scratch(const std::string& name) {
    static const Folder folder;
    return (folder.path / name).string();
}

Picture squares(const std::vector<Place>& places, int width, int height, int padding) {
    const std::ptrdiff_t stride = 3 * static_cast<std::ptrdiff_t>(width) + padding;
    Picture picture{width, height, stride, std::vector<std::uint8_t>(static_cast<std::size_t>(stride * height), 0)};
    for (const Place& place : places) {
        for (int y = place.y; y < std::min(place.y + 32, height); ++y) {
            for (int x = place.x; x < std::min(place.x + 32, width); ++x) {
                std::copy_n(place.colour, 3, picture.pixels.begin() + y * stride + 3 * x);
            }
        }
    }
    return picture;
}

edgeface::Options tiny_options() {
    edgeface::Options options;
    options.detector = tiny("detector.onnx");
    options.attributes = tiny("attributes.onnx");
    options.threads = 1;
    return options;
}

}  // namespace fixtures
