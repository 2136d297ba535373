#include "edgeface/spec.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "edgeface/error.h"

namespace edgeface {
namespace {

constexpr std::uint64_t kSchemaVersion = 1;
constexpr std::size_t kMaxStrides = 4, kLongestName = 200;
constexpr int kLargestMultiple = 1024, kLongestSide = 4096;
constexpr double kSmallestArea = 1e-3;  // of a template; all these bounds are `edgeface.spec.model`'s
const char* const kModelKey = "edgeface.spec";
const char* const kDetectorKey = "edgeface.detector";
using Json = nlohmann::json;

Error bad_spec(const std::string& sentence) { return {EDGEFACE_BAD_MODEL, sentence}; }

Json load(const std::string& text, const std::string& where, const std::string& kind) {
    Json raw = Json::parse(text, nullptr, false);
    if (!raw.is_object() || !raw.value("schema_version", Json()).is_number_unsigned() || raw["schema_version"] == 0) {
        throw bad_spec(where + ": its " + kind + " is not a JSON object with a schema_version; export the model again");
    }
    if (raw["schema_version"].get<std::uint64_t>() > kSchemaVersion) {
        throw bad_spec(where + ": its " + kind + " has schema " + raw["schema_version"].dump() +
                       ", this edgeface reads up to " + std::to_string(kSchemaVersion) + "; install a newer one");
    }
    return raw;
}

// A value of the wrong type; what is said of nlohmann's own errors holds for it.
struct Malformed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A whole number as Python takes it: no fraction, no text. Beyond an int it is the largest one, which no range allows.
int whole(const Json& value, const char* key) {
    if (!value.is_number_integer()) throw Malformed(std::string("`") + key + "`: expected a whole number");
    const double size = value.get<double>();
    constexpr double kMost = std::numeric_limits<int>::max();
    return size > kMost || size < -kMost ? std::numeric_limits<int>::max() : value.get<int>();
}

int whole(const Json& raw, const char* key, int fallback) {
    return raw.contains(key) ? whole(raw.at(key), key) : fallback;
}

double number(const Json& value, const char* key) {
    if (!value.is_number()) throw Malformed(std::string("`") + key + "`: expected a number");
    return value.get<double>();
}

double number(const Json& raw, const char* key, double fallback) {
    return raw.contains(key) ? number(raw.at(key), key) : fallback;
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

std::string name_fault(const std::string& name) {
    const bool fits = !name.empty() && name.size() <= kLongestName;
    return fits ? "" : "its name is empty or longer than " + std::to_string(kLongestName) + " bytes";
}

// The determinant of the points' covariance: 0 where they lie on a line, which no crop can be turned by.
double area(const std::array<double, 10>& points) {
    double mean_x = 0.0, mean_y = 0.0, xx = 0.0, yy = 0.0, xy = 0.0;
    for (std::size_t k = 0; k < points.size(); k += 2) {
        mean_x += points[k] / 5.0;
        mean_y += points[k + 1] / 5.0;
    }
    for (std::size_t k = 0; k < points.size(); k += 2) {
        xx += (points[k] - mean_x) * (points[k] - mean_x);
        yy += (points[k + 1] - mean_y) * (points[k + 1] - mean_y);
        xy += (points[k] - mean_x) * (points[k + 1] - mean_y);
    }
    return xx * yy - xy * xy;
}

std::string template_fault(const ModelSpec& spec, std::size_t count) {
    if (count != 5) return "the template has " + std::to_string(count) + " points, not 5";
    const auto inside = [](double value) { return value >= -0.5 && value <= 1.5; };
    if (!std::all_of(spec.template_points.begin(), spec.template_points.end(), inside)) {
        return "the template lies outside the crop";
    }
    return area(spec.template_points) < kSmallestArea ? "the template lies on one spot or one line" : "";
}

// What is wrong with a head; how many labels a known one has is in `edgeface.spec.model.default_heads`.
std::string head_fault(const HeadSpec& head) {
    const std::set<std::string> labels(head.labels.begin(), head.labels.end());
    const bool numbers = head.name == "age" || head.name == "age_std";
    const std::size_t known = head.name == "gender" ? 2 : head.name == "race" ? 5 : 0;
    if (head.kind != "regression" && !is_class_head(head)) return "a head's kind is none of regression, classification";
    if ((numbers && is_class_head(head)) || (known > 0 && !is_class_head(head))) {
        return "the head `" + head.name + "` is of another kind than edgeface's";
    }
    if (is_class_head(head) && head.labels.size() < 2) return "a class head lacks labels";
    if (known > 0 && head.labels.size() != known) {
        return "the head `" + head.name + "` has another number of labels than edgeface's";
    }
    if (labels.size() < head.labels.size()) return "a class head has a label twice";
    return !is_class_head(head) && !labels.empty() ? "a head of numbers has labels" : "";
}

std::string heads_fault(const std::vector<HeadSpec>& heads) {
    std::set<std::string> names;
    for (const HeadSpec& head : heads) {
        const std::string fault = head_fault(head);
        if (!fault.empty()) return fault;
        if (head.name.empty() || !names.insert(head.name).second) return "two heads have one name, or one has none";
    }
    return heads.empty() ? "it has no heads" : "";
}

std::string model_fault(const ModelSpec& spec, const Json& raw, std::size_t points) {
    if (spec.input_size < 16 || spec.input_size > 1024) {
        return "input_size " + std::to_string(spec.input_size) + " is outside 16…1024";
    }
    if (raw.value("colour", "RGB") != "RGB") return "its colour is not RGB";
    if (raw.at("alignment").value("border", "replicate") != "replicate") return "its border is not known";
    for (const std::string& fault : {name_fault(spec.name), template_fault(spec, points), heads_fault(spec.heads)}) {
        if (!fault.empty()) return fault;
    }
    return "";
}

ModelSpec model_from(const Json& raw, const std::string& where) {
    ModelSpec spec;
    spec.name = raw.at("name");
    spec.input_size = whole(raw.at("input_size"), "input_size");
    const Json& points = raw.at("alignment").at("template");
    for (std::size_t k = 0; k < std::min<std::size_t>(points.size(), 5); ++k) {
        if (points.at(k).size() != 2) throw Malformed("`template`: expected points of two numbers");
        spec.template_points[2 * k] = number(points.at(k).at(0), "template");
        spec.template_points[2 * k + 1] = number(points.at(k).at(1), "template");
    }
    for (const Json& head : raw.at("heads")) spec.heads.push_back(head_from(head));
    spec.precision = precision_of(raw);
    const std::string fault = model_fault(spec, raw, points.size());
    if (!fault.empty()) throw bad_spec(where + ": its ModelSpec is not valid: " + fault + "; export the model again");
    return spec;
}

std::string detector_fault(const DetectorSpec& spec) {
    const std::set<int> strides(spec.strides.begin(), spec.strides.end());
    if (spec.strides.empty() || spec.strides.size() > kMaxStrides) return "it has not 1 to 4 strides";
    if (strides.size() < spec.strides.size()) return "a stride stands there twice";
    if (spec.multiple < 1 || spec.multiple > kLargestMultiple) return "its multiple is outside 1…1024";
    for (const int stride : strides) {
        if (stride < 1 || stride > spec.multiple || spec.multiple % stride != 0) {
            return "a stride does not divide " + std::to_string(spec.multiple);
        }
    }
    if (spec.longest_px < spec.multiple || spec.longest_px > kLongestSide) return "its longest_px is outside its range";
    if (!(spec.upscale > 0.0 && spec.upscale <= 16.0)) return "its upscale is outside 0…16";
    if (!(spec.score_threshold > 0.0 && spec.score_threshold <= 1.0)) return "its score_threshold is outside 0…1";
    return spec.nms_iou >= 0.0 && spec.nms_iou <= 1.0 ? name_fault(spec.name) : "its nms_iou is outside 0…1";
}

DetectorSpec detector_from(const Json& raw, const std::string& where) {
    DetectorSpec spec;
    spec.name = raw.at("name");
    for (const Json& stride : raw.at("strides")) spec.strides.push_back(whole(stride, "strides"));
    spec.multiple = whole(raw, "multiple", spec.multiple);
    spec.longest_px = whole(raw, "longest_px", spec.longest_px);
    spec.upscale = number(raw, "upscale", 2.0);
    spec.score_threshold = number(raw, "score_threshold", spec.score_threshold);
    spec.nms_iou = number(raw, "nms_iou", spec.nms_iou);
    spec.precision = precision_of(raw);
    const std::string fault = detector_fault(spec);
    if (!fault.empty()) {
        throw bad_spec(where + ": its DetectorSpec is not valid: " + fault + "; export the detector again");
    }
    return spec;
}

// What `parse` makes of the JSON; errors of its types in the words of ours.
template <typename Parse>
auto parsed(const std::string& where, const std::string& kind, const Parse& parse) {
    const auto malformed = [&](const char* why) {
        return bad_spec(where + ": its " + kind + " is incomplete or malformed (" + why + "); export the model again");
    };
    try {
        return parse();
    } catch (const Json::exception& error) {
        throw malformed(error.what());
    } catch (const Malformed& error) {
        throw malformed(error.what());
    }
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
    return parsed(where, "ModelSpec", [&] { return model_from(raw, where); });
}

DetectorSpec detector_spec(const Metadata& metadata, const std::string& where) {
    const auto found = metadata.find(kDetectorKey);
    if (found == metadata.end()) {
        throw bad_spec(where + " has no `" + kDetectorKey + "` in its metadata, so it is no face detector of edgeface" +
                       "; other detectors run in Python only");
    }
    const Json raw = load(found->second, where, "DetectorSpec");
    return parsed(where, "DetectorSpec", [&] { return detector_from(raw, where); });
}

}  // namespace edgeface
