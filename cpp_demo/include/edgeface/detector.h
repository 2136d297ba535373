// Finding faces: fit the frame to the detector's canvas, run it, decode, suppress, go back to the frame's pixels.
#pragma once

#include <memory>
#include <vector>

#include "edgeface/engine.h"
#include "edgeface/preprocess.h"
#include "edgeface/spec.h"

namespace edgeface {

class EDGEFACE_API FaceDetector {
public:
    // `score_threshold` 0 takes the detector's own. Throws `Error` for a setting out of range.
    FaceDetector(std::unique_ptr<Engine> engine, DetectorSpec spec, float score_threshold = 0.0f);

    // Faces of the frame that `frame` has loaded, best score first, in its pixels; boxes are clipped to it.
    const std::vector<kernels::Face>& find(Preprocessor& frame, const kernels::ConstImage& picture);

    const Engine& engine() const { return *engine_; }

private:
    kernels::Letterbox fit(int width, int height) const;

    std::unique_ptr<Engine> engine_;
    DetectorSpec spec_;
    float score_threshold_;
    std::vector<kernels::Face> faces_;
};

}  // namespace edgeface
