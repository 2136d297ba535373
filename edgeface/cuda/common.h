// What every kernel header needs: one spelling for host and device, images as plain memory, rounding.
//
// All functions of these headers are plain C++17 on pointers, sizes and strides. nvcc builds them for the GPU, any C++
// compiler for the CPU: there the tests hold them against NumPy and OpenCV, and cpp_demo/ calls them.
// Coordinates are continuous: x to the right, y down, (0, 0) the top-left corner, (0.5, 0.5) the first pixel's centre.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define EDGEFACE_HD __host__ __device__ inline
#else
#define EDGEFACE_HD inline
#endif

namespace edgeface::kernels {

// An image of three interleaved 8-bit channels that someone else owns; `stride` is the bytes from row to row.
struct ConstImage {
    const std::uint8_t* data;
    int width;
    int height;
    std::int64_t stride;

    EDGEFACE_HD const std::uint8_t* pixel(int x, int y) const { return data + y * stride + 3 * x; }
};

struct MutableImage {
    std::uint8_t* data;
    int width;
    int height;
    std::int64_t stride;

    EDGEFACE_HD std::uint8_t* pixel(int x, int y) const { return data + y * stride + 3 * x; }
    EDGEFACE_HD ConstImage view() const { return {data, width, height, stride}; }
};

EDGEFACE_HD int clamp(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

// To the nearest grey level, halves to the even one, as NumPy and OpenCV round.
EDGEFACE_HD std::uint8_t to_grey(float value) {
    const float rounded = rintf(value);
    return static_cast<std::uint8_t>(rounded < 0.0f ? 0.0f : rounded > 255.0f ? 255.0f : rounded);
}

EDGEFACE_HD bool is_finite(float value) { return value - value == 0.0f; }

}  // namespace edgeface::kernels
