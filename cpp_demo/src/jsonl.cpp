#include "edgeface/jsonl.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace edgeface {
namespace {

constexpr int kSchema = 1;  // `edgeface.inference.result.SCHEMA`

// The shortest digits that read back as `value`, laid out as Python does: an exponent only below 1e-4 and from 1e16.
std::string shortest(double value) {
    char text[64];
    const double size = std::fabs(value);
    const bool plain = size == 0.0 || (size >= 1e-4 && size < 1e16);
    const auto layout = plain ? std::chars_format::fixed : std::chars_format::scientific;
    const std::to_chars_result end = std::to_chars(text, text + sizeof text, value, layout);
    std::string digits(text, end.ptr);
    return plain && digits.find('.') == std::string::npos ? digits + ".0" : digits;
}

std::string quoted(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

template <typename Values>
std::string list(const Values& values, std::size_t begin, std::size_t end) {
    std::string text = "[";
    for (std::size_t k = begin; k < end; ++k) text += (k > begin ? ", " : "") + json_number(values[k], 2);
    return text + "]";
}

std::string landmarks_of(const Face& face) {
    if (std::any_of(face.landmarks.begin(), face.landmarks.end(), [](float v) { return std::isnan(v); })) return "null";
    std::string text = "[";
    for (std::size_t k = 0; k < face.landmarks.size(); k += 2) {
        text += (k > 0 ? ", " : "") + list(face.landmarks, k, k + 2);
    }
    return text + "]";
}

std::string known(float value, int decimals) { return std::isnan(value) ? "null" : json_number(value, decimals); }

// A class head's answer; null twice from a network without it.
std::string class_of(const std::string& head, const std::string* label, float confidence) {
    return "\"" + head + "\": " + (label ? quoted(*label) : "null") + ", \"" + head +
           "_confidence\": " + (label ? json_number(confidence, 4) : "null");
}

// The heads that a single look is too unsure of, by the limits of edgeface/inference/result.py.
std::string abstained(const Face& face) {
    constexpr float kAgeStdLimit = 10.0F, kGenderLimit = 0.75F, kRaceLimit = 0.5F;
    std::string names;
    const auto add = [&names](const char* head) { names += (names.empty() ? "\"" : ", \"") + std::string(head) + "\""; };
    if (!std::isnan(face.age) && !(face.age_std <= kAgeStdLimit)) add("age");
    if (face.gender && !(face.gender_confidence >= kGenderLimit)) add("gender");
    if (face.race && !(face.race_confidence >= kRaceLimit)) add("race");
    return "[" + names + "]";
}

std::string face_object(const Face& face) {
    return "{\"box\": " + list(face.box, 0, 4) + ", \"score\": " + json_number(face.score, 4) +
           ", \"landmarks\": " + landmarks_of(face) +
           ", \"track\": " + (face.track > 0 ? std::to_string(face.track) : "null") +
           ", \"age\": " + known(face.age, 2) + ", \"age_std\": " + known(face.age_std, 2) + ", " +
           class_of("gender", face.gender, face.gender_confidence) + ", " +
           class_of("race", face.race, face.race_confidence) + ", \"abstained\": " + abstained(face) + "}";
}

}  // namespace

std::string json_number(double value, int decimals) {
    char text[400];  // the largest double has 309 digits before its point
    std::snprintf(text, sizeof text, "%.*f", decimals, value);
    return shortest(std::strtod(text, nullptr));
}

std::string json_line(const FrameInfo& frame, const std::vector<Face>& faces) {
    const std::string source = quoted(frame.source);
    std::string line = "{\"schema\": " + std::to_string(kSchema) + ", \"source\": " + source +
                       ", \"frame\": " + std::to_string(frame.index) +
                       ", \"pts_s\": " + (frame.pts_s ? json_number(*frame.pts_s, 6) : "null") +
                       ", \"path\": " + source + ", \"width\": " + std::to_string(frame.width) +
                       ", \"height\": " + std::to_string(frame.height) + ", \"faces\": [";
    for (std::size_t k = 0; k < faces.size(); ++k) line += (k > 0 ? ", " : "") + face_object(faces[k]);
    return line + "]}\n";
}

}  // namespace edgeface
