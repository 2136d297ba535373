// Where the demo's results go. A file appears under its name when it is finished, whole or not at all.
#pragma once

#include <cstdio>
#include <memory>
#include <opencv2/videoio.hpp>
#include <string>
#include <vector>

#include "edgeface/analyzer.h"
#include "edgeface/jsonl.h"

namespace demo {

// A name to write to until `keep` renames the file; without it the file is removed. Throws `edgeface::Error`.
class PartFile {
public:
    explicit PartFile(const std::string& name);
    ~PartFile();
    PartFile(const PartFile&) = delete;
    PartFile& operator=(const PartFile&) = delete;

    const std::string& path() const { return path_; }
    void keep();

private:
    std::string name_;
    std::string path_;
    bool kept_ = false;
};

// JSON lines in a file, or on stdout for "-".
class JsonlSink {
public:
    explicit JsonlSink(const std::string& name);
    ~JsonlSink();
    JsonlSink(const JsonlSink&) = delete;
    JsonlSink& operator=(const JsonlSink&) = delete;

    void append(const edgeface::FrameInfo& frame, const std::vector<edgeface::Face>& faces);
    void finish();

private:
    std::string name_;
    std::unique_ptr<PartFile> part_;
    std::FILE* file_;
};

// The video with every face's box and what is known of it.
class OverlaySink {
public:
    OverlaySink(const std::string& name, double rate) : part_(name), name_(name), rate_(rate) {}

    // Draws on a copy of `frame` (BGR).
    void append(const cv::Mat& frame, const std::vector<edgeface::Face>& faces);
    void finish();

private:
    PartFile part_;
    std::string name_;
    double rate_;
    cv::VideoWriter writer_;
};

}  // namespace demo
