#include "edgeface/analyzer.h"

#include <algorithm>
#include <utility>

#include "attributes.h"
#include "edgeface/detector.h"
#include "edgeface/error.h"
#include "edgeface/track.h"

namespace edgeface {
namespace {

FaceDetector open_detector(const Options& options) {
    if (options.detector.empty()) throw Error(EDGEFACE_INVALID_ARGUMENT, "detector: expected a model file, found none");
    DetectorSpec spec = detector_spec(metadata(options.detector), "`" + options.detector + "`");
    return {open_engine({options.detector, {"score", "box", "landmarks"}, options.backend, options.threads}),
            std::move(spec), options.score_threshold};
}

AttributeEstimator open_attributes(const Options& options) {
    if (options.attributes.empty()) {
        throw Error(EDGEFACE_INVALID_ARGUMENT, "attributes: expected a model file, found none");
    }
    ModelSpec spec = model_spec(metadata(options.attributes), "`" + options.attributes + "`");
    auto engine =
        open_engine({options.attributes, AttributeEstimator::heads_of(spec), options.backend, options.threads});
    return {std::move(engine), std::move(spec)};
}

std::vector<Face> places_of(const std::vector<kernels::Face>& found) {
    std::vector<Face> faces(found.size());
    for (std::size_t row = 0; row < found.size(); ++row) {
        std::copy_n(found[row].box, 4, faces[row].box.begin());
        std::copy_n(found[row].landmarks, 10, faces[row].landmarks.begin());
        faces[row].score = found[row].score;
    }
    return faces;
}

}  // namespace

struct Analyzer::State {
    FaceDetector detector;
    AttributeEstimator attributes;
    bool track;
    std::string device;
    IouTracker tracker{};
    Preprocessor frame{};
    std::vector<Face> faces{};

    void number(std::vector<Face>& next) {
        std::vector<Box> boxes;
        for (const Face& face : next) boxes.push_back({face.box[0], face.box[1], face.box[2], face.box[3]});
        const std::vector<std::int64_t> numbers = tracker.follow(boxes);
        for (std::size_t row = 0; row < next.size(); ++row) next[row].track = numbers[row];
    }
};

Analyzer::Analyzer(const Options& options) {
    if (options.threads < 0) {
        throw Error(EDGEFACE_INVALID_ARGUMENT,
                    "threads: expected 0 (all cores) or more, found " + std::to_string(options.threads));
    }
    FaceDetector detector = open_detector(options);
    AttributeEstimator attributes = open_attributes(options);
    const std::string found_on = detector.engine().device(), judged_on = attributes.engine().device();
    state_.reset(new State{std::move(detector), std::move(attributes), options.track,
                           found_on == judged_on ? found_on : found_on + " and " + judged_on});
}

Analyzer::~Analyzer() = default;
Analyzer::Analyzer(Analyzer&&) noexcept = default;
Analyzer& Analyzer::operator=(Analyzer&&) noexcept = default;

const std::vector<Face>& Analyzer::analyze(const ImageView& image) {
    const kernels::ConstImage& picture = state_->frame.load(image);
    const std::vector<kernels::Face>& found = state_->detector.find(state_->frame, picture);
    std::vector<Face> next = places_of(found);
    state_->attributes.judge(state_->frame, found, next);
    if (state_->track) state_->number(next);
    state_->faces = std::move(next);
    return state_->faces;
}

const std::vector<Face>& Analyzer::faces() const { return state_->faces; }

std::int64_t Analyzer::people() const { return state_->tracker.count(); }

const std::string& Analyzer::device() const { return state_->device; }

}  // namespace edgeface
