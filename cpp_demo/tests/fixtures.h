// What several tests need: the tiny models, a frame with bright squares, files of the test's own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "edgeface/analyzer.h"
#include "edgeface/edgeface_c.h"

namespace fixtures {

std::string tiny(const std::string& name);    // path of the model NAME for this build's backend
std::string golden(const std::string& name);  // path of tests/golden/NAME of the Python tests

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& bytes);

// A folder of this process' own, removed at its end.
std::string scratch(const std::string& name);

// Black, with one square of 32x32 pixels of `colour` (RGB) at each place; the tiny detector finds those on its grid
// of 32.
struct Place {
    int x;
    int y;
    std::uint8_t colour[3];
};
struct Picture {
    int width;
    int height;
    std::ptrdiff_t stride;
    std::vector<std::uint8_t> pixels;

    edgeface::ImageView view(edgeface_format format = EDGEFACE_RGB) const {
        return {pixels.data(), width, height, stride, format};
    }
};
Picture squares(const std::vector<Place>& places, int width = 128, int height = 96, int padding = 0);

// Options for the tiny models, one thread.
edgeface::Options tiny_options();

}  // namespace fixtures
