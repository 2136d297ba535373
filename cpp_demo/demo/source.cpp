#include "source.h"

#include <algorithm>
#include <filesystem>

#include "edgeface/error.h"

namespace demo {
namespace {

constexpr double kFallbackRate = 25.0;  // where a container states neither times nor a rate

bool is_camera(const std::string& name) {
    return !name.empty() && name.size() < 4 &&
           std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Source::Source(const std::string& name) : name_(name) {
    if (is_camera(name)) {
        capture_.open(std::stoi(name));
    } else if (name.find("://") != std::string::npos || name.find('@') != std::string::npos) {
        // an address is not repeated: it may hold a password
        throw edgeface::Error(EDGEFACE_INVALID_ARGUMENT, "SOURCE: expected a video file or a camera's number; streams "
                                                         "are read by: edgeface run");
    } else if (!std::filesystem::exists(name)) {
        throw edgeface::Error(EDGEFACE_INVALID_ARGUMENT, "no source at `" + name + "`: no such file or directory");
    } else {
        capture_.open(name, cv::CAP_FFMPEG);
        promised_ = static_cast<std::int64_t>(capture_.get(cv::CAP_PROP_FRAME_COUNT));
    }
    if (!capture_.isOpened()) {
        throw edgeface::Error(EDGEFACE_INVALID_ARGUMENT,
                              "cannot open `" + name + "`: expected a video file or a camera's number");
    }
    const double stated = capture_.get(cv::CAP_PROP_FPS);
    rate_ = stated > 0.0 ? stated : kFallbackRate;
}

bool Source::read(cv::Mat& frame) {
    if (!capture_.read(frame)) return false;
    const double stated = capture_.get(cv::CAP_PROP_POS_MSEC) / 1000.0;
    pts_s_ = !pts_s_ || stated > *pts_s_ ? stated : *pts_s_ + 1.0 / rate_;
    ++frames_;
    return true;
}

std::string Source::problem() const {
    if (promised_ <= frames_ && (frames_ > 0 || is_camera(name_))) return {};
    const std::string of = promised_ > 0 ? " of " + std::to_string(promised_) : "";
    return "`" + name_ + "` broke off after " + std::to_string(frames_) + of +
           " frames: the file ends early; what was decoded is kept";
}

}  // namespace demo
