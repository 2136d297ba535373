#include "edgeface/analyzer.h"

#include <string>
#include <utility>

#include "edgeface/artifact.h"
#include "edgeface/error.h"
#include "edgeface/track.h"
#include "pipeline.h"

namespace edgeface {
namespace {

[[noreturn]] void refuse(const std::string& sentence) { throw Error(EDGEFACE_INVALID_ARGUMENT, sentence); }

std::unique_ptr<Pipeline> open_pipeline(const Options& options) {
    if (options.threads < 0)
        refuse("threads: expected 0 (all cores) or more, found " + std::to_string(options.threads));
    if (options.detector.empty()) refuse("detector: expected a model file, found none");
    if (options.attributes.empty()) refuse("attributes: expected a model file, found none");
#ifdef EDGEFACE_WITH_TENSORRT
    if (is_engine(options.detector) && is_engine(options.attributes)) return open_gpu_pipeline(options);
#endif
    return open_host_pipeline(options);
}

}  // namespace

struct Analyzer::State {
    std::unique_ptr<Pipeline> pipeline;
    bool track;
    std::string device;
    IouTracker tracker{};
    std::vector<Face> faces{};

    void number(std::vector<Face>& next) {
        std::vector<Box> boxes;
        boxes.reserve(next.size());
        for (const Face& face : next) boxes.push_back({face.box[0], face.box[1], face.box[2], face.box[3]});
        const std::vector<std::int64_t> numbers = tracker.follow(boxes);
        for (std::size_t row = 0; row < next.size(); ++row) next[row].track = numbers[row];
    }
};

Analyzer::Analyzer(const Options& options) {
    std::unique_ptr<Pipeline> pipeline = open_pipeline(options);
    std::string device = pipeline->device();
    state_ = std::make_unique<State>(State{std::move(pipeline), options.track, std::move(device)});
}

Analyzer::~Analyzer() = default;
Analyzer::Analyzer(Analyzer&&) noexcept = default;
Analyzer& Analyzer::operator=(Analyzer&&) noexcept = default;

const std::vector<Face>& Analyzer::analyze(const ImageView& image) {
    std::vector<Face> next = state_->pipeline->answer(image);
    if (state_->track) state_->number(next);
    state_->faces = std::move(next);
    return state_->faces;
}

const std::vector<Face>& Analyzer::faces() const { return state_->faces; }

std::int64_t Analyzer::people() const { return state_->tracker.count(); }

const std::string& Analyzer::device() const { return state_->device; }

}  // namespace edgeface
