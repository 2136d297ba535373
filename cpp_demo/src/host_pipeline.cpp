#include <algorithm>
#include <utility>

#include "attributes.h"
#include "edgeface/detector.h"
#include "pipeline.h"

namespace edgeface {
namespace {

FaceDetector open_detector(const Options& options) {
    DetectorSpec spec = detector_spec(metadata(options.detector), "`" + options.detector + "`");
    auto engine = open_engine({options.detector, {"score", "box", "landmarks"}, options.backend, options.threads});
    return {std::move(engine), std::move(spec), options.score_threshold};
}

AttributeEstimator open_attributes(const Options& options) {
    ModelSpec spec = model_spec(metadata(options.attributes), "`" + options.attributes + "`");
    auto engine = open_engine({options.attributes, heads_of(spec), options.backend, options.threads});
    return {std::move(engine), std::move(spec)};
}

class HostPipeline : public Pipeline {
public:
    explicit HostPipeline(const Options& options)
        : detector_(open_detector(options)), attributes_(open_attributes(options)) {}

    std::vector<Face> answer(const ImageView& image) override {
        const kernels::ConstImage& picture = frame_.load(image);
        const std::vector<kernels::Face>& found = detector_.find(frame_, picture);
        std::vector<Face> faces = places_of(found.data(), found.size());
        attributes_.judge(frame_, found, faces);
        return faces;
    }

    std::string device() const override {
        const std::string found_on = detector_.engine().device(), judged_on = attributes_.engine().device();
        return found_on == judged_on ? found_on : found_on + " and " + judged_on;
    }

private:
    FaceDetector detector_;
    AttributeEstimator attributes_;
    Preprocessor frame_;
};

}  // namespace

std::unique_ptr<Pipeline> open_host_pipeline(const Options& options) { return std::make_unique<HostPipeline>(options); }

}  // namespace edgeface
