// From a detector's raw maps to faces: `postprocess.decode_detector`, `postprocess.nms` and `FaceDetector`'s last step.
#pragma once

#include "letterbox.h"
#include "common.h"

namespace edgeface::kernels {

// A face in pixels: box x1, y1, x2, y2, score 0…1, landmarks x, y of right eye, left eye, nose, right and left mouth
// corner (the subject's right is left in the image).
struct Face {
    float box[4];
    float score;
    float landmarks[10];
};
static_assert(sizeof(Face) == 15 * sizeof(float), "faces are copied as rows of fifteen floats");

// The three outputs of a detector for one image: `score` [A], `box` [A, 4] distances left, top, right, bottom from the
// anchor and `landmarks` [A, 10] offsets from it, both in strides; A is `anchor_count`.
struct DetectorMaps {
    const float* score;
    const float* box;
    const float* landmarks;
};

// The grid of anchors over a canvas: the maps of `levels` strides one after the other, each row by row.
struct AnchorGrid {
    int canvas_width;
    int canvas_height;
    int levels;
    int strides[4];
};

struct Anchor {
    float x;
    float y;
    float stride;
};

EDGEFACE_HD int anchor_count(const AnchorGrid& grid) {
    int count = 0;
    for (int k = 0; k < grid.levels; ++k) {
        count += (grid.canvas_width / grid.strides[k]) * (grid.canvas_height / grid.strides[k]);
    }
    return count;
}

// The anchor numbered `index`: the centre of its cell, in pixels.
EDGEFACE_HD Anchor anchor_at(const AnchorGrid& grid, int index) {
    int level = 0;
    int columns = grid.canvas_width / grid.strides[0];
    int cells = columns * (grid.canvas_height / grid.strides[0]);
    while (index >= cells && level + 1 < grid.levels) {
        index -= cells;
        ++level;
        columns = grid.canvas_width / grid.strides[level];
        cells = columns * (grid.canvas_height / grid.strides[level]);
    }
    const float stride = static_cast<float>(grid.strides[level]);
    return {(static_cast<float>(index % columns) + 0.5f) * stride, (static_cast<float>(index / columns) + 0.5f) * stride,
            stride};
}

// The face of the anchor numbered `index`, in canvas pixels.
EDGEFACE_HD Face decoded(const DetectorMaps& maps, const AnchorGrid& grid, int index) {
    const Anchor anchor = anchor_at(grid, index);
    const float* reach = maps.box + 4 * static_cast<std::int64_t>(index);
    const float* offsets = maps.landmarks + 10 * static_cast<std::int64_t>(index);
    Face face;
    face.box[0] = anchor.x - reach[0] * anchor.stride;
    face.box[1] = anchor.y - reach[1] * anchor.stride;
    face.box[2] = anchor.x + reach[2] * anchor.stride;
    face.box[3] = anchor.y + reach[3] * anchor.stride;
    face.score = maps.score[index];
    for (int k = 0; k < 5; ++k) {
        face.landmarks[2 * k] = anchor.x + offsets[2 * k] * anchor.stride;
        face.landmarks[2 * k + 1] = anchor.y + offsets[2 * k + 1] * anchor.stride;
    }
    return face;
}

// Whether the candidate of this score and anchor number stands before the other: higher scores first, ties in order.
EDGEFACE_HD bool stands_before(float score, int index, float other_score, int other_index) {
    return score > other_score || (score == other_score && index < other_index);
}

// Intersection over union of two boxes; 0 where they have no area.
EDGEFACE_HD double iou(const float* first, const float* second) {
    const double left = first[0] > second[0] ? first[0] : second[0];
    const double top = first[1] > second[1] ? first[1] : second[1];
    const double right = first[2] < second[2] ? first[2] : second[2];
    const double bottom = first[3] < second[3] ? first[3] : second[3];
    const double width = right - left, height = bottom - top;
    const double overlap = width > 0.0 && height > 0.0 ? width * height : 0.0;
    double areas[2];
    const float* boxes[2] = {first, second};
    for (int k = 0; k < 2; ++k) {
        const double w = static_cast<double>(boxes[k][2]) - boxes[k][0];
        const double h = static_cast<double>(boxes[k][3]) - boxes[k][1];
        areas[k] = (w > 0.0 ? w : 0.0) * (h > 0.0 ? h : 0.0);
    }
    const double all = areas[0] + areas[1] - overlap;
    return all > 0.0 ? overlap / all : 0.0;
}

EDGEFACE_HD float clipped(double value, int limit) {
    const float single = static_cast<float>(value);
    const float edge = static_cast<float>(limit);
    return single < 0.0f ? 0.0f : single > edge ? edge : single;
}

// The face in pixels of the image that `fit` scaled, its box clipped to it. False where nothing of the box is left.
EDGEFACE_HD bool to_picture(const Letterbox& fit, int width, int height, Face* face) {
    for (int k = 0; k < 4; k += 2) {
        face->box[k] = clipped(face->box[k] / fit.scale_x, width);
        face->box[k + 1] = clipped(face->box[k + 1] / fit.scale_y, height);
    }
    for (int k = 0; k < 10; k += 2) {
        face->landmarks[k] = static_cast<float>(face->landmarks[k] / fit.scale_x);
        face->landmarks[k + 1] = static_cast<float>(face->landmarks[k + 1] / fit.scale_y);
    }
    return face->box[2] > face->box[0] && face->box[3] > face->box[1];
}

// A frontal face's five landmarks as fractions of its box' width and height (`inference.attributes.LANDMARKS_IN_BOX`).
EDGEFACE_HD void landmarks_in_box(const float* box, double* points) {
    const float fractions[10] = {0.26f, 0.37f, 0.74f, 0.37f, 0.50f, 0.58f, 0.29f, 0.73f, 0.71f, 0.73f};
    for (int k = 0; k < 10; ++k) points[k] = box[k % 2] + fractions[k] * (box[k % 2 + 2] - box[k % 2]);
}

// The points to align a face by: its landmarks, or a frontal face's where they are not finite or coincide.
EDGEFACE_HD void alignment_points(const Face& face, double* points) {
    bool finite = true;
    float low[2] = {face.landmarks[0], face.landmarks[1]};
    float high[2] = {face.landmarks[0], face.landmarks[1]};
    for (int k = 0; k < 10; ++k) {
        const float value = face.landmarks[k];
        finite = finite && is_finite(value);
        low[k % 2] = value < low[k % 2] ? value : low[k % 2];
        high[k % 2] = value > high[k % 2] ? value : high[k % 2];
        points[k] = value;
    }
    if (!finite || !(high[0] - low[0] > 1e-3f || high[1] - low[1] > 1e-3f)) landmarks_in_box(face.box, points);
}

}  // namespace edgeface::kernels
