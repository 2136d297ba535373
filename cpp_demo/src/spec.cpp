#include "edgeface/spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "edgeface/error.h"

namespace edgeface {
namespace {

constexpr int kSchemaVersion = 1;
constexpr std::size_t kMaxStrides = 4;
const char* const kModelKey = "edgeface.spec";
const char* const kDetectorKey = "edgeface.detector";
using Json = nlohmann::json;

Error bad_spec(const std::string& sentence) { return {EDGEFACE_BAD_MODEL, sentence}; }

Json load(const std::string& text, const std::string& where, const std::string& kind) {
    Json raw = Json::parse(text, nullptr, false);
    if (!raw.is_object() || !raw.value("schema_version", Json()).is_number_integer()) {
        throw bad_spec(where + ": its " + kind + " is not a JSON object with a schema_version; export the model again");
    }
    const int version = raw["schema_version"];
    if (version > kSchemaVersion) {
        throw bad_spec(where + ": its " + kind + " has schema " + std::to_string(version) +
                       ", this edgeface reads up to " + std::to_string(kSchemaVersion) + "; install a newer one");
    }
    return raw;
}

PrecisionSpec precision_of(const Json& raw) {
    const Json precision = raw.value("precision", Json());
    if (precision.is_null()) return {};
    return {precision.at("flavour"), precision.at("target")};
}

HeadSpec head_from(const Json& raw) {
    return {raw.at("name"), raw.at("kind"), raw.at("labels").get<std::vector<std::string>>()};
}

bool is_class_head(const HeadSpec& head) { return head.kind == "classification"; }

void validate(const ModelSpec& spec, const Json& raw, std::size_t points, const std::string& where) {
    const auto known = [](const HeadSpec& head) { return head.kind == "regression" || is_class_head(head); };
    const auto lacks_labels = [](const HeadSpec& head) { return is_class_head(head) && head.labels.size() < 2; };
    std::string what;
    if (spec.input_size < 16 || spec.input_size > 1024) {
        what = "input_size " + std::to_string(spec.input_size) + " is outside 16…1024";
    } else if (raw.value("colour", "RGB") != "RGB") {
        what = "colour '" + raw.value("colour", "RGB") + "' is not RGB";
    } else if (points != 5) {
        what = "the template has " + std::to_string(points) + " points, not 5";
    } else if (raw.at("alignment").value("border", "replicate") != "replicate") {
        what = "border '" + raw.at("alignment").value("border", "") + "' is not known";
    } else if (spec.heads.empty()) {
        what = "it has no heads";
    } else if (!std::all_of(spec.heads.begin(), spec.heads.end(), known)) {
        what = "a head's kind is none of regression, classification";
    } else if (std::any_of(spec.heads.begin(), spec.heads.end(), lacks_labels)) {
        what = "a class head lacks labels";
    }
    if (!what.empty()) throw bad_spec(where + ": its ModelSpec is not valid: " + what + "; export the model again");
}

ModelSpec model_from(const Json& raw, const std::string& where) {
    ModelSpec spec;
    spec.name = raw.at("name");
    spec.input_size = raw.at("input_size");
    const Json& points = raw.at("alignment").at("template");
    for (std::size_t k = 0; k < std::min<std::size_t>(points.size(), 5); ++k) {
        spec.template_points[2 * k] = points.at(k).at(0);
        spec.template_points[2 * k + 1] = points.at(k).at(1);
    }
    for (const Json& head : raw.at("heads")) spec.heads.push_back(head_from(head));
    spec.precision = precision_of(raw);
    validate(spec, raw, points.size(), where);
    return spec;
}

DetectorSpec detector_from(const Json& raw) {
    DetectorSpec spec;
    spec.name = raw.at("name");
    spec.strides = raw.at("strides").get<std::vector<int>>();
    spec.multiple = raw.value("multiple", spec.multiple);
    spec.longest_px = raw.value("longest_px", spec.longest_px);
    spec.upscale = raw.value("upscale", 2.0);
    spec.score_threshold = raw.value("score_threshold", spec.score_threshold);
    spec.nms_iou = raw.value("nms_iou", spec.nms_iou);
    spec.precision = precision_of(raw);
    return spec;
}

}  // namespace

const HeadSpec& ModelSpec::head(const std::string& wanted) const {
    std::string names;
    for (const HeadSpec& head : heads) {
        if (head.name == wanted) return head;
        names += (names.empty() ? "" : ", ") + head.name;
    }
    throw bad_spec("no head `" + wanted + "` in `" + name + "`, it has " + names);
}

ModelSpec model_spec(const Metadata& metadata, const std::string& where) {
    const auto found = metadata.find(kModelKey);
    if (found == metadata.end()) {
        const bool is_detector = metadata.count(kDetectorKey) > 0;
        throw bad_spec(
            where + " has no `" + kModelKey + "` in its metadata, so nothing says how to feed it; " +
            (is_detector ? "it is a face detector, not an attribute network" : "make it with: edgeface export"));
    }
    const Json raw = load(found->second, where, "ModelSpec");
    try {
        return model_from(raw, where);
    } catch (const Json::exception& error) {
        throw bad_spec(where + ": its ModelSpec is incomplete or malformed (" + error.what() +
                       "); export the model again");
    }
}

DetectorSpec detector_spec(const Metadata& metadata, const std::string& where) {
    const auto found = metadata.find(kDetectorKey);
    if (found == metadata.end()) {
        throw bad_spec(where + " has no `" + kDetectorKey + "` in its metadata, so it is no face detector of edgeface" +
                       "; other detectors run in Python only");
    }
    const Json raw = load(found->second, where, "DetectorSpec");
    try {
        DetectorSpec spec = detector_from(raw);
        const bool usable = !spec.strides.empty() && spec.strides.size() <= kMaxStrides && spec.multiple > 0 &&
                            spec.longest_px >= spec.multiple &&
                            *std::min_element(spec.strides.begin(), spec.strides.end()) > 0;
        if (!usable) throw bad_spec(where + ": its DetectorSpec is not valid; export the detector again");
        return spec;
    } catch (const Json::exception& error) {
        throw bad_spec(where + ": its DetectorSpec is incomplete or malformed (" + error.what() +
                       "); export the detector again");
    }
}

}  // namespace edgeface
