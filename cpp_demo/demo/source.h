// Frames of a video file or a camera, with their times.
#pragma once

#include <cstdint>
#include <opencv2/core.hpp>
#include <opencv2/videoio.hpp>
#include <optional>
#include <string>

namespace demo {

class Source {
public:
    // A whole number is a camera. Throws `edgeface::Error` where nothing can be opened.
    explicit Source(const std::string& name);

    // The next frame, BGR; false at the end. Its time in seconds grows strictly.
    bool read(cv::Mat& frame);

    double pts_s() const { return *pts_s_; }
    double rate() const { return rate_; }
    const std::string& name() const { return name_; }

    // One sentence if the file broke off, else empty.
    std::string problem() const;

private:
    std::string name_;
    cv::VideoCapture capture_;
    double rate_;
    std::int64_t promised_ = 0;
    std::int64_t frames_ = 0;
    std::optional<double> pts_s_;
};

}  // namespace demo
