// The kernels as loops over whole images, for the CPU.
#pragma once

#include <algorithm>
#include <vector>

#include "align.h"
#include "colour.h"
#include "detect.h"
#include "letterbox.h"

namespace edgeface::kernels {

// An NV12 image as RGB of the same size.
inline void rgb_from_nv12(const Nv12& picture, const YuvMatrix& matrix, const MutableImage& rgb) {
    for (int y = 0; y < rgb.height; ++y) {
        for (int x = 0; x < rgb.width; ++x) nv12_pixel(picture, matrix, x, y, rgb.pixel(x, y));
    }
}

// A BGR image as RGB of the same size; both may be the same memory.
inline void rgb_from_bgr(const ConstImage& picture, const MutableImage& rgb) {
    for (int y = 0; y < rgb.height; ++y) {
        for (int x = 0; x < rgb.width; ++x) swapped_pixel(picture, x, y, rgb.pixel(x, y));
    }
}

// The spans of all columns or rows of a fitted image: `target` of them over `source` pixels.
inline std::vector<Span> canvas_spans(int source, int target, bool shrinks) {
    std::vector<Span> spans(target);
    for (int k = 0; k < target; ++k) spans[k] = canvas_span(k, source, target, shrinks);
    return spans;
}

inline void add_weighted(const std::uint8_t* row, float weight, std::vector<float>& line) {
    float* sums = line.data();
    const std::size_t count = line.size();
    for (std::size_t k = 0; k < count; ++k) sums[k] += weight * static_cast<float>(row[k]);
}

// The weighted sum of the rows of a span, column by column: the inner sums of `canvas_pixel`, each made once.
inline void sum_rows(const ConstImage& picture, const Span& rows, std::vector<float>& line) {
    std::fill(line.begin(), line.end(), 0.0f);
    if (rows.head > 0.0f) add_weighted(picture.pixel(0, rows.first), rows.head, line);
    for (int y = rows.first + 1; y < rows.last; ++y) add_weighted(picture.pixel(0, y), rows.inner, line);
    if (rows.tail > 0.0f) add_weighted(picture.pixel(0, rows.last), rows.tail, line);
}

// The weighted sum of a span of pixels of such a line, as grey levels.
inline void sum_columns(const float* line, const Span& columns, std::uint8_t* rgb) {
    float sums[3] = {0.0f, 0.0f, 0.0f};
    if (columns.head > 0.0f) {
        for (int c = 0; c < 3; ++c) sums[c] += columns.head * line[3 * columns.first + c];
    }
    for (int x = columns.first + 1; x < columns.last; ++x) {
        for (int c = 0; c < 3; ++c) sums[c] += columns.inner * line[3 * x + c];
    }
    if (columns.tail > 0.0f) {
        for (int c = 0; c < 3; ++c) sums[c] += columns.tail * line[3 * columns.last + c];
    }
    for (int c = 0; c < 3; ++c) rgb[c] = to_grey(sums[c]);
}

// The image scaled into the top-left corner of `canvas`, with `canvas_pixel`'s arithmetic.
inline void scale_picture(const ConstImage& picture, const Letterbox& fit, const MutableImage& canvas) {
    const bool shrinks = fit.width < picture.width;
    const std::vector<Span> columns = canvas_spans(picture.width, fit.width, shrinks);
    const std::vector<Span> rows = canvas_spans(picture.height, fit.height, shrinks);
    std::vector<float> line(3 * static_cast<std::size_t>(picture.width));
    for (int y = 0; y < fit.height; ++y) {
        sum_rows(picture, rows[y], line);
        for (int x = 0; x < fit.width; ++x) sum_columns(line.data(), columns[x], canvas.pixel(x, y));
    }
}

// The image halved into the top-left corner of `half`.
inline void halve_picture(const ConstImage& picture, int width, int height, const MutableImage& half) {
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) halved_pixel(picture, x, y, half.pixel(x, y));
    }
}

// The image scaled and padded into `canvas` (`fit.canvas_width` x `fit.canvas_height`).
inline void fit_canvas(const ConstImage& picture, const Letterbox& fit, const MutableImage& canvas) {
    if (picture.width == 2 * fit.width && picture.height == 2 * fit.height) {
        halve_picture(picture, fit.width, fit.height, canvas);
    } else if (picture.width == fit.width && picture.height == fit.height) {
        for (int y = 0; y < fit.height; ++y) std::copy_n(picture.pixel(0, y), 3 * fit.width, canvas.pixel(0, y));
    } else {
        scale_picture(picture, fit, canvas);
    }
    for (int y = 0; y < canvas.height; ++y) {
        const int begin = y < fit.height ? fit.width : 0;
        std::fill(canvas.pixel(begin, y), canvas.pixel(canvas.width, y), std::uint8_t{0});
    }
}

// The anchors whose score reaches `threshold`, best first, ties in their order; the best `limit` of them.
inline std::vector<int> candidates(const DetectorMaps& maps, int anchors, float threshold, int limit) {
    std::vector<int> picked;
    for (int k = 0; k < anchors; ++k) {
        if (maps.score[k] >= threshold) picked.push_back(k);
    }
    std::sort(picked.begin(), picked.end(),
              [&](int a, int b) { return stands_before(maps.score[a], a, maps.score[b], b); });
    if (static_cast<int>(picked.size()) > limit) picked.resize(limit);
    return picked;
}

// All faces of one image, best score first, in its pixels: decoded, suppressed and clipped. `threshold` is the lowest
// score of a candidate; of two that overlap by more than `iou_threshold` the better stays; the best `limit` candidates
// count. Writes up to `capacity` faces and returns how many there are.
inline int find_faces(const DetectorMaps& maps, const AnchorGrid& grid, float threshold, double iou_threshold,
                      int limit, const Letterbox& fit, int width, int height, Face* faces, int capacity) {
    std::vector<Face> kept;
    for (const int index : candidates(maps, anchor_count(grid), threshold, limit)) {
        const Face face = decoded(maps, grid, index);
        const bool covered = std::any_of(kept.begin(), kept.end(), [&](const Face& better) {
            return iou(better.box, face.box) > iou_threshold;
        });
        if (!covered) kept.push_back(face);
    }
    int count = 0;
    for (Face& face : kept) {
        if (!to_picture(fit, width, height, &face)) continue;
        if (count < capacity) faces[count] = face;
        ++count;
    }
    return count;
}

// The sampling of every face's crop: `target` holds the five canonical landmarks x, y in pixels of a crop. Returns the
// deepest level that is needed, for `build_halves`.
inline int plan_crops(const Face* faces, int count, const double* target, int width, int height, Sampling* plans) {
    int deepest = 0;
    for (int k = 0; k < count; ++k) {
        plans[k] = face_sampling(faces[k], target, width, height);
        deepest = std::max(deepest, plans[k].level);
    }
    return deepest;
}

// The image halved up to `deepest` times, in `halves_bytes` of memory.
inline void build_halves(const ConstImage& picture, int deepest, std::uint8_t* halves) {
    for (int level = 1; level <= deepest; ++level) {
        const ConstImage above = pyramid_level(picture, halves, level - 1);
        const ConstImage below = pyramid_level(picture, halves, level);
        const MutableImage made = {halves + (below.data - halves), below.width, below.height, below.stride};
        halve_picture(above, made.width, made.height, made);
    }
}

// The crops [count, size, size, 3] of one image, one after the other.
inline void crop_faces(const ConstImage& picture, const std::uint8_t* halves, const Sampling* plans, int count,
                       int size, std::uint8_t* crops) {
    for (int k = 0; k < count; ++k) {
        const ConstImage level = pyramid_level(picture, halves, plans[k].level);
        const MutableImage crop = {crops + 3LL * size * size * k, size, size, 3LL * size};
        for (int y = 0; y < size; ++y) {
            for (int x = 0; x < size; ++x) crop_pixel(level, plans[k], x, y, crop.pixel(x, y));
        }
    }
}

}  // namespace edgeface::kernels
