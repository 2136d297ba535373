#include "sinks.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <opencv2/imgproc.hpp>
#include <utility>

#include "edgeface/error.h"

namespace demo {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void cannot_write(const std::string& name, const std::string& why) {
    throw edgeface::Error(EDGEFACE_INVALID_ARGUMENT, "cannot write `" + name + "`: " + why);
}

// Light enough for dark text; BGR.
cv::Scalar colour_of(std::int64_t track) {
    static const cv::Scalar colours[] = {{64, 209, 255},  {255, 204, 86}, {100, 230, 150}, {120, 140, 255},
                                         {255, 160, 214}, {200, 224, 64}, {70, 168, 255},  {210, 150, 255}};
    return track > 0 ? colours[track % 8] : cv::Scalar(235, 235, 235);
}

std::string label_of(const edgeface::Face& face) {
    const auto whole = [](float value) { return std::to_string(std::lround(value)); };
    std::string text = face.track > 0 ? "#" + std::to_string(face.track) + " " : "";
    if (face.gender)
        text += static_cast<char>(std::toupper(static_cast<unsigned char>(face.gender->front()))) + std::string(" ");
    if (!std::isnan(face.age)) text += whole(face.age) + " ";
    if (face.race) text += *face.race;
    return text;
}

void draw(cv::Mat& canvas, const edgeface::Face& face) {
    const cv::Scalar colour = colour_of(face.track), ink(20, 20, 20);
    const cv::Point corner(static_cast<int>(std::floor(face.box[0])), static_cast<int>(std::floor(face.box[1])));
    const cv::Point end(static_cast<int>(std::ceil(face.box[2])), static_cast<int>(std::ceil(face.box[3])));
    const int line = std::max(1, canvas.rows / 240);
    const double scale = std::max(0.4, canvas.rows / 1080.0);
    cv::rectangle(canvas, corner, end, colour, line);
    const std::string text = label_of(face);
    int baseline = 0;
    const cv::Size size = cv::getTextSize(text, cv::FONT_HERSHEY_SIMPLEX, scale, line, &baseline);
    const int x = std::max(0, std::min(corner.x, canvas.cols - size.width - 4));
    const int bottom = corner.y - size.height - baseline < 0 ? end.y + size.height + baseline + 2 : corner.y;
    cv::rectangle(canvas, {x, bottom - size.height - baseline}, {x + size.width + 4, bottom}, colour, cv::FILLED);
    cv::putText(canvas, text, {x + 2, bottom - baseline}, cv::FONT_HERSHEY_SIMPLEX, scale, ink, line, cv::LINE_AA);
}

}  // namespace

PartFile::PartFile(const std::string& name) : name_(name) {
    const fs::path target(name);
    const std::string hidden =
        "." + target.stem().string() + "-" + std::to_string(getpid()) + target.extension().string();
    path_ = (target.parent_path() / hidden).string();
    std::FILE* made = std::fopen(path_.c_str(), "wb");
    if (!made) cannot_write(name, std::strerror(errno));
    std::fclose(made);
}

PartFile::~PartFile() {
    std::error_code ignored;
    if (!kept_) fs::remove(path_, ignored);
}

void PartFile::keep() {
    std::error_code failure;
    fs::rename(path_, name_, failure);
    if (failure) cannot_write(name_, failure.message());
    kept_ = true;
}

JsonlSink::JsonlSink(const std::string& name)
    : name_(name), part_(name == "-" ? nullptr : std::make_unique<PartFile>(name)), file_(stdout) {
    if (part_) file_ = std::fopen(part_->path().c_str(), "wb");
    if (!file_) cannot_write(name, std::strerror(errno));
}

JsonlSink::~JsonlSink() {
    if (part_ && file_) std::fclose(file_);
}

void JsonlSink::append(const edgeface::FrameInfo& frame, const std::vector<edgeface::Face>& faces) {
    const std::string line = edgeface::json_line(frame, faces);
    if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || (!part_ && std::fflush(file_) != 0)) {
        cannot_write(name_, std::strerror(errno));
    }
}

void JsonlSink::finish() {
    if (!part_) return;
    if (std::fclose(std::exchange(file_, nullptr)) != 0) cannot_write(name_, std::strerror(errno));
    part_->keep();
}

void OverlaySink::append(const cv::Mat& frame, const std::vector<edgeface::Face>& faces) {
    if (!writer_.isOpened()) {
        const int codec = cv::VideoWriter::fourcc('m', 'p', '4', 'v');
        if (!writer_.open(part_.path(), cv::CAP_FFMPEG, codec, rate_, frame.size())) {
            cannot_write(name_, "expected a name ending in .mp4, .mkv or .avi");
        }
    }
    cv::Mat canvas = frame.clone();
    for (const edgeface::Face& face : faces) draw(canvas, face);
    writer_.write(canvas);
}

void OverlaySink::finish() {
    if (!writer_.isOpened()) return;
    writer_.release();
    part_.keep();
}

}  // namespace demo
