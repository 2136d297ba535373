#include "attributes.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "edgeface/error.h"

namespace edgeface {
namespace {

constexpr std::size_t kBatch = 32;
constexpr float kRounding = 5e-3f;  // probabilities of a half-precision graph may be off by so much

const std::vector<std::string> kKnown{"age", "age_std", "gender", "race"};

void check_shape(const HeadSpec& head, const Tensor& answer, std::size_t count, const std::string& model) {
    const auto rows = static_cast<std::int64_t>(count), classes = static_cast<std::int64_t>(head.labels.size());
    const bool fits = classes > 0 ? answer.shape == Shape{rows, classes}
                                  : answer.shape == Shape{rows} || answer.shape == Shape{rows, 1};  // OpenCV's columns
    if (!fits) {
        throw Error(EDGEFACE_BAD_MODEL,
                    "the output `" + head.name + "` of `" + model + "` does not fit its spec; export the model again");
    }
}

void check_values(const HeadSpec& head, const Tensor& answer, std::size_t count, const std::string& model) {
    const bool chances = !head.labels.empty();
    const std::size_t size = count * std::max<std::size_t>(1, head.labels.size());
    const bool fits = std::all_of(answer.data, answer.data + size, [&](float value) {
        return std::isfinite(value) && (!chances || (value >= -kRounding && value <= 1.0f + kRounding));
    });
    if (!fits) {
        throw Error(EDGEFACE_BAD_MODEL, "the output `" + head.name + "` of `" + model + "` holds " +
                                            (chances ? "what is no probability" : "what is not a finite number") +
                                            "; export the model again");
    }
}

void take_number(const Tensor& answer, std::size_t count, Face* faces, float Face::*field) {
    for (std::size_t row = 0; row < count; ++row) faces[row].*field = answer.data[row];
}

void take_class(const HeadSpec& head, const Tensor& answer, std::size_t count, Face* faces,
                const std::string* Face::*label, float Face::*confidence) {
    const auto classes = static_cast<std::ptrdiff_t>(head.labels.size());
    for (std::size_t row = 0; row < count; ++row) {
        const float* chances = answer.data + static_cast<std::ptrdiff_t>(row) * classes;
        const float* best = std::max_element(chances, chances + classes);
        faces[row].*label = &head.labels[static_cast<std::size_t>(best - chances)];
        faces[row].*confidence = *best;
    }
}

}  // namespace

std::vector<std::string> heads_of(const ModelSpec& spec) {
    std::vector<std::string> names;
    for (const HeadSpec& head : spec.heads) {
        if (std::find(kKnown.begin(), kKnown.end(), head.name) != kKnown.end()) names.push_back(head.name);
    }
    if (names.empty()) {
        throw Error(EDGEFACE_BAD_MODEL,
                    "`" + spec.name + "` has no head that edgeface knows, expected some of age, age_std, gender, race");
    }
    return names;
}

std::array<double, 10> target_of(const ModelSpec& spec) {
    std::array<double, 10> target{};
    for (std::size_t k = 0; k < target.size(); ++k) target[k] = spec.template_points[k] * spec.input_size;
    return target;
}

std::vector<Face> places_of(const kernels::Face* found, std::size_t count) {
    std::vector<Face> faces(count);
    for (std::size_t row = 0; row < count; ++row) {
        std::copy_n(found[row].box, 4, faces[row].box.begin());
        std::copy_n(found[row].landmarks, 10, faces[row].landmarks.begin());
        faces[row].score = found[row].score;
    }
    return faces;
}

void take_answers(const ModelSpec& spec, const std::vector<Tensor>& answers, std::size_t count, Face* faces) {
    const std::vector<std::string> heads = heads_of(spec);
    for (std::size_t k = 0; k < heads.size(); ++k) {
        const HeadSpec& head = spec.head(heads[k]);
        check_shape(head, answers[k], count, spec.name);
        check_values(head, answers[k], count, spec.name);
        if (head.name == "age") take_number(answers[k], count, faces, &Face::age);
        if (head.name == "age_std") take_number(answers[k], count, faces, &Face::age_std);
        if (head.name == "gender") take_class(head, answers[k], count, faces, &Face::gender, &Face::gender_confidence);
        if (head.name == "race") take_class(head, answers[k], count, faces, &Face::race, &Face::race_confidence);
    }
}

AttributeEstimator::AttributeEstimator(std::unique_ptr<Engine> engine, ModelSpec spec)
    : engine_(std::move(engine)), spec_(std::move(spec)) {}

void AttributeEstimator::judge(Preprocessor& frame, const std::vector<kernels::Face>& found, std::vector<Face>& faces) {
    if (found.empty()) return;
    const std::int64_t side = spec_.input_size;
    const std::uint8_t* crops = frame.crops(found, target_of(spec_), spec_.input_size);
    for (std::size_t start = 0; start < found.size(); start += kBatch) {
        const std::size_t count = std::min(kBatch, found.size() - start);
        const std::uint8_t* pixels = crops + start * static_cast<std::size_t>(3 * side * side);
        const std::vector<Tensor>& answers = engine_->infer(pixels, {static_cast<std::int64_t>(count), side, side, 3});
        take_answers(spec_, answers, count, faces.data() + start);
    }
}

}  // namespace edgeface
