// From a frame to a network's input, by the functions that the GPU runs as well (edgeface/cuda/).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "edgeface/cuda/align.h"
#include "edgeface/cuda/letterbox.h"
#include "edgeface/edgeface_c.h"

namespace edgeface {

// A frame that someone else owns: three interleaved 8-bit channels, `stride` bytes from row to row.
struct ImageView {
    const std::uint8_t* pixels = nullptr;
    int width = 0;
    int height = 0;
    std::ptrdiff_t stride = 0;
    int format = EDGEFACE_RGB;  // an edgeface_format; whatever a C program says must be safe to look at
};

// Throws `Error` unless the frame has pixels, a stride of at least 3 * width and a known format.
EDGEFACE_API void check_image(const ImageView& image);

// One frame at a time, as RGB; its memory is used again for the next.
class EDGEFACE_API Preprocessor {
public:
    // Take the next frame; an image that is RGB already is not copied and has to live until the last call about it.
    // Throws `Error` as `check_image` does.
    const kernels::ConstImage& load(const ImageView& image);

    // The frame scaled and padded to a detector's canvas: uint8 [canvas_height, canvas_width, 3].
    const std::uint8_t* canvas(const kernels::Letterbox& fit);

    // The aligned crop of every face: uint8 [faces, size, size, 3]. `target` holds x, y of the five canonical landmarks
    // in pixels of a crop.
    const std::uint8_t* crops(const std::vector<kernels::Face>& faces, const std::array<double, 10>& target, int size);

private:
    kernels::ConstImage picture_{};
    std::vector<std::uint8_t> rgb_, canvas_, halves_, crops_;
    std::vector<kernels::Sampling> plans_;
};

}  // namespace edgeface
