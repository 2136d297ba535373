// The kernels as loops over whole pictures, for the CPU.
#pragma once

#include <algorithm>
#include <vector>

#include "align.h"
#include "colour.h"
#include "detect.h"
#include "letterbox.h"

namespace edgeface::kernels {

// An NV12 picture as RGB of the same size.
inline void rgb_from_nv12(const Nv12& picture, const YuvMatrix& matrix, const MutableImage& rgb) {
    for (int y = 0; y < rgb.height; ++y) {
        for (int x = 0; x < rgb.width; ++x) nv12_pixel(picture, matrix, x, y, rgb.pixel(x, y));
    }
}

// A BGR picture as RGB of the same size; both may be the same memory.
inline void rgb_from_bgr(const ConstImage& picture, const MutableImage& rgb) {
    for (int y = 0; y < rgb.height; ++y) {
        for (int x = 0; x < rgb.width; ++x) swapped_pixel(picture, x, y, rgb.pixel(x, y));
    }
}

// The spans of all columns or rows of a fitted picture: `target` of them over `source` pixels.
inline std::vector<Span> canvas_spans(int source, int target, bool shrinks) {
    std::vector<Span> spans(target);
    for (int k = 0; k < target; ++k) spans[k] = canvas_span(k, source, target, shrinks);
    return spans;
}

// The picture scaled and padded into `canvas` (`fit.canvas_width` x `fit.canvas_height`).
inline void fit_canvas(const ConstImage& picture, const Letterbox& fit, const MutableImage& canvas) {
    const bool shrinks = fit.width < picture.width;
    const std::vector<Span> columns = canvas_spans(picture.width, fit.width, shrinks);
    const std::vector<Span> rows = canvas_spans(picture.height, fit.height, shrinks);
    for (int y = 0; y < canvas.height; ++y) {
        for (int x = 0; x < canvas.width; ++x) {
            canvas_pixel(picture, fit, columns.data(), rows.data(), x, y, canvas.pixel(x, y));
        }
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

// All faces of one picture, best score first, in its pixels: decoded, suppressed and clipped. `threshold` is the lowest
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

// The picture halved up to `deepest` times, in `halves_bytes` of memory.
inline void build_halves(const ConstImage& picture, int deepest, std::uint8_t* halves) {
    for (int level = 1; level <= deepest; ++level) {
        const ConstImage above = pyramid_level(picture, halves, level - 1);
        const ConstImage below = pyramid_level(picture, halves, level);
        const MutableImage made = {halves + (below.data - halves), below.width, below.height, below.stride};
        for (int y = 0; y < made.height; ++y) {
            for (int x = 0; x < made.width; ++x) halved_pixel(above, x, y, made.pixel(x, y));
        }
    }
}

// The crops [count, size, size, 3] of one picture, one after the other.
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
