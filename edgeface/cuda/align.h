// From a face's landmarks to its crop: `geometry.similarity` and `preprocess.warp`.
#pragma once

#include "detect.h"
#include "letterbox.h"
#include "common.h"

namespace edgeface::kernels {

constexpr int kLandmarks = 5;
constexpr int kMaxLevels = 8;  // the image and seven halvings: a face of 8,192 pixels still fits a crop of 64

// [x', y'] = [a b; c d] [x, y] + [tx, ty].
struct Affine {
    double a;
    double b;
    double tx;
    double c;
    double d;
    double ty;
};

// The similarity that maps the `source` points x, y, x, y… onto the `target`'s best (Umeyama, PAMI 1991; in two
// dimensions one complex division). False where the source points coincide or are not finite.
EDGEFACE_HD bool similarity(const double* source, const double* target, Affine* out) {
    double sx = 0.0, sy = 0.0, tx = 0.0, ty = 0.0;
    for (int k = 0; k < kLandmarks; ++k) {
        sx += source[2 * k] / kLandmarks;
        sy += source[2 * k + 1] / kLandmarks;
        tx += target[2 * k] / kLandmarks;
        ty += target[2 * k + 1] / kLandmarks;
    }
    double spread = 0.0, real = 0.0, imag = 0.0;
    for (int k = 0; k < kLandmarks; ++k) {
        const double x = source[2 * k] - sx, y = source[2 * k + 1] - sy;
        const double u = target[2 * k] - tx, v = target[2 * k + 1] - ty;
        spread += x * x + y * y;
        real += x * u + y * v;
        imag += x * v - y * u;
    }
    if (!(spread >= 1e-12) || spread - spread != 0.0) return false;
    real /= spread;
    imag /= spread;
    *out = {real, -imag, tx - (real * sx - imag * sy), imag, real, ty - (imag * sx + real * sy)};
    return true;
}

EDGEFACE_HD Affine inverted(const Affine& m) {
    const double det = m.a * m.d - m.b * m.c;
    const Affine r = {m.d / det, -m.b / det, 0.0, -m.c / det, m.a / det, 0.0};
    return {r.a, r.b, -(r.a * m.tx + r.b * m.ty), r.c, r.d, -(r.c * m.tx + r.d * m.ty)};
}

// How to sample a crop: the image halved `level` times, and the way from the crop's pixel numbers to that one's.
struct Sampling {
    float a;
    float b;
    float tx;
    float c;
    float d;
    float ty;
    int level;
};

// How often an image can be halved, at most `kMaxLevels - 1` times.
EDGEFACE_HD int halvings(int width, int height) {
    int count = 0;
    while (count < kMaxLevels - 1 && (width >> count) >= 2 && (height >> count) >= 2) ++count;
    return count;
}

// The sampling of the crop that `matrix` maps an image of this size onto. Where the crop shrinks by two or more, the
// image is halved until it shrinks by less; the 1e-6 puts exact powers of two on one side.
EDGEFACE_HD Sampling sampling(const Affine& matrix, int width, int height) {
    const double scale = sqrt(fabs(matrix.a * matrix.d - matrix.b * matrix.c));
    const int wanted = static_cast<int>(floor(-log2(scale) + 1e-6));
    const int level = clamp(wanted, 0, halvings(width, height));
    const double shrink = 1.0 / (1 << level);
    Affine back = inverted(matrix);
    back = {back.a * shrink, back.b * shrink, back.tx * shrink, back.c * shrink, back.d * shrink, back.ty * shrink};
    return {static_cast<float>(back.a),
            static_cast<float>(back.b),
            static_cast<float>(back.tx + 0.5 * (back.a + back.b) - 0.5),
            static_cast<float>(back.c),
            static_cast<float>(back.d),
            static_cast<float>(back.ty + 0.5 * (back.c + back.d) - 0.5),
            level};
}

// The sampling of a face's crop, `target` being the five canonical landmarks x, y in pixels of the crop. A face without
// usable landmarks is aligned by its box.
EDGEFACE_HD Sampling face_sampling(const Face& face, const double* target, int width, int height) {
    double points[2 * kLandmarks];
    Affine matrix = {1.0, 0.0, 0.0, 0.0, 1.0, 0.0};
    alignment_points(face, points);
    similarity(points, target, &matrix);
    return sampling(matrix, width, height);
}

// An image's halves lie one after the other without gaps between rows, the first half first.
EDGEFACE_HD std::int64_t level_offset(int width, int height, int level) {
    std::int64_t offset = 0;
    for (int k = 1; k < level; ++k) offset += 3LL * (width >> k) * (height >> k);
    return offset;
}

// Bytes of all the halves of an image.
EDGEFACE_HD std::int64_t halves_bytes(int width, int height) {
    return level_offset(width, height, halvings(width, height) + 1);
}

// The image halved `level` times; `halves` is unused for level 0.
EDGEFACE_HD ConstImage pyramid_level(const ConstImage& picture, const std::uint8_t* halves, int level) {
    if (level == 0) return picture;
    const int width = picture.width >> level, height = picture.height >> level;
    return {halves + level_offset(picture.width, picture.height, level), width, height, 3LL * width};
}

// The crop's pixel of column `x` and row `y`, bilinear between pixel centres, the edge's pixels continued outside.
EDGEFACE_HD void crop_pixel(const ConstImage& level, const Sampling& way, int x, int y, std::uint8_t* rgb) {
    const float column_number = static_cast<float>(x), row_number = static_cast<float>(y);
    const float at_x = way.a * column_number + way.b * row_number + way.tx;
    const float at_y = way.c * column_number + way.d * row_number + way.ty;
    const float low_x = floorf(at_x), low_y = floorf(at_y);
    const float share_x = at_x - low_x, share_y = at_y - low_y;
    // A face far outside overflows an int; one pixel beyond the edge already shows nothing but the edge.
    const int column = static_cast<int>(fminf(fmaxf(low_x, -1.0f), static_cast<float>(level.width)));
    const int row = static_cast<int>(fminf(fmaxf(low_y, -1.0f), static_cast<float>(level.height)));
    const int x0 = clamp(column, 0, level.width - 1), x1 = clamp(column + 1, 0, level.width - 1);
    const int y0 = clamp(row, 0, level.height - 1), y1 = clamp(row + 1, 0, level.height - 1);
    const std::uint8_t *p00 = level.pixel(x0, y0), *p01 = level.pixel(x1, y0);
    const std::uint8_t *p10 = level.pixel(x0, y1), *p11 = level.pixel(x1, y1);
    for (int c = 0; c < 3; ++c) {
        const float top = p00[c] + (static_cast<float>(p01[c]) - p00[c]) * share_x;
        const float bottom = p10[c] + (static_cast<float>(p11[c]) - p10[c]) * share_x;
        rgb[c] = to_grey(top + (bottom - top) * share_y);
    }
}

}  // namespace edgeface::kernels
