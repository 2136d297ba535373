// The kernels as loops over whole pictures, for the CPU. Scratch memory is the caller's own `std::vector`s, so that a
// video re-uses it from frame to frame.
#pragma once

#include <vector>

#include "align.h"
#include "colour.h"
#include "detect.h"
#include "letterbox.h"

namespace edgeface::kernels {

// NV12 or BGR pictures as RGB of the same size.
void rgb_from_nv12(const Nv12& picture, const YuvMatrix& matrix, const MutableImage& rgb);
void rgb_from_bgr(const ConstImage& picture, const MutableImage& rgb);

// The picture scaled and padded into `canvas` (`fit.canvas_width` x `fit.canvas_height`).
void fit_canvas(const ConstImage& picture, const Letterbox& fit, const MutableImage& canvas);

// All faces of one picture, best score first, in its pixels: decoded, suppressed and clipped. `threshold` is the lowest
// score of a candidate; of two that overlap by more than `iou_threshold` the better stays; the best `limit` candidates
// count. Writes up to `capacity` faces and returns how many there are.
int find_faces(const DetectorMaps& maps, const AnchorGrid& grid, float threshold, double iou_threshold, int limit,
               const Letterbox& fit, int width, int height, Face* faces, int capacity);

// The halves of a picture, `halves_bytes` of them in all, down to `deepest`.
void build_halves(const ConstImage& picture, int deepest, std::uint8_t* halves);

// The sampling of every face's crop: `target` are the five canonical landmarks x, y in pixels of a crop. Returns the
// deepest level that is needed, for `build_halves`.
int plan_crops(const Face* faces, int count, const double* target, int width, int height, Sampling* plans);

// The crops [count, size, size, 3] of one picture, one after the other.
void crop_faces(const ConstImage& picture, const std::uint8_t* halves, const Sampling* plans, int count, int size,
                std::uint8_t* crops);

}  // namespace edgeface::kernels
