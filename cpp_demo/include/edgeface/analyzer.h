// High-level API: one call from a frame to its faces.
//
//     edgeface::Analyzer analyzer({"detector.onnx", "attributes.onnx"});
//     for (const edgeface::Face& face : analyzer.analyze({pixels, width, height, stride, EDGEFACE_BGR})) …
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "edgeface/preprocess.h"

namespace edgeface {

// A face and what the network says of it, as in `edgeface_face`: NaN or null from a network without the head.
struct Face {
    std::array<float, 4> box{};
    float score = 0.0f;
    std::array<float, 10> landmarks{};
    std::int64_t track = 0;
    float age = std::numeric_limits<float>::quiet_NaN();
    float age_std = std::numeric_limits<float>::quiet_NaN();
    const std::string* gender = nullptr;  // one of the model's labels, which live as long as the analyzer
    float gender_confidence = std::numeric_limits<float>::quiet_NaN();
    const std::string* race = nullptr;
    float race_confidence = std::numeric_limits<float>::quiet_NaN();
};

// See `edgeface_options`.
struct Options {
    std::string detector;
    std::string attributes;
    std::string backend = "auto";
    int threads = 0;
    float score_threshold = 0.0f;
    bool track = false;
};

// Detector, attribute network and tracker in one; for one thread at a time.
class EDGEFACE_API Analyzer {
public:
    // Load both models. Throws `Error`.
    explicit Analyzer(const Options& options);
    ~Analyzer();
    Analyzer(Analyzer&&) noexcept;
    Analyzer& operator=(Analyzer&&) noexcept;

    // Faces of a frame, best score first; good until the next call. Throws `Error`.
    const std::vector<Face>& analyze(const ImageView& image);

    // Faces of the last frame that was analyzed without an error.
    const std::vector<Face>& faces() const;

    // People told apart so far.
    std::int64_t people() const;

    // What the models really run on, for people.
    const std::string& device() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace edgeface
