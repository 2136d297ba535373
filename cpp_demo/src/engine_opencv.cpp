// OpenCV's DNN module, from 4.5.4 on. It has no uint8 input and no free shapes inside a graph, so it takes the variant
// of a model that `python -m edgeface.export.opencv_variant` writes: the same network, its input in float32.
#include <algorithm>
#include <opencv2/dnn.hpp>
#include <utility>

#include "edgeface/error.h"
#include "engines.h"

namespace edgeface {
namespace {

const char* const kVariantKey = "edgeface.variant";

Shape input_shape_in(const Metadata& found, const std::string& path) {
    const auto variant = found.find(kVariantKey);
    if (variant == found.end() || variant->second != "opencv") {
        throw Error(EDGEFACE_BAD_MODEL, "`" + path +
                                            "` is not for OpenCV, which knows no uint8 input: write its variant with: "
                                            "python -m edgeface.export.opencv_variant " +
                                            path + " -o NEW.onnx");
    }
    return {-1, -1, -1, 3};
}

class OpenCvEngine : public Engine {
public:
    explicit OpenCvEngine(const EngineRequest& request)
        : input_shape_(input_shape_in(metadata(request.path), request.path)),
          outputs_(request.outputs.begin(), request.outputs.end()) {
        try {
            net_ = cv::dnn::readNetFromONNX(request.path);
            net_.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
            net_.setPreferableTarget(cv::dnn::DNN_TARGET_CPU);
        } catch (const cv::Exception& error) {
            throw Error(EDGEFACE_BAD_MODEL, "`" + request.path + "` is not an ONNX model that OpenCV " + CV_VERSION +
                                                " can load, export it again (" + error.err + ")");
        }
        cv::setNumThreads(request.threads > 0 ? request.threads : usable_cpus());  // for the whole process
    }

    const Shape& input_shape() const override { return input_shape_; }

    std::string device() const override { return cpu_device(std::string("OpenCV ") + CV_VERSION, cv::getNumThreads()); }

    // Images run one by one: the variant's batch is 1.
    const std::vector<Tensor>& infer(const std::uint8_t* pixels, const Shape& shape) override {
        const int sizes[] = {1, static_cast<int>(shape[1]), static_cast<int>(shape[2]), 3};
        const std::size_t bytes = static_cast<std::size_t>(shape[1] * shape[2] * 3);
        values_.assign(outputs_.size(), {});
        answers_.assign(outputs_.size(), {});
        for (std::int64_t row = 0; row < shape[0]; ++row) {
            // A Mat of outer memory needs it mutable; nothing writes there.
            auto* picture = const_cast<std::uint8_t*>(pixels) + static_cast<std::size_t>(row) * bytes;
            cv::Mat(4, sizes, CV_8U, picture).convertTo(input_, CV_32F);
            forward();
            for (std::size_t k = 0; k < outputs_.size(); ++k) append(k, shape[0]);
        }
        for (std::size_t k = 0; k < outputs_.size(); ++k) answers_[k].data = values_[k].data();
        return answers_;
    }

private:
    void forward() {
        try {
            net_.setInput(input_);
            net_.forward(made_, outputs_);
        } catch (const cv::Exception& error) {
            throw Error(EDGEFACE_BACKEND_FAILED, "OpenCV could not run the model: " + error.err);
        }
    }

    // One image's answer behind those before it.
    void append(std::size_t output, std::int64_t batch) {
        const cv::Mat answer = made_[output].isContinuous() ? made_[output] : made_[output].clone();
        Shape shape(answer.size.p, answer.size.p + answer.dims);
        shape[0] = batch;
        answers_[output].shape = std::move(shape);
        values_[output].insert(values_[output].end(), answer.ptr<float>(), answer.ptr<float>() + answer.total());
    }

    Shape input_shape_;
    std::vector<cv::String> outputs_;
    cv::dnn::Net net_;
    cv::Mat input_;
    std::vector<cv::Mat> made_;
    std::vector<std::vector<float>> values_;
    std::vector<Tensor> answers_;
};

}  // namespace

std::unique_ptr<Engine> open_opencv(const EngineRequest& request) { return std::make_unique<OpenCvEngine>(request); }

}  // namespace edgeface
