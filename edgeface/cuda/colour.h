// From a decoder's pixels to RGB.
#pragma once

#include "common.h"

namespace edgeface::kernels {

// How Y, Cb and Cr become RGB: R = luma (Y - offset) + cr_r V, G = … + cb_g U + cr_g V, B = … + cb_b U, with U and V
// counted from 128.
struct YuvMatrix {
    float offset;
    float luma;
    float cr_r;
    float cb_g;
    float cr_g;
    float cb_b;
};

// The matrix of a standard given by its luma weights (ITU-R BT.601: 0.299, 0.114; BT.709: 0.2126, 0.0722).
// `full_range`: Y, Cb and Cr fill 0…255; else Y lies in 16…235 and the others in 16…240.
EDGEFACE_HD YuvMatrix yuv_matrix(double red_weight, double blue_weight, bool full_range) {
    const double green_weight = 1.0 - red_weight - blue_weight;
    const double luma = full_range ? 1.0 : 255.0 / 219.0;
    const double chroma = full_range ? 1.0 : 255.0 / 224.0;
    const double cr = 2.0 * (1.0 - red_weight) * chroma;
    const double cb = 2.0 * (1.0 - blue_weight) * chroma;
    return {full_range ? 0.0f : 16.0f,
            static_cast<float>(luma),
            static_cast<float>(cr),
            static_cast<float>(-cb * blue_weight / green_weight),
            static_cast<float>(-cr * red_weight / green_weight),
            static_cast<float>(cb)};
}

// An image in NV12: a plane of Y and, at half the size rounded up, a plane of interleaved Cb and Cr.
struct Nv12 {
    const std::uint8_t* luma;
    const std::uint8_t* chroma;
    int width;
    int height;
    std::int64_t luma_stride;
    std::int64_t chroma_stride;
};

// The pixel of column `x` and row `y` as RGB; the four pixels of a 2x2 cell share their chroma.
EDGEFACE_HD void nv12_pixel(const Nv12& picture, const YuvMatrix& matrix, int x, int y, std::uint8_t* rgb) {
    const std::uint8_t* chroma = picture.chroma + (y / 2) * picture.chroma_stride + 2 * (x / 2);
    const float grey = matrix.luma * (static_cast<float>(picture.luma[y * picture.luma_stride + x]) - matrix.offset);
    const float u = static_cast<float>(chroma[0]) - 128.0f;
    const float v = static_cast<float>(chroma[1]) - 128.0f;
    rgb[0] = to_grey(grey + matrix.cr_r * v);
    rgb[1] = to_grey(grey + (matrix.cb_g * u + matrix.cr_g * v));
    rgb[2] = to_grey(grey + matrix.cb_b * u);
}

// The pixel of an image with its first and third channel exchanged (BGR → RGB and back).
EDGEFACE_HD void swapped_pixel(const ConstImage& picture, int x, int y, std::uint8_t* rgb) {
    const std::uint8_t* source = picture.pixel(x, y);
    const std::uint8_t first = source[0];
    rgb[0] = source[2];
    rgb[1] = source[1];
    rgb[2] = first;
}

}  // namespace edgeface::kernels
