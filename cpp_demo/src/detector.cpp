#include "edgeface/detector.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "edgeface/cuda/host.h"
#include "edgeface/error.h"

namespace edgeface {
namespace {

constexpr int kCandidates = 1000;  // only the best of them count, as in Python

kernels::AnchorGrid grid_over(const kernels::Letterbox& fit, const std::vector<int>& strides) {
    kernels::AnchorGrid grid{fit.canvas_width, fit.canvas_height, static_cast<int>(strides.size()), {}};
    std::copy(strides.begin(), strides.end(), grid.strides);
    return grid;
}

void check_maps(const std::vector<Tensor>& maps, std::int64_t anchors) {
    const Shape expected[] = {{1, anchors}, {1, anchors, 4}, {1, anchors, 10}};
    for (std::size_t k = 0; k < maps.size(); ++k) {
        if (maps[k].shape != expected[k]) {
            throw Error(EDGEFACE_BAD_MODEL, "the detector's outputs do not fit its spec: expected " +
                                                std::to_string(anchors) + " anchors; export the detector again");
        }
        std::int64_t size = 1;
        for (const std::int64_t side : expected[k]) size *= side;
        if (!std::all_of(maps[k].data, maps[k].data + size, [](float value) { return std::isfinite(value); })) {
            throw Error(EDGEFACE_BAD_MODEL,
                        "the detector's outputs hold what is not a finite number; export the detector again");
        }
    }
}

}  // namespace

FaceDetector::FaceDetector(std::unique_ptr<Engine> engine, DetectorSpec spec, float score_threshold)
    : engine_(std::move(engine)),
      spec_(std::move(spec)),
      score_threshold_(score_threshold == 0.0f ? static_cast<float>(spec_.score_threshold) : score_threshold) {
    if (!(score_threshold_ > 0.0f && score_threshold_ <= 1.0f)) {
        throw Error(EDGEFACE_INVALID_ARGUMENT, "score_threshold: expected a number above 0 and up to 1, found " +
                                                   std::to_string(score_threshold_));
    }
}

const std::vector<kernels::Face>& FaceDetector::find(Preprocessor& frame, const kernels::ConstImage& picture) {
    const kernels::Letterbox way = fit(picture.width, picture.height);
    const kernels::AnchorGrid grid = grid_over(way, spec_.strides);
    const std::vector<Tensor>& maps = engine_->infer(frame.canvas(way), {1, way.canvas_height, way.canvas_width, 3});
    check_maps(maps, kernels::anchor_count(grid));
    faces_.resize(kCandidates);
    const int count =
        kernels::find_faces({maps[0].data, maps[1].data, maps[2].data}, grid, score_threshold_, spec_.nms_iou,
                            kCandidates, way, picture.width, picture.height, faces_.data(), kCandidates);
    faces_.resize(static_cast<std::size_t>(count));
    return faces_;
}

// As the spec says, or into the only canvas that an engine of fixed size takes.
kernels::Letterbox FaceDetector::fit(int width, int height) const {
    const Shape& shape = engine_->input_shape();
    const int canvas_height = static_cast<int>(shape[1]), canvas_width = static_cast<int>(shape[2]);
    if (canvas_height < 0 || canvas_width < 0) {
        return kernels::fit_letterbox(width, height, spec_.longest_px, spec_.multiple, spec_.upscale);
    }
    const double scale =
        std::min(static_cast<double>(canvas_width) / width, static_cast<double>(canvas_height) / height);
    const int longest = static_cast<int>(std::max(width, height) * scale);
    kernels::Letterbox way = kernels::fit_letterbox(width, height, longest, 1, spec_.upscale);
    way.canvas_width = canvas_width;
    way.canvas_height = canvas_height;
    return way;
}

}  // namespace edgeface
